//! Services get EndpointSlices and Endpoints; namespaces get what pods need.

use client::k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Pod, Service, ServiceAccount};
use client::k8s_openapi::api::discovery::v1::EndpointSlice;
use client::kube::api::DeleteParams;
use serde_json::json;

use crate::cluster::{self, Cluster, template};

async fn slices(cluster: &Cluster) -> Vec<EndpointSlice> {
    let named = client::kube::api::ListParams::default().labels("kubernetes.io/service-name=web");
    cluster.of::<EndpointSlice>().list(&named).await.unwrap().items
}

/// The number of ready and of other endpoints in slices, and of the same in Endpoints.
async fn counts(cluster: &Cluster) -> [usize; 4] {
    let slices = slices(cluster).await;
    let all = slices.iter().flat_map(|slice| slice.endpoints.iter().flatten());
    let is_ready = |ready: Option<bool>| ready == Some(true);
    let (ready, not): (Vec<_>, Vec<_>) =
        all.partition(|endpoint| is_ready(endpoint.conditions.as_ref().and_then(|c| c.ready)));
    let endpoints = cluster.of::<Endpoints>().get_opt("web").await.unwrap();
    let subsets = endpoints.and_then(|endpoints| endpoints.subsets).unwrap_or_default();
    let count = |list: &Option<Vec<_>>| list.as_ref().map_or(0, Vec::len);
    [
        ready.len(),
        not.len(),
        subsets.iter().map(|subset| count(&subset.addresses)).sum(),
        subsets.iter().map(|subset| count(&subset.not_ready_addresses)).sum(),
    ]
}

#[tokio::test]
async fn endpoints_follow_pods() {
    let cluster = cluster::start("endpointslice,endpoints,garbage-collector", &[]).await;
    let service = json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"},
        "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}});
    cluster.make::<Service>(service).await;
    cluster.until("a slice that says there is nothing", || async { slices(&cluster).await.len() == 1 }).await;
    for name in ["a", "b"] {
        let mut pod = template("web", "one");
        pod["metadata"]["name"] = json!(name);
        cluster.make::<Pod>(pod).await;
    }
    cluster.tend().await;
    cluster.until("two endpoints", || async { counts(&cluster).await == [2, 0, 2, 0] }).await;
    let all = slices(&cluster).await;
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].ports.as_ref().unwrap()[0].port, Some(8080));
    let pod: Pod = cluster.of().get("a").await.unwrap();
    let unready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    let patch = client::kube::api::Patch::Merge(unready);
    cluster.of::<Pod>().patch_status("a", &Default::default(), &patch).await.unwrap();
    cluster.until("one endpoint", || async { counts(&cluster).await == [1, 1, 1, 1] }).await;
    drop(pod);
    cluster
        .of::<Pod>()
        .delete("a", &DeleteParams { grace_period_seconds: Some(0), ..Default::default() })
        .await
        .unwrap();
    cluster.until("the other gone", || async { counts(&cluster).await == [1, 0, 1, 0] }).await;
    cluster.of::<Service>().delete("web", &DeleteParams::default()).await.unwrap();
    cluster
        .until("nothing left", || async {
            slices(&cluster).await.is_empty()
                && cluster.of::<Endpoints>().get_opt("web").await.unwrap().is_none()
        })
        .await;
}

#[tokio::test]
async fn namespaces_get_what_pods_need() {
    let path = std::env::temp_dir().join(format!("isopod-root-ca-{}.crt", std::process::id()));
    std::fs::write(&path, "the authority").unwrap();
    let flag = format!("--root-ca-file={}", path.display());
    let cluster = cluster::start("serviceaccount,root-ca-certificate-publisher", &[&flag]).await;
    let has = || async {
        let map = cluster.of::<ConfigMap>().get_opt("kube-root-ca.crt").await.unwrap();
        let right = map.and_then(|map| map.data).is_some_and(|data| data["ca.crt"] == "the authority");
        right && cluster.of::<ServiceAccount>().get_opt("default").await.unwrap().is_some()
    };
    cluster.until("both", has).await;
    cluster.of::<ServiceAccount>().delete("default", &DeleteParams::default()).await.unwrap();
    cluster.patch::<ConfigMap>("kube-root-ca.crt", json!({"data": {"ca.crt": "forged"}})).await;
    cluster.until("both again", has).await;
    std::fs::remove_file(path).unwrap();
}
