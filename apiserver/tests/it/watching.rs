//! Watches: where they begin, what they see, how they end.

use serde_json::{Value, json};

use crate::cases;
use crate::subject::Subject;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

cases!(what_is_selected_comes_and_goes, the_state_first, too_old_a_place_is_gone);

fn map(name: &str, color: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"color": color}}})
}

fn seen(events: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    events.iter().map(|event| (text(&event["type"]), text(&event["object"]["metadata"]["name"]))).collect()
}

async fn what_is_selected_comes_and_goes(subject: &Subject) {
    let begin = subject.send("GET", MAPS, Value::Null).await.body["metadata"]["resourceVersion"].clone();
    subject.send("POST", MAPS, map("a", "red")).await;
    subject.send("POST", MAPS, map("b", "blue")).await;
    subject.send("PATCH", &format!("{MAPS}/b"), json!({"metadata": {"labels": {"color": "red"}}})).await;
    subject.send("PATCH", &format!("{MAPS}/a"), json!({"data": {"x": "y"}})).await;
    subject.send("PATCH", &format!("{MAPS}/a"), json!({"metadata": {"labels": {"color": "blue"}}})).await;
    subject.send("DELETE", &format!("{MAPS}/b"), Value::Null).await;
    let begin = begin.as_str().unwrap();
    let path = format!("{MAPS}?watch=1&timeoutSeconds=1&resourceVersion={begin}&labelSelector=color%3Dred");
    let events = subject.events(&path).await;
    let expected = [("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "a"), ("DELETED", "b")];
    assert_eq!(seen(&events), expected.map(|(kind, name)| (kind.to_owned(), name.to_owned())));
    let revisions: Vec<i64> = events
        .iter()
        .map(|event| event["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap())
        .collect();
    assert!(revisions.is_sorted(), "{revisions:?}");
}

async fn the_state_first(subject: &Subject) {
    subject.send("POST", MAPS, map("a", "red")).await;
    let query = "watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let events = subject.events(&format!("{MAPS}?{query}")).await;
    assert_eq!(seen(&events), [("ADDED".to_owned(), "a".to_owned()), ("BOOKMARK".to_owned(), String::new())]);
    let annotations = &events[1]["object"]["metadata"]["annotations"];
    assert_eq!(annotations["k8s.io/initial-events-end"], "true");
    let wrong = subject.send("GET", &format!("{MAPS}?watch=1&sendInitialEvents=true"), Value::Null).await;
    assert_eq!(wrong.code, 422);
}

async fn too_old_a_place_is_gone(subject: &Subject) {
    let events = subject.events(&format!("{MAPS}?watch=1&timeoutSeconds=1&resourceVersion=-1")).await;
    assert_eq!(events[0]["type"], "ERROR");
    assert_eq!(events[0]["object"]["code"], 410);
    assert_eq!(events[0]["object"]["reason"], "Expired");
}
