//! What a silent node's conditions become, and which taints follow from a node's conditions.

use std::sync::Arc;
use std::time::Duration;

use client::k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use jiff::Timestamp;

use crate::taint::{NOT_READY, UNREACHABLE};

/// The conditions that nobody vouches for once a node is silent.
const VOUCHED: &[&str] = &["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// Taints that this controller puts on and takes off, by the condition that asks for them.
const BY_CONDITION: &[(&str, &str, &str)] = &[
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];

const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// The status of a condition of a node; a condition that is missing is unknown.
pub(super) fn said<'a>(node: &'a Node, kind: &str) -> &'a str {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let condition = conditions.into_iter().flatten().find(|condition| condition.type_ == kind);
    condition.map_or("Unknown", |condition| condition.status.as_str())
}

/// Whether any node is ready. Where none is, it is this side that is cut off, and nothing is evicted.
pub(super) fn any_ready(nodes: &[Arc<Node>]) -> bool {
    nodes.iter().any(|node| said(node, "Ready") == "True")
}

/// How long the node may still be silent; `None` once it was silent too long.
pub(super) fn patience(
    node: &Node,
    silent: Duration,
    grace: Duration,
    startup: Duration,
) -> Option<Duration> {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let reported = conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready");
    let limit = if reported { grace } else { startup };
    limit.checked_sub(silent).filter(|left| !left.is_zero())
}

/// The conditions of a node that was silent too long; `None` where they say so already.
pub(super) fn silenced(node: &Node, now: Timestamp) -> Option<Vec<NodeCondition>> {
    let mut conditions =
        node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let mut changed = false;
    for kind in VOUCHED {
        match conditions.iter_mut().find(|condition| condition.type_ == *kind) {
            Some(condition) if condition.status == "Unknown" => {}
            Some(condition) => {
                condition.status = "Unknown".to_owned();
                condition.reason = Some("NodeStatusUnknown".to_owned());
                condition.message = Some("Kubelet stopped posting node status.".to_owned());
                condition.last_transition_time = Some(Time(now));
                changed = true;
            }
            None => {
                conditions.push(NodeCondition {
                    type_: (*kind).to_owned(),
                    status: "Unknown".to_owned(),
                    reason: Some("NodeStatusNeverUpdated".to_owned()),
                    message: Some("Kubelet never posted node status.".to_owned()),
                    last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                    last_transition_time: Some(Time(now)),
                });
                changed = true;
            }
        }
    }
    changed.then_some(conditions)
}

/// The taints a node must have; `None` where it has them. `evict`: whether pods may be driven off.
pub(super) fn taints(node: &Node, evict: bool, now: Timestamp) -> Option<Vec<Taint>> {
    let spec = node.spec.as_ref();
    let had = spec.and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    for (condition, status, key) in BY_CONDITION {
        // A node that has not reported is not unreachable yet; its kubelet registers it as not ready.
        if said(node, condition) == *status && (has_condition(node, condition)) {
            wanted.push((key, "NoSchedule"));
            if *condition == "Ready" && evict {
                wanted.push((key, "NoExecute"));
            }
        }
    }
    if spec.and_then(|spec| spec.unschedulable).unwrap_or(false) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let ours = |taint: &Taint| {
        let by_condition = BY_CONDITION.iter().any(|(_, _, key)| taint.key == *key);
        match taint.effect.as_str() {
            // A node that has not said how it is keeps the taint it was registered with.
            "NoSchedule" if taint.key == NOT_READY => has_condition(node, "Ready"),
            "NoSchedule" => by_condition || taint.key == UNSCHEDULABLE,
            "NoExecute" => taint.key == NOT_READY || taint.key == UNREACHABLE,
            _ => false,
        }
    };
    let is = |taint: &Taint, (key, effect): &(&str, &str)| taint.key == *key && taint.effect == *effect;
    let keeps = |taint: &&Taint| !ours(taint) || wanted.iter().any(|wanted| is(taint, wanted));
    let mut taints: Vec<Taint> = had.iter().filter(keeps).cloned().collect();
    for (key, effect) in wanted.iter().filter(|wanted| !had.iter().any(|taint| is(taint, wanted))) {
        taints.push(Taint {
            key: (*key).to_owned(),
            effect: (*effect).to_owned(),
            value: None,
            time_added: Some(Time(now)),
        });
    }
    (taints != had).then_some(taints)
}

