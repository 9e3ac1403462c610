//! What the kubelet reports of a pod: values in, `PodStatus` out.

use std::collections::BTreeMap;
use std::net::IpAddr;

use client::k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    HostIP, Pod, PodIP, PodSpec, PodStatus,
};
use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use jiff::Timestamp;

use super::observed::{Exit, Observed, Seen, State};
use super::plan::{Health, restarts};
use super::{Member, Role, is_host_network, members, spec};
use crate::quantity;

mod condition;
mod phase;

pub use condition::owned as owned_conditions;
pub use phase::Phase;

/// Why a container does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub reason: String,
    pub message: String,
}

/// A verdict on the pod as a whole, which its containers cannot give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub reason: &'static str,
    pub message: String,
}

/// All that a report depends on.
#[derive(Debug)]
pub struct Input<'a> {
    pub pod: &'a Pod,
    /// The last report.
    pub before: Option<&'a PodStatus>,
    pub observed: &'a Observed,
    pub probes: &'a BTreeMap<String, Health>,
    pub waiting: &'a BTreeMap<String, Waiting>,
    /// Set where the pod was refused, evicted or ran out of time.
    pub verdict: Option<&'a Verdict>,
    /// No run will be started any more.
    pub ending: bool,
    /// `containerd`, the scheme of container ids.
    pub runtime: &'a str,
    pub host_ips: &'a [IpAddr],
    pub now: Timestamp,
}

/// The pod's report.
pub fn status(input: &Input<'_>) -> PodStatus {
    let spec = spec(input.pod);
    let picture = Picture { input, spec: &spec };
    let by_role = |wanted: &[Role]| -> Vec<ContainerStatus> {
        members(&spec)
            .filter(|member| wanted.contains(&member.role))
            .map(|member| picture.container(&member))
            .collect()
    };
    let init = by_role(&[Role::Init, Role::Sidecar]);
    let regular = by_role(&[Role::Regular]);
    let ephemeral = by_role(&[Role::Ephemeral]);
    let phase = match input.verdict {
        Some(_) => Phase::Failed,
        None => phase::settle(phase::phase(&spec, &init, &regular, input.ending), input.before),
    };
    let some = |list: Vec<ContainerStatus>| (!list.is_empty()).then_some(list);
    let conditions = condition::conditions(&picture, phase, &init, &regular);
    let ips = picture.ips();
    let before = input.before;
    PodStatus {
        phase: Some(phase.text().to_owned()),
        conditions: Some(conditions),
        reason: input.verdict.map(|verdict| verdict.reason.to_owned()),
        message: input.verdict.map(|verdict| verdict.message.clone()),
        host_ip: input.host_ips.first().map(ToString::to_string),
        host_ips: Some(input.host_ips.iter().map(|ip| HostIP { ip: ip.to_string() }).collect()),
        pod_ip: ips.first().cloned(),
        pod_ips: (!ips.is_empty()).then(|| ips.into_iter().map(|ip| PodIP { ip }).collect()),
        start_time: before.and_then(|before| before.start_time.clone()).or_else(|| Some(whole(input.now))),
        init_container_statuses: some(init),
        container_statuses: some(regular),
        ephemeral_container_statuses: some(ephemeral),
        qos_class: Some(quantity::qos(&spec).text().to_owned()),
        observed_generation: input.pod.metadata.generation,
        ..before.map(foreign).unwrap_or_default()
    }
}

/// What others report in a pod's status.
fn foreign(before: &PodStatus) -> PodStatus {
    PodStatus {
        nominated_node_name: before.nominated_node_name.clone(),
        resource_claim_statuses: before.resource_claim_statuses.clone(),
        extended_resource_claim_status: before.extended_resource_claim_status.clone(),
        ..PodStatus::default()
    }
}

/// The API keeps whole seconds; a report with more would differ from its own echo.
fn whole(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

struct Picture<'a> {
    input: &'a Input<'a>,
    spec: &'a PodSpec,
}

