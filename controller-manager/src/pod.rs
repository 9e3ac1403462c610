//! What controllers ask about pods, and how a pod is made from a template.

use std::time::Duration;

use client::k8s_openapi::api::core::v1::{Pod, PodCondition, PodTemplateSpec};
use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use jiff::Timestamp;

/// The phase of a pod; a pod without one is pending.
pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// Whether the pod has ended for good.
pub(crate) fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether somebody has asked for the pod to be deleted.
pub(crate) fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether the pod counts: neither ended nor about to.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && !is_leaving(pod)
}

/// A condition of the pod.
pub(crate) fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

/// Whether the pod is ready.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Since when the pod is ready, if it is and says so.
pub(crate) fn ready_since(pod: &Pod) -> Option<Timestamp> {
    condition(pod, "Ready").filter(|ready| ready.status == "True")?.last_transition_time.as_ref().map(|t| t.0)
}

/// Whether a pod has been ready long enough, or how long it still takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Availability {
    /// It is.
    Now,
    /// It will be, if it stays ready.
    In(Duration),
    /// It is not ready.
    Never,
}

/// Whether the pod has been ready for `min_ready` seconds.
pub(crate) fn availability(pod: &Pod, min_ready: i32, now: Timestamp) -> Availability {
    if !is_ready(pod) {
        return Availability::Never;
    }
    if min_ready <= 0 {
        return Availability::Now;
    }
    let Some(since) = ready_since(pod) else { return Availability::Never };
    let due =
        since.saturating_add(jiff::SignedDuration::from_secs(min_ready.into())).unwrap_or(Timestamp::MAX);
    match Duration::try_from(due.duration_since(now)) {
        Ok(left) if !left.is_zero() => Availability::In(left),
        _ => Availability::Now,
    }
}

/// A label of the pod.
pub(crate) fn label<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    meta.labels.as_ref()?.get(name).map(String::as_str)
}

/// An annotation of an object.
pub(crate) fn annotation<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(name).map(String::as_str)
}

/// Names are cut so that a random ending of five fits into the 63 characters of a label (the API server's figure).
const LONGEST_PREFIX: usize = 58;

/// A pod as the template of a controller has it. The API server finishes its name.
pub(crate) fn from_template(template: &PodTemplateSpec, namespace: &str, owner: OwnerReference) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    let mut prefix = owner.name.clone();
    prefix.truncate(LONGEST_PREFIX - 1);
    prefix.push('-');
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(prefix),
            namespace: Some(namespace.to_owned()),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_pod_is_available() {
        let pod = |ready: &str| -> Pod {
            serde_json::from_value(serde_json::json!({"status": {"conditions": [
                {"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}))
            .unwrap()
        };
        let now: Timestamp = "2026-01-01T00:00:10Z".parse().unwrap();
        let cases = [
            ("False", 0, Availability::Never),
            ("True", 0, Availability::Now),
            ("True", 10, Availability::Now),
            ("True", 30, Availability::In(Duration::from_secs(20))),
        ];
        for (ready, seconds, expected) in cases {
            assert_eq!(availability(&pod(ready), seconds, now), expected, "{ready} {seconds}");
        }
    }
}
