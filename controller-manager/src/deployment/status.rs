//! What a Deployment says of itself: counts, and the conditions that `kubectl rollout` reads.

use std::sync::Arc;
use std::time::Duration;

use client::k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use jiff::{SignedDuration, Timestamp};

use super::rolling::Bounds;

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const FAILURE: &str = "ReplicaFailure";
const DONE: &str = "NewReplicaSetAvailable";
const LATE: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// Beyond the deadline, so that the next look finds it passed (upstream's figure).
const AFTER_DEADLINE: Duration = Duration::from_secs(1);

/// What happened to the current ReplicaSet in this sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Find {
    Nothing,
    Found,
    Created,
}

/// A condition without its times.
pub(super) struct Claim {
    kind: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
}

impl Claim {
    fn progressing(status: &'static str, reason: &'static str, message: String) -> Self {
        Self { kind: PROGRESSING, status, reason, message }
    }

    /// That the current ReplicaSet could not be made.
    pub(super) fn create_failed(name: &str, error: &str) -> Self {
        let message = format!("Failed to create new replica set {name:?}: {error}");
        Self::progressing("False", "ReplicaSetCreateError", message)
    }
}

fn condition<'a>(conditions: &'a [DeploymentCondition], kind: &str) -> Option<&'a DeploymentCondition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Puts a condition in; one that says the same already stays as it is, and a transition is a change of status.
pub(super) fn put(conditions: &mut Vec<DeploymentCondition>, claim: Claim, now: Timestamp) {
    let old = conditions.iter().position(|condition| condition.type_ == claim.kind);
    let mut since = Time(now);
    if let Some(at) = old {
        let had = &conditions[at];
        if had.status == claim.status && had.reason.as_deref() == Some(claim.reason) {
            return;
        }
        if had.status == claim.status {
            since = had.last_transition_time.clone().unwrap_or(since);
        }
        conditions.remove(at);
    }
    conditions.push(DeploymentCondition {
        type_: claim.kind.to_owned(),
        status: claim.status.to_owned(),
        reason: Some(claim.reason.to_owned()),
        message: Some(claim.message),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(since),
    });
}

fn has_deadline(deployment: &Deployment) -> Option<i32> {
    let deadline = deployment.spec.as_ref().and_then(|spec| spec.progress_deadline_seconds);
    deadline.filter(|seconds| *seconds != i32::MAX)
}

/// The conditions with what pausing, resuming, finding and creating say.
pub(super) fn before(
    deployment: &Deployment,
    find: Find,
    current: Option<&ReplicaSet>,
    now: Timestamp,
) -> Vec<DeploymentCondition> {
    let mut conditions =
        deployment.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    if has_deadline(deployment).is_none() {
        return conditions;
    }
    let had = condition(&conditions, PROGRESSING).and_then(|condition| condition.reason.clone());
    let paused = deployment.spec.as_ref().and_then(|spec| spec.paused).unwrap_or(false);
    let name = current.and_then(|set| set.metadata.name.as_deref()).unwrap_or_default();
    let claim = match (paused, had.as_deref()) {
        (_, Some(LATE)) => None,
        (true, had) if had != Some(PAUSED) => Some(("Unknown", PAUSED, "Deployment is paused".to_owned())),
        (false, Some(PAUSED)) => Some(("Unknown", "DeploymentResumed", "Deployment is resumed".to_owned())),
        _ => None,
    };
    if let Some((status, reason, message)) = claim {
        put(&mut conditions, Claim::progressing(status, reason, message), now);
    }
    let claim = match find {
        Find::Created => Some(("NewReplicaSetCreated", format!("Created new replica set {name:?}"))),
        Find::Found if condition(&conditions, PROGRESSING).is_none() => {
            Some(("FoundNewReplicaSet", format!("Found new replica set {name:?}")))
        }
        _ => None,
    };
    if let Some((reason, message)) = claim {
        put(&mut conditions, Claim::progressing("True", reason, message), now);
    }
    conditions
}

/// The counts over all ReplicaSets, and whether enough pods are available.
pub(super) fn counted(
    deployment: &Deployment,
    sets: &[Arc<ReplicaSet>],
    current: Option<&ReplicaSet>,
    mut conditions: Vec<DeploymentCondition>,
    now: Timestamp,
) -> DeploymentStatus {
    let sum = |count: fn(&ReplicaSet) -> i32| sets.iter().map(|set| count(set)).sum::<i32>();
    let status = |set: &ReplicaSet| set.status.clone().unwrap_or_default();
    let replicas = sum(|set| set.status.as_ref().map_or(0, |status| status.replicas));
    let ready = sum(|set| set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0));
    let available = sum(|set| set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0));
    let terminating =
        sum(|set| set.status.as_ref().and_then(|status| status.terminating_replicas).unwrap_or(0));
    let asked = sum(|set| set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1));
    let bounds = Bounds::of(deployment);
    let claim = if available >= bounds.desired - bounds.unavailable {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    let (said, reason, message) = claim;
    let claim = Claim { kind: AVAILABLE, status: said, reason, message: message.to_owned() };
    put(&mut conditions, claim, now);
    let count = |number: i32| (number != 0).then_some(number);
    DeploymentStatus {
        replicas: count(replicas),
        updated_replicas: count(current.map_or(0, |set| status(set).replicas)),
        ready_replicas: count(ready),
        available_replicas: count(available),
        unavailable_replicas: count((asked - available).max(0)),
        terminating_replicas: Some(terminating),
        observed_generation: deployment.metadata.generation,
        collision_count: deployment.status.as_ref().and_then(|status| status.collision_count),
        conditions: Some(conditions),
    }
}

