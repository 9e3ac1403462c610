//! Tables of the graph and of what is decided from it.

use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::graph::{Fate, Graph};
use super::plan::{Cascade, Decision, Standing, decide};
use super::*;
use crate::resources::Resource;

fn meta(uid: &str, owners: &[&str], more: Value) -> ObjectMeta {
    let owners: Vec<_> = owners
        .iter()
        .map(|uid| json!({"apiVersion": "v1", "kind": "K", "name": uid, "uid": uid, "blockOwnerDeletion": true}))
        .collect();
    let mut meta = json!({"namespace": "d", "name": uid, "uid": uid, "ownerReferences": owners});
    for (name, value) in more.as_object().unwrap() {
        meta[name] = value.clone();
    }
    serde_json::from_value(meta).unwrap()
}

fn leaving(finalizer: &str) -> Value {
    json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [finalizer]})
}

fn looks(uids: Vec<Uid>) -> Vec<String> {
    uids.iter().map(|uid| uid.to_string()).collect()
}

#[test]
fn whom_a_change_concerns() {
    let kind = Arc::new(Resource::sample("things"));
    let mut graph = Graph::default();
    let mut put = |meta| looks(graph.put(&kind, meta));
    assert_eq!(put(meta("o", &[], json!({}))), Vec::<String>::new());
    assert_eq!(put(meta("a", &["o"], json!({}))), Vec::<String>::new(), "its owner is there");
    assert_eq!(put(meta("b", &["x"], json!({}))), ["b"], "its owner is unknown");
    assert_eq!(put(meta("c", &["o"], json!({"namespace": "e"}))), ["c"], "its owner is elsewhere");
    assert_eq!(put(meta("o", &[], leaving("foregroundDeletion"))), ["o"]);
    assert_eq!(put(meta("a", &["o"], json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}))), ["a", "o"]);
    assert_eq!(looks(graph.remove("a")), ["o"]);
    assert_eq!(looks(graph.remove("o")), ["c"]);
    assert_eq!(graph.get("c").map(|object| object.fate), Some(Fate::Lives));
    graph.remove("c");
    assert!(!graph.has_dependents("o"));
}

#[test]
fn what_is_decided() {
    use Standing::{Absent, Solid, Waiting};
    let delete = |cascade, unblock| Decision::Delete { cascade, unblock };
    let detach = |uids: &[&str]| Decision::Detach(uids.iter().map(|uid| uid.to_string()).collect());
    let cases = [
        (vec![], false, false, None, Decision::Stay),
        (vec![Solid], false, false, None, Decision::Stay),
        (vec![Solid, Absent, Waiting], false, false, None, detach(&["1", "2"])),
        (vec![Absent], false, false, None, delete(Cascade::Background, false)),
        (vec![Absent], true, false, None, delete(Cascade::Background, false)),
        (vec![Absent], true, false, Some("orphan"), delete(Cascade::Orphan, false)),
        (vec![Absent], true, false, Some("foregroundDeletion"), delete(Cascade::Foreground, false)),
        (vec![Waiting], false, false, None, delete(Cascade::Background, false)),
        (vec![Waiting, Absent], true, false, None, delete(Cascade::Foreground, false)),
        (vec![Waiting], true, true, None, delete(Cascade::Foreground, true)),
    ];
    for (standings, dependents, waits, finalizer, expected) in cases {
        let owners: Vec<_> =
            standings.iter().enumerate().map(|(at, standing)| (at.to_string(), *standing)).collect();
        let finalizers: Vec<_> = finalizer.into_iter().collect();
        let meta = meta("a", &[], json!({"finalizers": finalizers}));
        assert_eq!(
            decide(&meta, &owners, dependents, waits),
            expected,
            "{standings:?} {dependents} {finalizer:?}"
        );
    }
}
