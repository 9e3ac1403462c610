//! The conditions of a pod that are the kubelet's to set.

use client::k8s_openapi::api::core::v1::{ContainerStatus, PodCondition};

use super::{Phase, Picture, whole};

/// In upstream's order.
const OWNED: [&str; 5] =
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// Whether the kubelet sets conditions of this type.
pub fn owned(type_: &str) -> bool {
    OWNED.contains(&type_)
}

/// Yes, or no and why.
struct Answer {
    yes: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Answer {
    const fn plain(yes: bool) -> Self {
        Self { yes, reason: None, message: None }
    }

    const fn because(yes: bool, reason: &'static str) -> Self {
        Self { yes, reason: Some(reason), message: None }
    }

    const fn no(reason: &'static str, message: String) -> Self {
        Self { yes: false, reason: Some(reason), message: Some(message) }
    }
}

pub(super) fn conditions(
    picture: &Picture<'_>,
    phase: Phase,
    init: &[ContainerStatus],
    regular: &[ContainerStatus],
) -> Vec<PodCondition> {
    let input = picture.input;
    let networked = input.observed.sandbox().is_some() && !picture.ips().is_empty();
    let containers_ready = containers_ready(picture, phase, init, regular);
    let answers = [
        Answer::plain(networked),
        initialized(picture, phase, init, regular),
        ready(picture, &containers_ready),
        containers_ready,
        Answer::plain(true),
    ];
    let before = input.before.and_then(|before| before.conditions.as_ref());
    let mut out: Vec<PodCondition> = OWNED
        .iter()
        .zip(answers)
        .map(|(type_, answer)| {
            let old = before.into_iter().flatten().find(|old| old.type_ == *type_);
            let status = if answer.yes { "True" } else { "False" };
            let since =
                old.filter(|old| old.status == status).and_then(|old| old.last_transition_time.clone());
            PodCondition {
                type_: (*type_).to_owned(),
                status: status.to_owned(),
                reason: answer.reason.map(str::to_owned),
                message: answer.message,
                last_transition_time: since.or_else(|| Some(whole(input.now))),
                observed_generation: input.pod.metadata.generation,
                last_probe_time: None,
            }
        })
        .collect();
    out.extend(before.into_iter().flatten().filter(|old| !owned(&old.type_)).cloned());
    out
}

fn initialized(
    picture: &Picture<'_>,
    phase: Phase,
    init: &[ContainerStatus],
    regular: &[ContainerStatus],
) -> Answer {
    if phase == Phase::Succeeded {
        return Answer::because(true, "PodCompleted");
    }
    let begun = regular.iter().any(|status| {
        let ran = |state: &Option<client::k8s_openapi::api::core::v1::ContainerState>| {
            state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
        };
        ran(&status.state) || ran(&status.last_state)
    });
    let sidecar =
        |name: &str| {
            picture.spec.init_containers.iter().flatten().any(|container| {
                container.name == name && container.restart_policy.as_deref() == Some("Always")
            })
        };
    let incomplete: Vec<&str> = init
        .iter()
        .filter(|status| {
            if begun {
                false
            } else if sidecar(&status.name) {
                status.started != Some(true)
            } else {
                !status.ready
            }
        })
        .map(|status| status.name.as_str())
        .collect();
    if incomplete.is_empty() {
        return Answer::plain(true);
    }
    Answer::no(
        "ContainersNotInitialized",
        format!("containers with incomplete status: [{}]", incomplete.join(" ")),
    )
}

fn containers_ready(
    picture: &Picture<'_>,
    phase: Phase,
    init: &[ContainerStatus],
    regular: &[ContainerStatus],
) -> Answer {
    match phase {
        Phase::Succeeded => return Answer::because(false, "PodCompleted"),
        Phase::Failed => return Answer::because(false, "PodFailed"),
        Phase::Pending | Phase::Running => {}
    }
    let sidecars: Vec<&str> = picture
        .spec
        .init_containers
        .iter()
        .flatten()
        .filter(|container| container.restart_policy.as_deref() == Some("Always"))
        .map(|container| container.name.as_str())
        .collect();
    let unready: Vec<&str> = init
        .iter()
        .filter(|status| sidecars.contains(&status.name.as_str()))
        .chain(regular)
        .filter(|status| !status.ready)
        .map(|status| status.name.as_str())
        .collect();
    if unready.is_empty() {
        return Answer::plain(true);
    }
    Answer::no("ContainersNotReady", format!("containers with unready status: [{}]", unready.join(" ")))
}

/// Ready is ContainersReady and what others demand through readiness gates.
fn ready(picture: &Picture<'_>, containers: &Answer) -> Answer {
    if !containers.yes {
        return Answer { yes: false, reason: containers.reason, message: containers.message.clone() };
    }
    let conditions = picture.input.before.and_then(|before| before.conditions.as_ref());
    let mut unmet = Vec::new();
    for gate in picture.spec.readiness_gates.iter().flatten() {
        let found = conditions.into_iter().flatten().find(|condition| condition.type_ == gate.condition_type);
        match found {
            None => unmet.push(format!(
                "corresponding condition of pod readiness gate \"{}\" does not exist.",
                gate.condition_type
            )),
            Some(condition) if condition.status != "True" => unmet.push(format!(
                "the status of pod readiness gate \"{}\" is not \"True\", but {}",
                gate.condition_type, condition.status
            )),
            Some(_) => {}
        }
    }
    if unmet.is_empty() {
        Answer::plain(true)
    } else {
        Answer::no("ReadinessGatesNotReady", unmet.join(", "))
    }
}
