//! Which node a pod gets, and in which words it gets none.

use std::sync::Arc;

use client::k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::*;

/// A node with four CPUs and what else is given of it, and the specs of its pods.
fn room(name: &str, more: Value, pods: &[Value]) -> Room {
    let mut node = json!({
        "metadata": {"name": name, "labels": {"name": name}},
        "spec": {},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "3"}},
    });
    for (part, value) in more.as_object().unwrap() {
        for (field, value) in value.as_object().unwrap() {
            node[part][field] = value.clone();
        }
    }
    let pods = pods.iter().map(|spec| Arc::new(pod(spec))).collect();
    Room::new(Arc::new(serde_json::from_value(node).unwrap()), pods)
}

fn pod(spec: &Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "d"}, "spec": spec})).unwrap()
}

fn asks(requests: Value) -> Value {
    json!({"containers": [{"name": "c", "resources": {"requests": requests}}]})
}

fn with(field: &str, value: Value) -> Value {
    let mut spec = asks(json!({"cpu": "1"}));
    spec[field] = value;
    spec
}

fn port(number: u16, address: &str) -> Value {
    let port = json!({"containerPort": 80, "hostPort": number, "hostIP": address, "protocol": "TCP"});
    json!({"containers": [{"name": "c", "ports": [port]}]})
}

fn tainted(effect: &str) -> Value {
    json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": effect}]}})
}

fn requires(field: &str, key: &str, operator: &str, values: &[&str]) -> Value {
    let term = json!({field: [{"key": key, "operator": operator, "values": values}]});
    let terms = json!({"nodeSelectorTerms": [term]});
    with("affinity", json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}))
}

#[test]
fn which_node_a_pod_gets() {
    let plain = |name: &str| room(name, json!({}), &[]);
    let labelled = |name: &str, size: &str| room(name, json!({"metadata": {"labels": {"size": size}}}), &[]);
    let one = asks(json!({"cpu": "1", "memory": "1Gi"}));
    let prefers = json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 5,
        "preference": {"matchExpressions": [{"key": "size", "operator": "In", "values": ["9"]}]}}]}});
    let tolerates = |effect: &str| with("tolerations", json!([{"operator": "Exists", "effect": effect}]));
    let sizes = || vec![labelled("a", "3"), labelled("b", "9")];
    let cases: Vec<(&str, Value, Vec<Room>, &str)> = vec![
        ("the first of equals", one.clone(), vec![plain("a"), plain("b")], "a"),
        ("the emptier", one.clone(), vec![room("a", json!({}), std::slice::from_ref(&one)), plain("b")], "b"),
        (
            "pods that ask for nothing spread",
            json!({"containers": [{"name": "c"}]}),
            vec![room("a", json!({}), &[json!({"containers": [{"name": "c"}]})]), plain("b")],
            "b",
        ),
        ("the one that fits", asks(json!({"cpu": "4"})), vec![room("a", json!({}), &[one]), plain("b")], "b"),
        ("by selector", with("nodeSelector", json!({"name": "b"})), vec![plain("a"), plain("b")], "b"),
        ("by In", requires("matchExpressions", "size", "In", &["9"]), sizes(), "b"),
        ("by NotIn", requires("matchExpressions", "size", "NotIn", &["3"]), sizes(), "b"),
        ("by Gt", requires("matchExpressions", "size", "Gt", &["4"]), sizes(), "b"),
        ("by Lt", requires("matchExpressions", "size", "Lt", &["4"]), sizes(), "a"),
        (
            "by Exists",
            requires("matchExpressions", "size", "Exists", &[]),
            vec![plain("a"), labelled("b", "1")],
            "b",
        ),
        (
            "by DoesNotExist",
            requires("matchExpressions", "size", "DoesNotExist", &[]),
            vec![labelled("a", "1"), plain("b")],
            "b",
        ),
        ("by field", requires("matchFields", "metadata.name", "In", &["b"]), sizes(), "b"),
        ("as preferred", with("affinity", prefers), sizes(), "b"),
        (
            "despite a tolerated taint",
            tolerates("NoExecute"),
            vec![room("a", tainted("NoExecute"), &[])],
            "a",
        ),
        (
            "rather where it is liked",
            asks(json!({})),
            vec![room("a", tainted("PreferNoSchedule"), &[]), plain("b")],
            "b",
        ),
        (
            "cordoned, which is tolerated",
            tolerates("NoSchedule"),
            vec![room("a", json!({"spec": {"unschedulable": true}}), &[])],
            "a",
        ),
        (
            "the same port elsewhere",
            port(80, "10.0.0.1"),
            vec![room("a", json!({}), &[port(80, "10.0.0.2")])],
            "a",
        ),
    ];
    for (what, spec, rooms, expected) in cases {
        let pod = pod(&spec);
        let decision = decide(&Wanted::new(&pod).unwrap(), &rooms);
        assert_eq!(decision, Decision::Bind(expected.to_owned()), "{what}");
    }
}

