//! Tables of what a ReplicaSet does and says.

use serde_json::{Value, json};

use super::plan::{Failure, Scale, scale, status};
use super::*;

fn set(replicas: i32, min_ready: i32) -> ReplicaSet {
    serde_json::from_value(json!({
        "metadata": {"namespace": "d", "name": "web", "uid": "u", "generation": 2},
        "spec": {"replicas": replicas, "minReadySeconds": min_ready, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web", "tier": "x"}}, "spec": {"containers": []}}},
    }))
    .unwrap()
}

fn pod(name: &str, more: Value) -> Arc<Pod> {
    let mut pod = json!({"metadata": {"namespace": "d", "name": name, "uid": name, "labels": {"app": "web"},
        "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"containers": [], "nodeName": "n1"},
        "status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
    merge(&mut pod, more);
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

#[test]
fn how_many_are_missing() {
    let cases = [
        (3, 3, Scale::Enough),
        (3, 1, Scale::Create(2)),
        (0, 2, Scale::Delete(2)),
        (900, 0, Scale::Create(500)),
    ];
    for (wanted, active, expected) in cases {
        assert_eq!(scale(&set(wanted, 0), active), expected, "{wanted} {active}");
    }
}

#[test]
fn what_the_status_says() {
    let now = "2026-01-01T00:00:10Z".parse().unwrap();
    let pods = [
        pod("a", json!({"metadata": {"labels": {"tier": "x"}}})),
        pod("b", json!({"status": {"conditions": []}})),
        pod("c", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:05Z"}})),
    ];
    let (said, next) = status(&set(3, 30), &pods, None, now);
    assert_eq!(
        serde_json::to_value(said).unwrap(),
        json!({"replicas": 2, "fullyLabeledReplicas": 1, "readyReplicas": 1, "terminatingReplicas": 1,
            "observedGeneration": 2})
    );
    assert_eq!(next.unwrap().as_secs(), 20);
    let (said, next) = status(&set(3, 0), &pods, Some((Failure::Create, "no".to_owned())), now);
    assert_eq!((said.available_replicas, next), (Some(1), None));
    let condition = &said.conditions.unwrap()[0];
    assert_eq!(
        (condition.type_.as_str(), condition.reason.as_deref()),
        ("ReplicaFailure", Some("FailedCreate"))
    );
}

#[test]
fn who_goes_first() {
    let now = "2026-01-02T00:00:00Z".parse().unwrap();
    // Each case: the pod that goes and the one that stays.
    let cases = [
        (json!({"spec": {"nodeName": null}}), json!({})),
        (json!({"status": {"phase": "Pending"}}), json!({})),
        (json!({"status": {"conditions": []}}), json!({})),
        (
            json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-5"}}}),
            json!({}),
        ),
        (json!({}), json!({"spec": {"nodeName": "n2"}})),
        (json!({"metadata": {"creationTimestamp": "2026-01-01T23:00:00Z"}}), json!({})),
        (
            json!({"status": {"containerStatuses": [{"name": "c", "restartCount": 3, "ready": true, "image": "i",
                "imageID": "i"}]}}),
            json!({}),
        ),
    ];
    for (goes, stays) in cases {
        let (goes, stays) = (pod("z", goes), pod("a", stays));
        let third = pod("m", json!({}));
        let related = [third, Arc::clone(&goes), Arc::clone(&stays)];
        for pods in [vec![Arc::clone(&goes), Arc::clone(&stays)], vec![Arc::clone(&stays), Arc::clone(&goes)]]
        {
            let first = rank::first_to_go(pods, &related, 1, now);
            assert_eq!(first[0].metadata.name, goes.metadata.name, "{goes:?}");
        }
    }
}