fn has_condition(node: &Node, kind: &str) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == kind)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(conditions: Value, spec: Value) -> Node {
        let node = json!({"metadata": {"name": "n"}, "spec": spec, "status": {"conditions": conditions}});
        serde_json::from_value(node).unwrap()
    }

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn how_long_a_node_may_be_silent() {
        let reported = node(json!([{"type": "Ready", "status": "True"}]), json!({}));
        let fresh = node(json!([]), json!({}));
        let seconds = Duration::from_secs;
        for (node, silent, expected) in
            [(&reported, 10, Some(30)), (&reported, 40, None), (&fresh, 40, Some(20)), (&fresh, 60, None)]
        {
            let left = patience(node, seconds(silent), seconds(40), seconds(60));
            assert_eq!(left, expected.map(seconds), "{silent}");
        }
    }

    #[test]
    fn a_silent_node_is_unknown_and_that_is_said_once() {
        let node = node(json!([{"type": "Ready", "status": "True", "reason": "KubeletReady"}]), json!({}));
        let conditions = silenced(&node, now()).unwrap();
        let reasons: Vec<_> =
            conditions.iter().map(|c| (c.type_.as_str(), c.reason.as_deref().unwrap())).collect();
        let never = "NodeStatusNeverUpdated";
        assert_eq!(
            reasons,
            [
                ("Ready", "NodeStatusUnknown"),
                ("MemoryPressure", never),
                ("DiskPressure", never),
                ("PIDPressure", never)
            ]
        );
        let mut node = node;
        node.status.as_mut().unwrap().conditions = Some(conditions);
        assert_eq!(silenced(&node, now()), None);
    }

    #[test]
    fn taints_follow_conditions() {
        let ready = |status: &str| json!([{"type": "Ready", "status": status}]);
        let foreign = json!({"key": "mine", "effect": "NoExecute"});
        let not_ready = json!({"key": NOT_READY, "effect": "NoSchedule"});
        // Conditions, taints there, whether to evict, the taints that result.
        let cases = [
            (ready("True"), json!({}), true, None),
            (ready("False"), json!({}), true, Some(vec!["not-ready:NoSchedule", "not-ready:NoExecute"])),
            (
                ready("Unknown"),
                json!({}),
                true,
                Some(vec!["unreachable:NoSchedule", "unreachable:NoExecute"]),
            ),
            (ready("Unknown"), json!({}), false, Some(vec!["unreachable:NoSchedule"])),
            (json!([]), json!({"taints": [foreign, not_ready]}), true, None),
            (ready("True"), json!({"taints": [foreign, not_ready]}), true, Some(vec!["mine:NoExecute"])),
            (ready("True"), json!({"unschedulable": true}), true, Some(vec!["unschedulable:NoSchedule"])),
            (
                json!([{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "True"}]),
                json!({}),
                true,
                Some(vec!["disk-pressure:NoSchedule"]),
            ),
        ];
        for (conditions, spec, evict, expected) in cases {
            let taints = taints(&node(conditions.clone(), spec), evict, now()).map(|taints| {
                let short =
                    |taint: &Taint| format!("{}:{}", taint.key.rsplit('/').next().unwrap(), taint.effect);
                taints.iter().map(short).collect::<Vec<_>>()
            });
            assert_eq!(
                taints.as_deref().map(|t| t.iter().map(String::as_str).collect()),
                expected,
                "{conditions}"
            );
        }
    }
}