#[test]
fn why_a_pod_gets_no_node() {
    let plain = |pods: &[Value]| room("a", json!({}), pods);
    let one = asks(json!({"cpu": "1"}));
    let three = asks(json!({"cpu": "3", "memory": "6Gi"}));
    let unhelpful = "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    let no_victims = "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";
    let single = |reason: &str, preemption: &str| format!("0/1 nodes are available: {reason}. {preemption}");
    let cases: Vec<(Value, Vec<Room>, String)> = vec![
        (one.clone(), vec![], "no nodes available to schedule pods".to_owned()),
        (asks(json!({"cpu": "5"})), vec![plain(&[])], single("1 Insufficient cpu", unhelpful)),
        (
            three.clone(),
            vec![plain(std::slice::from_ref(&three))],
            single("1 Insufficient cpu, 1 Insufficient memory", no_victims),
        ),
        (
            asks(json!({"example.com/gpu": "1", "ephemeral-storage": "1Gi"})),
            vec![plain(&[])],
            single("1 Insufficient ephemeral-storage, 1 Insufficient example.com/gpu", unhelpful),
        ),
        (
            asks(json!({})),
            vec![plain(&[asks(json!({})), asks(json!({})), asks(json!({}))])],
            single("1 Too many pods", no_victims),
        ),
        (
            one.clone(),
            vec![room("a", json!({"spec": {"unschedulable": true}}), &[])],
            single("1 node(s) were unschedulable", unhelpful),
        ),
        (
            with("nodeSelector", json!({"name": "b"})),
            vec![plain(&[])],
            single("1 node(s) didn't match Pod's node affinity/selector", unhelpful),
        ),
        (
            requires("matchFields", "metadata.name", "In", &["b"]),
            vec![plain(&[])],
            single("1 node(s) didn't satisfy plugin(s) [NodeAffinity]", unhelpful),
        ),
        (
            with("nodeName", json!("b")),
            vec![plain(&[])],
            single("1 node(s) didn't match the requested node name", unhelpful),
        ),
        (
            port(80, ""),
            vec![plain(&[port(80, "10.0.0.2")])],
            single("1 node(s) didn't have free ports for the requested pod ports", no_victims),
        ),
    ];
    for (spec, rooms, expected) in cases {
        let pod = pod(&spec);
        let decision = decide(&Wanted::new(&pod).unwrap(), &rooms);
        assert_eq!(decision, Decision::Refuse(expected), "{spec}");
    }
}

#[test]
fn reasons_are_counted_over_nodes() {
    let three = asks(json!({"cpu": "3", "memory": "6Gi"}));
    let cases: Vec<(Value, Vec<Room>, String)> = vec![
        (
            three.clone(),
            vec![
                room("a", json!({}), std::slice::from_ref(&three)),
                room("b", tainted("NoSchedule"), &[]),
                room("c", tainted("NoExecute"), &[]),
            ],
            "0/3 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 2 node(s) had untolerated \
             taint(s). preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, \
             2 Preemption is not helpful for scheduling."
                .to_owned(),
        ),
        (
            with("preemptionPolicy", json!("Never")),
            vec![room("a", tainted("NoSchedule"), &[])],
            "0/1 nodes are available: 1 node(s) had untolerated taint(s). preemption: not eligible due to \
             preemptionPolicy=Never."
                .to_owned(),
        ),
    ];
    for (spec, rooms, expected) in cases {
        let pod = pod(&spec);
        let decision = decide(&Wanted::new(&pod).unwrap(), &rooms);
        assert_eq!(decision, Decision::Refuse(expected), "{spec}");
    }
}
