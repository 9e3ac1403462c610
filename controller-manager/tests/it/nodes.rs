//! Nodes get pod ranges, fall silent, are tainted and lose their pods.

use client::k8s_openapi::api::core::v1::{Node, Pod};
use client::kube::api::DeleteParams;
use serde_json::json;

use crate::cluster::{self, Cluster, template};

async fn node(cluster: &Cluster, name: &str) -> Node {
    cluster.all::<Node>().get(name).await.unwrap()
}

#[tokio::test]
async fn every_node_gets_a_range_of_its_own() {
    let cluster = cluster::start("node-ipam", &["--cluster-cidr=10.42.0.0/16"]).await;
    cluster.node("n1").await;
    cluster.node("n2").await;
    let range = |name: &'static str| {
        let cluster = &cluster;
        async move { node(cluster, name).await.spec.and_then(|spec| spec.pod_cidr) }
    };
    cluster.until("ranges", || async { range("n1").await.is_some() && range("n2").await.is_some() }).await;
    let mut ranges = [range("n1").await.unwrap(), range("n2").await.unwrap()];
    ranges.sort();
    assert_eq!(ranges, ["10.42.0.0/24", "10.42.1.0/24"]);
}

#[tokio::test]
async fn a_silent_node_loses_its_pods_and_a_gone_one_too() {
    let flags = ["--node-monitor-grace-period=1s", "--node-startup-grace-period=1s"];
    let cluster = cluster::start("node-lifecycle,taint-eviction", &flags).await;
    cluster.node("alive").await;
    cluster.node("silent").await;
    for (name, patience) in [("brief", json!(0)), ("lasting", json!(null))] {
        let mut pod = template("p", "one");
        pod["metadata"]["name"] = json!(name);
        pod["spec"]["nodeName"] = json!("silent");
        pod["spec"]["tolerations"] = json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists",
            "effect": "NoExecute", "tolerationSeconds": patience}]);
        let made: Pod = cluster.make(pod).await;
        cluster.report(&made, "Running", 1).await;
    }
    cluster
        .until("the node is unreachable", || async {
            cluster.heartbeat("alive").await;
            let node = node(&cluster, "silent").await;
            let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
            let has = |effect: &str| {
                taints.iter().any(|t| t.key == "node.kubernetes.io/unreachable" && t.effect == effect)
            };
            has("NoSchedule") && has("NoExecute")
        })
        .await;
    cluster
        .until("the pod that does not tolerate it leaves", || async {
            cluster.heartbeat("alive").await;
            let brief = cluster.of::<Pod>().get_opt("brief").await.unwrap();
            brief.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some())
        })
        .await;
    let lasting = cluster.of::<Pod>().get("lasting").await.unwrap();
    assert!(lasting.metadata.deletion_timestamp.is_none());
    let unready = || async {
        let pod = cluster.of::<Pod>().get("lasting").await.unwrap();
        let conditions = pod.status.and_then(|status| status.conditions).unwrap_or_default();
        conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "False")
    };
    cluster.until("the other is out of service", unready).await;
    cluster
        .until("a word from the node clears it", || async {
            cluster.heartbeat("alive").await;
            cluster.heartbeat("silent").await;
            let node = node(&cluster, "silent").await;
            node.spec.and_then(|spec| spec.taints).unwrap_or_default().is_empty()
        })
        .await;
}

#[tokio::test]
async fn an_unscheduled_pod_that_is_deleted_goes() {
    let cluster = cluster::start("pod-garbage-collector", &[]).await;
    let mut pod = template("p", "one");
    pod["metadata"]["name"] = json!("p");
    pod["metadata"]["finalizers"] = json!(["example.com/hold"]);
    cluster.make::<Pod>(pod).await;
    cluster.of::<Pod>().delete("p", &DeleteParams::default()).await.unwrap();
    cluster.patch::<Pod>("p", json!({"metadata": {"finalizers": null}})).await;
    cluster.until("it goes", || async { cluster.pods().await.is_empty() }).await;
}
