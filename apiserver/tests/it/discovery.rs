//! What the server tells of itself.

use serde_json::Value;

use crate::cases;
use crate::subject::Subject;

cases!(documents, what_a_client_has_is_not_sent_again, health);

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

async fn documents(subject: &Subject) {
    let beta = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
    let cases = [
        ("/api", "*/*", 200, "APIVersions"),
        ("/api", AGGREGATED, 200, "APIGroupDiscoveryList"),
        ("/apis", "application/json", 200, "APIGroupList"),
        ("/apis", AGGREGATED, 200, "APIGroupDiscoveryList"),
        ("/apis", beta, 406, "Status"),
        ("/api/v1", "application/json", 200, "APIResourceList"),
        ("/apis/apps", "application/json", 200, "APIGroup"),
        ("/apis/apps/v1", "application/json", 200, "APIResourceList"),
        ("/apis/apps/v9", "application/json", 404, "Status"),
    ];
    for (path, accept, code, kind) in cases {
        let answer = subject.send_as("GET", path, "application/json", accept, String::new()).await;
        assert_eq!((answer.code, answer.body["kind"].as_str()), (code, Some(kind)), "{path} {accept}");
    }
    let root = subject.send("GET", "/", Value::Null).await.body;
    for path in ["/api/v1", "/apis/apps", "/livez/ping", "/openapi/v3"] {
        assert!(root["paths"].as_array().unwrap().contains(&path.into()), "{path}: {root}");
    }
    let protobuf = "application/vnd.kubernetes.protobuf";
    for path in ["/api", "/apis", "/api/v1", "/apis/apps"] {
        let answer = subject.send_as("GET", path, "application/json", protobuf, String::new()).await;
        assert!(answer.body.as_str().is_some_and(|text| text.starts_with("k8s\0")), "{path}: {answer:?}");
    }
    assert_eq!(subject.send("POST", "/api", Value::Null).await.code, 405);
}

async fn what_a_client_has_is_not_sent_again(subject: &Subject) {
    let first = subject.ask("/apis", &[("accept", AGGREGATED)]).await;
    let tag = first.headers["etag"].to_str().unwrap();
    let again = subject.ask("/apis", &[("accept", AGGREGATED), ("if-none-match", tag)]).await;
    assert_eq!((first.code, again.code, again.body), (200, 304, Value::String(String::new())));
}

async fn health(subject: &Subject) {
    for path in ["/livez", "/readyz", "/healthz"] {
        let answer = subject.send("GET", path, Value::Null).await;
        assert_eq!((answer.code, answer.body.as_str()), (200, Some("ok")), "{path}");
    }
    let cases = [
        ("/livez/ping", 200, "ok"),
        ("/readyz/informer-sync", 200, "ok"),
        ("/livez/informer-sync", 404, "404 page not found\n"),
        ("/livez?verbose&exclude=etcd", 200, "[+]ping ok\n[+]etcd excluded: ok\nlivez check passed\n"),
    ];
    for (path, code, text) in cases {
        let answer = subject.send("GET", path, Value::Null).await;
        assert_eq!((answer.code, answer.body.as_str()), (code, Some(text)), "{path}");
    }
    assert_eq!(subject.send("GET", "/version", Value::Null).await.body["minor"], "36");
    let unknown = subject.send("GET", "/nothing", Value::Null).await;
    assert_eq!((unknown.code, unknown.body.as_str()), (404, Some("404 page not found\n")));
}
