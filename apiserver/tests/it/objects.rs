//! How objects are made, changed and deleted.

use serde_json::{Value, json};

use crate::cases;
use crate::subject::Subject;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

cases!(
    writes_and_their_answers,
    a_lost_race_is_a_conflict,
    finalizers_hold_an_object,
    a_dry_run_stores_nothing,
    a_namespace_must_live,
    patches,
    unknown_fields,
    generated_names,
);

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}})
}

async fn writes_and_their_answers(subject: &Subject) {
    // method, path below the collection, body, code, message (or empty)
    let named_otherwise = json!({"metadata": {"name": "b"}});
    let cases = [
        ("POST", "", map("a"), 201, ""),
        ("POST", "", map("a"), 409, "configmaps \"a\" already exists"),
        (
            "POST",
            "",
            json!({"metadata": {}}),
            422,
            "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required",
        ),
        (
            "POST",
            "",
            json!([]),
            400,
            "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" } (5b5d)",
        ),
        (
            "PUT",
            "/a",
            named_otherwise,
            400,
            "the name of the object (b) does not match the name on the URL (a)",
        ),
        ("PUT", "/x", map("x"), 404, "configmaps \"x\" not found"),
        ("GET", "/x", Value::Null, 404, "configmaps \"x\" not found"),
        ("PUT", "", Value::Null, 405, "the server does not allow this method on the requested resource"),
        ("DELETE", "/a", Value::Null, 200, ""),
        ("DELETE", "/a", Value::Null, 404, "configmaps \"a\" not found"),
        ("GET", "/a/status", Value::Null, 404, "the server could not find the requested resource"),
    ];
    for (method, below, body, code, message) in cases {
        let answer = subject.send(method, &format!("{MAPS}{below}"), body).await;
        assert_eq!(answer.code, code, "{method} {below}: {}", answer.body);
        assert_eq!(answer.body["message"].as_str().unwrap_or_default(), message, "{method} {below}");
    }
}

async fn a_lost_race_is_a_conflict(subject: &Subject) {
    let made = subject.send("POST", MAPS, map("a")).await.body;
    let mut mine = made.clone();
    mine["data"]["k"] = "mine".into();
    let changed = subject.send("PUT", &format!("{MAPS}/a"), mine.clone()).await;
    assert_eq!(changed.code, 200);
    assert_ne!(changed.body["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    let late = subject.send("PUT", &format!("{MAPS}/a"), mine.clone()).await;
    assert_eq!((late.code, late.body["reason"].as_str()), (409, Some("Conflict")));
    mine["metadata"]["resourceVersion"] = Value::Null;
    let same = subject.send("PUT", &format!("{MAPS}/a"), mine).await;
    assert_eq!(same.body["metadata"]["resourceVersion"], changed.body["metadata"]["resourceVersion"]);
}

async fn finalizers_hold_an_object(subject: &Subject) {
    let mut held = map("a");
    held["metadata"]["finalizers"] = json!(["example.org/x"]);
    subject.send("POST", MAPS, held).await;
    let path = format!("{MAPS}/a");
    let dying = subject.send("DELETE", &path, Value::Null).await.body;
    assert!(dying["metadata"]["deletionTimestamp"].is_string(), "{dying}");
    let again = subject.send("POST", MAPS, map("a")).await;
    assert_eq!(again.body["message"], "object is being deleted: configmaps \"a\" already exists");
    let freed = subject.send("PATCH", &path, json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(freed.code, 200, "{}", freed.body);
    assert_eq!(subject.send("GET", &path, Value::Null).await.code, 404);
}

async fn a_dry_run_stores_nothing(subject: &Subject) {
    let made = subject.send("POST", &format!("{MAPS}?dryRun=All"), map("a")).await;
    assert_eq!((made.code, made.body["metadata"]["resourceVersion"].as_str()), (201, None));
    assert_eq!(subject.send("GET", &format!("{MAPS}/a"), Value::Null).await.code, 404);
    let wrong = subject.send("POST", &format!("{MAPS}?dryRun=Some"), map("a")).await;
    assert_eq!(wrong.code, 422);
}

async fn a_namespace_must_live(subject: &Subject) {
    let path = "/api/v1/namespaces/team/configmaps";
    let missing = subject.send("POST", path, map("a")).await;
    assert_eq!(missing.body["message"], "namespaces \"team\" not found");
    let namespace = json!({"metadata": {"name": "team", "finalizers": ["example.org/x"]}});
    assert_eq!(subject.send("POST", "/api/v1/namespaces", namespace).await.code, 201);
    assert_eq!(subject.send("POST", path, map("a")).await.code, 201);
    let dying = subject.send("DELETE", "/api/v1/namespaces/team", Value::Null).await;
    assert_eq!(dying.body["status"]["phase"], "Terminating", "{}", dying.body);
    // The cache learns of it a moment after the answer.
    let revision: i64 = dying.body["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    subject.cluster.server.reached(revision).await.unwrap();
    let refused = subject.send("POST", path, map("b")).await;
    assert_eq!((refused.code, refused.body["reason"].as_str()), (403, Some("Forbidden")));
    assert_eq!(refused.body["details"]["causes"][0]["reason"], "NamespaceTerminating");
}

async fn patches(subject: &Subject) {
    subject.send("POST", MAPS, map("a")).await;
    let cases = [
        ("application/merge-patch+json", json!({"data": {"m": "1"}}), 200, Some("1")),
        ("application/strategic-merge-patch+json", json!({"data": {"m": "2"}}), 200, Some("2")),
        (
            "application/json-patch+json",
            json!([{"op": "replace", "path": "/data/m", "value": "3"}]),
            200,
            Some("3"),
        ),
        ("application/json-patch+json", json!([{"op": "test", "path": "/data/m", "value": "x"}]), 422, None),
        ("application/merge-patch+json", json!({"data": {"m": 4}}), 422, None),
        ("application/json", json!({}), 415, None),
    ];
    for (kind, patch, code, value) in cases {
        let path = format!("{MAPS}/a");
        let answer = subject.send_as("PATCH", &path, kind, "application/json", patch.to_string()).await;
        assert_eq!(
            (answer.code, answer.body["data"]["m"].as_str()),
            (code, value),
            "{patch}: {}",
            answer.body
        );
    }
}

async fn unknown_fields(subject: &Subject) {
    let mut odd = map("a");
    odd["zz"] = 1.into();
    let strict = subject.send("POST", &format!("{MAPS}?fieldValidation=Strict"), odd.clone()).await;
    assert_eq!(strict.code, 400, "{}", strict.body);
    let warned = subject.send("POST", MAPS, odd).await;
    assert_eq!((warned.code, warned.warnings), (201, vec!["299 - \"unknown field \\\"zz\\\"\"".to_owned()]));
    assert_eq!(warned.body["zz"], Value::Null);
}

async fn generated_names(subject: &Subject) {
    let made = subject.send("POST", MAPS, json!({"metadata": {"generateName": "web-"}})).await;
    let name = made.body["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("web-") && name.len() == 9, "{name}");
}
