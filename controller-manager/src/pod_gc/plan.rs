//! Which pods nobody will end any more.

use std::sync::Arc;

use client::k8s_openapi::api::core::v1::Pod;

use crate::pod;

/// Why a pod must be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is somebody's.
    Keep,
    /// It is being deleted and was never given to a node, so no kubelet will end it.
    Unscheduled,
    /// Its node is not known.
    NodeGone,
}

/// Judges one pod. `knows`: whether there is a node of this name.
pub(super) fn judge(pod: &Pod, knows: impl Fn(&str) -> bool) -> Verdict {
    match pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).filter(|node| !node.is_empty()) {
        None if pod::is_leaving(pod) => Verdict::Unscheduled,
        Some(node) if !knows(node) => Verdict::NodeGone,
        _ => Verdict::Keep,
    }
}

/// The finished pods beyond the number that is kept, those that would go anyway and the oldest first.
pub(super) fn surplus(pods: &[Arc<Pod>], kept: usize) -> Vec<Arc<Pod>> {
    let mut finished: Vec<_> =
        pods.iter().filter(|pod| pod::is_finished(pod) && !pod::is_leaving(pod)).cloned().collect();
    finished.sort_by_key(|pod| {
        (pod.metadata.creation_timestamp.as_ref().map(|time| time.0), pod.metadata.name.clone())
    });
    finished.truncate(finished.len().saturating_sub(kept));
    finished
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, node: Value, phase: &str, leaving: bool) -> Arc<Pod> {
        let pod = json!({"metadata": {"name": name, "deletionTimestamp": leaving.then_some("2026-01-01T00:00:00Z"),
            "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"containers": [], "nodeName": node}, "status": {"phase": phase}});
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn verdicts() {
        let cases = [
            (json!("here"), false, Verdict::Keep),
            (json!("here"), true, Verdict::Keep),
            (json!("gone"), false, Verdict::NodeGone),
            (json!(null), false, Verdict::Keep),
            (json!(null), true, Verdict::Unscheduled),
        ];
        for (node, leaving, expected) in cases {
            let pod = pod("p", node.clone(), "Running", leaving);
            assert_eq!(judge(&pod, |name| name == "here"), expected, "{node} {leaving}");
        }
    }

    #[test]
    fn the_oldest_finished_go() {
        let pods = [
            pod("a", json!("n"), "Succeeded", false),
            pod("b", json!("n"), "Failed", false),
            pod("c", json!("n"), "Running", false),
            pod("d", json!("n"), "Failed", true),
        ];
        let names = |kept| -> Vec<_> {
            surplus(&pods, kept).iter().map(|pod| pod.metadata.name.clone().unwrap()).collect()
        };
        assert_eq!(
            (names(2), names(1), names(0)),
            (vec![], vec!["a".to_owned()], vec!["a".into(), "b".into()])
        );
    }
}
