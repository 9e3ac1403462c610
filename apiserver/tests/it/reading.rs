//! Lists: pages, revisions, selectors, formats.

use serde_json::{Value, json};

use crate::cases;
use crate::subject::Subject;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

cases!(pages_are_of_one_revision, selectors, formats, every_kind_can_be_listed);

async fn fill(subject: &Subject, count: usize) {
    for number in 0..count {
        let parity = if number % 2 == 0 { "even" } else { "odd" };
        let map = json!({"metadata": {"name": format!("c{number}"), "labels": {"parity": parity}}});
        assert_eq!(subject.send("POST", MAPS, map).await.code, 201);
    }
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

async fn pages_are_of_one_revision(subject: &Subject) {
    fill(subject, 5).await;
    let first = subject.send("GET", &format!("{MAPS}?limit=2"), Value::Null).await.body;
    assert_eq!(names(&first), ["c0", "c1"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    // What happens between two pages is not to be seen.
    assert_eq!(subject.send("DELETE", &format!("{MAPS}/c3"), Value::Null).await.code, 200);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let rest = subject.send("GET", &format!("{MAPS}?limit=9&continue={token}"), Value::Null).await.body;
    assert_eq!(names(&rest), ["c2", "c3", "c4"]);
    assert_eq!(rest["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let fresh = subject.send("GET", MAPS, Value::Null).await.body;
    assert_eq!(names(&fresh), ["c0", "c1", "c2", "c4"]);
    let wrong = subject.send("GET", &format!("{MAPS}?continue=x"), Value::Null).await;
    assert_eq!(wrong.code, 400);
}

async fn selectors(subject: &Subject) {
    fill(subject, 3).await;
    let cases = [
        ("labelSelector=parity%3Dodd", 200, vec!["c1"]),
        ("labelSelector=parity+in+(even)", 200, vec!["c0", "c2"]),
        ("labelSelector=!parity", 200, vec![]),
        ("fieldSelector=metadata.name%3Dc2", 200, vec!["c2"]),
        ("fieldSelector=metadata.name!%3Dc2", 200, vec!["c0", "c1"]),
        ("fieldSelector=spec.x%3D1", 400, vec![]),
        ("labelSelector=a+b", 400, vec![]),
    ];
    for (query, code, expected) in cases {
        let answer = subject.send("GET", &format!("{MAPS}?{query}"), Value::Null).await;
        assert_eq!(answer.code, code, "{query}: {}", answer.body);
        if code == 200 {
            assert_eq!(names(&answer.body), expected, "{query}");
        }
    }
}

async fn formats(subject: &Subject) {
    fill(subject, 1).await;
    let cases = [
        ("application/json;as=Table;v=v1;g=meta.k8s.io", 200, "Table"),
        (
            "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
            200,
            "PartialObjectMetadataList",
        ),
        ("application/json", 200, "ConfigMapList"),
        ("text/html", 406, "Status"),
    ];
    for (accept, code, kind) in cases {
        let answer = subject.send_as("GET", MAPS, "application/json", accept, String::new()).await;
        assert_eq!((answer.code, answer.body["kind"].as_str()), (code, Some(kind)), "{accept}");
    }
    let accept = "application/vnd.kubernetes.protobuf";
    let answer = subject.send_as("GET", MAPS, "application/json", accept, String::new()).await;
    assert!(answer.body.as_str().is_some_and(|text| text.starts_with("k8s\0")), "{:?}", answer.body);
}

async fn every_kind_can_be_listed(subject: &Subject) {
    for kind in proto::kind::KINDS {
        if !kind.stored || kind.served != proto::kind::Served::Default {
            continue;
        }
        let prefix = if kind.group.is_empty() { "/api" } else { "/apis" };
        let answer = subject
            .send("GET", &format!("{prefix}/{}/{}", kind.api_version(), kind.plural), Value::Null)
            .await;
        assert_eq!(answer.code, 200, "{}: {}", kind.plural, answer.body);
        assert_eq!(answer.body["kind"], kind.list_kind);
        assert_eq!(answer.body["apiVersion"], kind.api_version());
    }
}