/// Whether every pod asked for is there, up to date and available.
pub(super) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let desired = Some(Bounds::of(deployment).desired).filter(|desired| *desired != 0);
    let nonzero = |count: Option<i32>| count.filter(|count| *count != 0);
    nonzero(status.updated_replicas) == desired
        && nonzero(status.replicas) == desired
        && nonzero(status.available_replicas) == desired
        && status.observed_generation >= deployment.metadata.generation
}

fn has_progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let count = |count: Option<i32>| count.unwrap_or(0);
    let former = |status: &DeploymentStatus| count(status.replicas) - count(status.updated_replicas);
    count(new.updated_replicas) > count(old.updated_replicas)
        || former(new) < former(old)
        || count(new.ready_replicas) > count(old.ready_replicas)
        || count(new.available_replicas) > count(old.available_replicas)
}

/// How long until the deadline, counted from the last progress; `None` where none runs.
fn until_deadline(
    deployment: &Deployment,
    conditions: &[DeploymentCondition],
    now: Timestamp,
) -> Option<SignedDuration> {
    let deadline = SignedDuration::from_secs(has_deadline(deployment)?.into());
    let progress = condition(conditions, PROGRESSING)?;
    let from = progress.last_update_time.as_ref()?.0;
    (progress.reason.as_deref() != Some(DONE)).then(|| deadline - now.duration_since(from))
}

/// Says how the rollout goes, and when time alone will change that.
pub(super) fn judged(
    deployment: &Deployment,
    sets: &[Arc<ReplicaSet>],
    current: Option<&ReplicaSet>,
    mut status: DeploymentStatus,
    now: Timestamp,
) -> (DeploymentStatus, Option<Duration>) {
    let mut conditions = status.conditions.take().unwrap_or_default();
    let old = deployment.status.clone().unwrap_or_default();
    let reason = condition(&conditions, PROGRESSING).and_then(|condition| condition.reason.clone());
    let (kind, name) = match current {
        Some(set) => ("ReplicaSet", &set.metadata.name),
        None => ("Deployment", &deployment.metadata.name),
    };
    let about = |what: &str| format!("{kind} {:?} {what}", name.as_deref().unwrap_or_default());
    let complete = is_complete(deployment, &status);
    if has_deadline(deployment).is_none() {
        conditions.retain(|condition| condition.type_ != PROGRESSING);
    } else if !(status.replicas == status.updated_replicas && reason.as_deref() == Some(DONE)) {
        if complete {
            let message = about("has successfully progressed.");
            put(&mut conditions, Claim::progressing("True", DONE, message), now);
        } else if has_progressed(&old, &status) {
            // Progress renews the deadline, so the condition is written anew even where it says the same.
            let since = condition(&conditions, PROGRESSING)
                .filter(|condition| condition.status == "True")
                .and_then(|condition| condition.last_transition_time.clone());
            conditions.retain(|condition| condition.type_ != PROGRESSING);
            put(
                &mut conditions,
                Claim::progressing("True", "ReplicaSetUpdated", about("is progressing.")),
                now,
            );
            if let (Some(since), Some(last)) = (since, conditions.last_mut()) {
                last.last_transition_time = Some(since);
            }
        } else if reason.as_deref() == Some(LATE)
            || until_deadline(deployment, &conditions, now).is_some_and(|left| left.is_negative())
        {
            let message = about("has timed out progressing.");
            put(&mut conditions, Claim::progressing("False", LATE, message), now);
        }
    }
    conditions.retain(|condition| condition.type_ != FAILURE);
    conditions.extend(failure(sets, current, &old, now));
    let running =
        !complete && condition(&conditions, PROGRESSING).is_some_and(|c| c.reason.as_deref() != Some(LATE));
    let next = until_deadline(deployment, &conditions, now)
        .filter(|_| running)
        .map(|left| Duration::try_from(left).unwrap_or_default() + AFTER_DEADLINE);
    status.conditions = Some(conditions);
    (status, next)
}

/// What a ReplicaSet says about pods it could not make, the current one's word first.
fn failure(
    sets: &[Arc<ReplicaSet>],
    current: Option<&ReplicaSet>,
    old: &DeploymentStatus,
    now: Timestamp,
) -> Option<DeploymentCondition> {
    let of = |set: &ReplicaSet| {
        set.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == FAILURE).cloned()
    };
    let said = current.and_then(of).or_else(|| sets.iter().find_map(|set| of(set)))?;
    let same = old.conditions.iter().flatten().find(|condition| {
        condition.type_ == FAILURE && condition.reason == said.reason && condition.message == said.message
    });
    Some(same.cloned().unwrap_or_else(|| DeploymentCondition {
        type_: FAILURE.to_owned(),
        status: said.status,
        reason: said.reason,
        message: said.message,
        last_update_time: Some(Time(now)),
        last_transition_time: said.last_transition_time.or(Some(Time(now))),
    }))
}
