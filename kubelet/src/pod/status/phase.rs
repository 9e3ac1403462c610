//! The phase of a pod, from the states of its containers.

use client::k8s_openapi::api::core::v1::{ContainerStatus, PodSpec, PodStatus};

/// The one word on a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

impl Phase {
    pub const fn text(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }

    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }

    /// The phase in a report.
    pub fn of(status: &PodStatus) -> Self {
        match status.phase.as_deref() {
            Some("Running") => Self::Running,
            Some("Succeeded") => Self::Succeeded,
            Some("Failed") => Self::Failed,
            _ => Self::Pending,
        }
    }
}

/// A final phase stays what it is.
pub(super) fn settle(phase: Phase, before: Option<&PodStatus>) -> Phase {
    before.map(Phase::of).filter(|before| before.is_final()).unwrap_or(phase)
}

#[derive(Default)]
struct Count {
    waiting: usize,
    running: usize,
    stopped: usize,
    succeeded: usize,
}

pub(super) fn phase(
    spec: &PodSpec,
    init: &[ContainerStatus],
    regular: &[ContainerStatus],
    ending: bool,
) -> Phase {
    let policy = spec.restart_policy.as_deref().unwrap_or("Always");
    let begun = regular.iter().any(is_begun);
    let mut initializing = false;
    for (status, container) in init.iter().zip(spec.init_containers.iter().flatten()) {
        let sidecar = container.restart_policy.as_deref() == Some("Always");
        let code = exit_code(status);
        if sidecar {
            initializing |= !begun && status.started != Some(true);
        } else if code.is_some_and(|code| code != 0) {
            let own = container.restart_policy.as_deref().unwrap_or(policy);
            if own == "Never" {
                return Phase::Failed;
            }
            initializing = true;
        } else if code.is_none() {
            initializing |= !begun;
        }
    }
    let mut count = Count::default();
    for status in regular {
        let state = status.state.clone().unwrap_or_default();
        let ended_before = status.last_state.as_ref().is_some_and(|last| last.terminated.is_some());
        match (state.running.is_some(), state.terminated) {
            (true, _) => count.running += 1,
            (false, Some(ended)) => {
                count.stopped += 1;
                count.succeeded += usize::from(ended.exit_code == 0);
            }
            (false, None) if ended_before => count.stopped += 1,
            (false, None) => count.waiting += 1,
        }
    }
    if ending && count.running == 0 && !regular.is_empty() {
        // Nothing will start any more: what never ran counts as failed.
        return if count.succeeded == regular.len() { Phase::Succeeded } else { Phase::Failed };
    }
    match count {
        _ if initializing => Phase::Pending,
        Count { waiting: 1.., .. } => Phase::Pending,
        Count { running: 1.., .. } => Phase::Running,
        Count { stopped: 1.., .. } if policy == "Always" => Phase::Running,
        Count { stopped, succeeded, .. } if stopped > 0 && stopped == succeeded => Phase::Succeeded,
        Count { stopped: 1.., .. } if policy == "Never" => Phase::Failed,
        Count { stopped: 1.., .. } => Phase::Running,
        _ => Phase::Pending,
    }
}

/// Whether a regular container has ever been under way.
fn is_begun(status: &ContainerStatus) -> bool {
    let begun = |state: &Option<_>| {
        state.as_ref().is_some_and(|state: &client::k8s_openapi::api::core::v1::ContainerState| {
            state.running.is_some() || state.terminated.is_some()
        })
    };
    begun(&status.state) || begun(&status.last_state)
}

/// How a container ended last: an init container that waits to be tried again has failed before.
fn exit_code(status: &ContainerStatus) -> Option<i32> {
    let code = |state: &Option<client::k8s_openapi::api::core::v1::ContainerState>| {
        state.as_ref().and_then(|state| state.terminated.as_ref()).map(|ended| ended.exit_code)
    };
    let running = status.state.as_ref().is_some_and(|state| state.running.is_some());
    if running { None } else { code(&status.state).or_else(|| code(&status.last_state)) }
}
