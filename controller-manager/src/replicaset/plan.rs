//! How many pods a ReplicaSet lacks or has too many, and what its status says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use client::k8s_openapi::api::core::v1::Pod;
use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use jiff::Timestamp;

use crate::pod::{self, Availability};

/// The most pods created or deleted in one go (upstream's figure).
const BURST: usize = 500;

/// What must happen to the number of pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    Enough,
    Create(usize),
    Delete(usize),
}

/// What could not be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    Create,
    Delete,
}

/// Compares what is asked for with the number of active pods.
pub(super) fn scale(set: &ReplicaSet, active: usize) -> Scale {
    let wanted = usize::try_from(replicas(set)).unwrap_or(0);
    match wanted.cmp(&active) {
        std::cmp::Ordering::Equal => Scale::Enough,
        std::cmp::Ordering::Greater => Scale::Create((wanted - active).min(BURST)),
        std::cmp::Ordering::Less => Scale::Delete((active - wanted).min(BURST)),
    }
}

/// How many pods are asked for; the API server's default is one.
pub(super) fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// The status that fits these pods, and when time alone will change it.
pub(super) fn status(
    set: &ReplicaSet,
    pods: &[Arc<Pod>],
    failure: Option<(Failure, String)>,
    now: Timestamp,
) -> (ReplicaSetStatus, Option<Duration>) {
    let spec = set.spec.as_ref();
    let min_ready = spec.and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    let none = BTreeMap::new();
    let template =
        spec.and_then(|spec| spec.template.as_ref()).and_then(|template| template.metadata.as_ref());
    let labels = template.and_then(|meta| meta.labels.as_ref()).unwrap_or(&none);
    let mut next = None;
    let (mut all, mut labeled, mut ready, mut available, mut terminating) = (0, 0, 0, 0, 0);
    for pod in pods {
        if pod::is_leaving(pod) {
            terminating += i32::from(!pod::is_finished(pod));
            continue;
        }
        if !pod::is_active(pod) {
            continue;
        }
        all += 1;
        let has = pod.metadata.labels.as_ref().unwrap_or(&none);
        labeled += i32::from(labels.iter().all(|(name, value)| has.get(name) == Some(value)));
        ready += i32::from(pod::is_ready(pod));
        match pod::availability(pod, min_ready, now) {
            Availability::Now => available += 1,
            Availability::In(left) => next = Some(next.map_or(left, |next: Duration| next.min(left))),
            Availability::Never => {}
        }
    }
    // Zero counts are left out, as the API server writes them.
    let count = |number: i32| (number != 0).then_some(number);
    let old = set.status.as_ref();
    let status = ReplicaSetStatus {
        replicas: all,
        fully_labeled_replicas: count(labeled),
        ready_replicas: count(ready),
        available_replicas: count(available),
        terminating_replicas: Some(terminating),
        observed_generation: set.metadata.generation,
        conditions: conditions(old.and_then(|status| status.conditions.clone()), failure, now),
    };
    (status, next)
}

fn conditions(
    old: Option<Vec<ReplicaSetCondition>>,
    failure: Option<(Failure, String)>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    const KIND: &str = "ReplicaFailure";
    let mut conditions = old.unwrap_or_default();
    match failure {
        None => conditions.retain(|condition| condition.type_ != KIND),
        Some(_) if conditions.iter().any(|condition| condition.type_ == KIND) => {}
        Some((failure, message)) => conditions.push(ReplicaSetCondition {
            type_: KIND.to_owned(),
            status: "True".to_owned(),
            reason: Some(
                match failure {
                    Failure::Create => "FailedCreate",
                    Failure::Delete => "FailedDelete",
                }
                .to_owned(),
            ),
            message: Some(message),
            last_transition_time: Some(Time(now)),
        }),
    }
    (!conditions.is_empty()).then_some(conditions)
}