impl Picture<'_> {
    fn ips(&self) -> Vec<String> {
        if is_host_network(self.spec) {
            return self.input.host_ips.iter().map(ToString::to_string).collect();
        }
        let live = self.input.observed.sandbox().map(|sandbox| &sandbox.ips);
        match live.filter(|ips| !ips.is_empty()) {
            Some(ips) => ips.iter().map(ToString::to_string).collect(),
            // A pod that has ended keeps the addresses it had.
            None => {
                let known = self.input.before.and_then(|before| before.pod_ips.as_ref());
                known.into_iter().flatten().map(|ip| ip.ip.clone()).collect()
            }
        }
    }

    fn has_init(&self) -> bool {
        self.spec.init_containers.as_ref().is_some_and(|list| !list.is_empty())
    }

    fn container(&self, member: &Member<'_>) -> ContainerStatus {
        let name = member.name();
        let seen = self.input.observed.latest(name);
        let before = self.before(member.role, name);
        if let (None, Some(before), true) = (seen, before, self.input.ending) {
            // Removed by the kubelet, or lost: what was known stays known.
            let started = before.started.map(|_| false);
            let ready = before.ready && member.role == Role::Init;
            return ContainerStatus { state: Some(lost(before)), ready, started, ..before.clone() };
        }
        let (state, last_state) = self.states(member, seen);
        let running = state.running.is_some();
        let health =
            self.input.probes.get(name).filter(|health| seen.is_some_and(|seen| seen.id == health.id));
        let started = running
            && (member.container.startup_probe.is_none() || health.is_some_and(|health| health.started));
        let probed_ready =
            member.container.readiness_probe.is_none() || health.is_some_and(|health| health.ready);
        let ready = match member.role {
            Role::Init => seen.and_then(Seen::exit).is_some_and(|exit| exit.code == 0),
            Role::Ephemeral => false,
            Role::Sidecar | Role::Regular => started && probed_ready,
        };
        let restart_count = seen.map(|seen| seen.attempt).map_or_else(
            || before.map_or(0, |before| before.restart_count),
            |attempt| i32::try_from(attempt).unwrap_or(i32::MAX),
        );
        let image = member.container.image.clone().unwrap_or_default();
        ContainerStatus {
            name: name.to_owned(),
            state: Some(state),
            last_state: Some(last_state),
            ready,
            restart_count,
            image: seen.map(|seen| seen.image.clone()).filter(|image| !image.is_empty()).unwrap_or(image),
            image_id: seen.map(|seen| seen.image_id.clone()).unwrap_or_default(),
            container_id: seen.map(|seen| self.id(seen)),
            started: (member.role != Role::Ephemeral).then_some(started),
            resources: (member.role != Role::Ephemeral && running)
                .then(|| member.container.resources.clone())
                .flatten(),
            allocated_resources: running
                .then(|| member.container.resources.as_ref()?.requests.clone())
                .flatten(),
            ..ContainerStatus::default()
        }
    }

    fn before(&self, role: Role, name: &str) -> Option<&ContainerStatus> {
        let before = self.input.before?;
        let list = match role {
            Role::Init | Role::Sidecar => before.init_container_statuses.as_ref(),
            Role::Regular => before.container_statuses.as_ref(),
            Role::Ephemeral => before.ephemeral_container_statuses.as_ref(),
        };
        list?.iter().find(|status| status.name == name)
    }

    fn id(&self, seen: &Seen) -> String {
        format!("{}://{}", self.input.runtime, seen.id)
    }

    /// The state of a container and the one before it.
    fn states(&self, member: &Member<'_>, seen: Option<&Seen>) -> (ContainerState, ContainerState) {
        let previous = self.input.observed.previous(member.name());
        let previous =
            || previous.map_or_else(ContainerState::default, |(seen, exit)| self.ended(seen, exit));
        match seen.map(|seen| (seen, &seen.state)) {
            Some((_, State::Running { started })) => {
                let running = ContainerStateRunning { started_at: Some(whole(*started)) };
                (ContainerState { running: Some(running), ..ContainerState::default() }, previous())
            }
            Some((seen, State::Exited(exit))) => {
                let comes_back = !self.input.ending && restarts(self.spec, member, exit.code);
                match self.input.waiting.get(member.name()).filter(|_| comes_back) {
                    Some(waiting) => (waiting_state(waiting), self.ended(seen, exit)),
                    None => (self.ended(seen, exit), previous()),
                }
            }
            Some((_, State::Created | State::Unknown)) | None => {
                let noted = self.input.waiting.get(member.name()).cloned();
                let waiting = noted.unwrap_or_else(|| self.default_waiting(member));
                (waiting_state(&waiting), previous())
            }
        }
    }

    fn default_waiting(&self, member: &Member<'_>) -> Waiting {
        let initializing = self.has_init() && member.role != Role::Ephemeral;
        let reason = if initializing { "PodInitializing" } else { "ContainerCreating" };
        Waiting { reason: reason.to_owned(), message: String::new() }
    }

    fn ended(&self, seen: &Seen, exit: &Exit) -> ContainerState {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let terminated = ContainerStateTerminated {
            container_id: Some(self.id(seen)),
            exit_code: exit.code,
            reason: text(&exit.reason),
            message: text(&exit.message),
            started_at: Some(whole(exit.started)),
            finished_at: Some(whole(exit.finished)),
            signal: None,
        };
        ContainerState { terminated: Some(terminated), ..ContainerState::default() }
    }
}

fn waiting_state(waiting: &Waiting) -> ContainerState {
    let message = (!waiting.message.is_empty()).then(|| waiting.message.clone());
    let waiting = ContainerStateWaiting { reason: Some(waiting.reason.clone()), message };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

/// The state of a container that the runtime has no trace of: what was known, or that it is lost.
fn lost(before: &ContainerStatus) -> ContainerState {
    match &before.state {
        Some(state) if state.terminated.is_some() => state.clone(),
        Some(state) if state.running.is_some() => {
            let terminated = ContainerStateTerminated {
                exit_code: 137,
                reason: Some("ContainerStatusUnknown".to_owned()),
                message: Some("The container could not be located when the pod was terminated".to_owned()),
                ..ContainerStateTerminated::default()
            };
            ContainerState { terminated: Some(terminated), ..ContainerState::default() }
        }
        state => state.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
