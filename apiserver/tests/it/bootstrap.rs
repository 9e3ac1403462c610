//! What a fresh server has made by itself.

use std::sync::Arc;
use std::time::Duration;

use apiserver::config::Settings;
use client::k8s_openapi::api::core::v1::Service;
use client::kube::Api;
use serde_json::{Value, json};
use testkit::Cluster;

use crate::subject::Subject;

/// A start takes milliseconds; one that hangs shall fail.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_way_to_the_api() {
    let mut settings = Settings::for_tests();
    settings.advertise_address = Some("10.9.8.7".parse().unwrap());
    let subject = Subject::start_with(settings).await;
    let port = subject.cluster.address.port();
    let cases = [
        ("/api/v1/namespaces/default/services/kubernetes", "/spec/clusterIP", json!("10.43.0.1")),
        ("/api/v1/namespaces/default/services/kubernetes", "/spec/ports/0/targetPort", json!(port)),
        ("/api/v1/namespaces/default/endpoints/kubernetes", "/subsets/0/addresses/0/ip", json!("10.9.8.7")),
        (
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes",
            "/endpoints/0/addresses/0",
            json!("10.9.8.7"),
        ),
        ("/apis/networking.k8s.io/v1/servicecidrs/kubernetes", "/status/conditions/0/status", json!("True")),
        ("/apis/networking.k8s.io/v1/ipaddresses/10.43.0.1", "/spec/parentRef/name", json!("kubernetes")),
        ("/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical", "/value", json!(2_000_001_000)),
        (
            "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication",
            "/metadata/name",
            json!("extension-apiserver-authentication"),
        ),
    ];
    for (path, pointer, expected) in cases {
        let answer = subject.send("GET", path, Value::Null).await;
        assert_eq!(answer.body.pointer(pointer), Some(&expected), "{path}: {:?}", answer.body);
    }
    let taken =
        json!({"metadata": {"name": "a"}, "spec": {"clusterIP": "10.43.0.1", "ports": [{"port": 1}]}});
    let refused = subject.send("POST", "/api/v1/namespaces/default/services", taken).await;
    assert_eq!(refused.code, 422, "{:?}", refused.body);
}

#[tokio::test]
async fn a_second_start_finds_what_the_first_has_made() {
    let store: Arc<dyn store::Store> = Arc::new(store::memory::Memory::new());
    let mut settings = Settings::for_tests();
    settings.advertise_address = Some("10.9.8.7".parse().unwrap());
    let first = testkit::start_with(settings.clone(), Arc::clone(&store)).await;
    let services = |cluster: &Cluster| Api::<Service>::namespaced(cluster.client(), "default");
    let before = services(&first).get("kubernetes").await.unwrap();
    first.trigger.start();
    let second = testkit::start_with(settings, store);
    let second = tokio::time::timeout(PATIENCE, second).await.expect("ready again");
    let after = services(&second).get("kubernetes").await.unwrap();
    assert_eq!(after.metadata.uid, before.metadata.uid);
    assert_eq!(after.spec.unwrap().cluster_ip, before.spec.unwrap().cluster_ip);
}

#[tokio::test]
async fn a_second_start_changes_nothing() {
    let mut settings = Settings::for_tests();
    settings.advertise_address = Some("10.9.8.7".parse().unwrap());
    let store = Arc::new(store::memory::Memory::new());
    let mut revisions = Vec::new();
    for _ in 0..2 {
        let cluster = testkit::start_with(settings.clone(), store.clone()).await;
        revisions.push(cluster.server.fresh().await.unwrap());
        cluster.trigger.start();
    }
    // The port is another one, which the endpoints and their slice tell.
    assert_eq!(revisions[1], revisions[0] + 2);
}
