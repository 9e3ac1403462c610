//! Deployments, ReplicaSets, DaemonSets and Jobs from the first pod to the last.

use client::k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet};
use client::k8s_openapi::api::batch::v1::Job;
use client::k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::cluster::{self, Cluster, template};

const CONTROLLERS: &str = "deployment,replicaset,garbage-collector";

async fn condition(cluster: &Cluster, name: &str, kind: &str) -> Option<(String, String)> {
    let deployment: Deployment = cluster.of().get(name).await.unwrap();
    let conditions = deployment.status?.conditions?;
    let found = conditions.into_iter().find(|condition| condition.type_ == kind)?;
    Some((found.status, found.reason.unwrap_or_default()))
}

async fn is_rolled_out(cluster: &Cluster, name: &str, image: &str, count: usize) -> bool {
    let progressing = condition(cluster, name, "Progressing").await;
    let deployment: Deployment = cluster.of().get(name).await.unwrap();
    let observed =
        deployment.status.and_then(|status| status.observed_generation) == deployment.metadata.generation;
    let pods = cluster.pods().await;
    let fits = |pod: &Pod| pod.spec.as_ref().unwrap().containers[0].image.as_deref() == Some(image);
    observed
        && progressing.is_some_and(|(_, reason)| reason == "NewReplicaSetAvailable")
        && pods.len() == count
        && pods.iter().all(fits)
}

async fn deploy(cluster: &Cluster, count: i32) {
    let spec = json!({"metadata": {"name": "web", "annotations": {"kubernetes.io/change-cause": "first"}},
        "spec": {"replicas": count, "progressDeadlineSeconds": 600, "selector": {"matchLabels": {"app": "web"}}, "template": template("web", "one")}});
    cluster.make::<Deployment>(spec).await;
}

#[tokio::test]
async fn a_deployment_rolls_out_forth_and_back_and_goes() {
    let cluster = cluster::start(CONTROLLERS, &[]).await;
    deploy(&cluster, 3).await;
    cluster.tend_until("the first rollout", || is_rolled_out(&cluster, "web", "one", 3)).await;
    let sets = cluster.of::<ReplicaSet>().list(&Default::default()).await.unwrap().items;
    assert_eq!(sets.len(), 1);
    let annotations = sets[0].metadata.annotations.clone().unwrap();
    for (name, value) in [
        ("deployment.kubernetes.io/revision", "1"),
        ("deployment.kubernetes.io/desired-replicas", "3"),
        ("deployment.kubernetes.io/max-replicas", "4"),
        ("kubernetes.io/change-cause", "first"),
    ] {
        assert_eq!(annotations.get(name).map(String::as_str), Some(value), "{name}");
    }
    let set = sets[0].metadata.name.clone().unwrap();
    let hash = set.strip_prefix("web-").unwrap();
    let pods = cluster.pods().await;
    assert!(pods.iter().all(|pod| pod.metadata.labels.as_ref().unwrap()["pod-template-hash"] == hash));
    let scaled = format!("ScalingReplicaSet: Scaled up replica set {set} from 0 to 3");
    cluster.until("the event", || async { cluster.events("web").await.contains(&scaled) }).await;
    cluster.patch::<Deployment>("web", json!({"spec": {"template": template("web", "two")}})).await;
    cluster.tend_until("the second rollout", || is_rolled_out(&cluster, "web", "two", 3)).await;
    cluster.patch::<Deployment>("web", json!({"spec": {"template": template("web", "one")}})).await;
    cluster.tend_until("the way back", || is_rolled_out(&cluster, "web", "one", 3)).await;
    let deployment: Deployment = cluster.of().get("web").await.unwrap();
    assert_eq!(deployment.metadata.annotations.unwrap()["deployment.kubernetes.io/revision"], "3");
    assert_eq!(cluster.of::<ReplicaSet>().list(&Default::default()).await.unwrap().items.len(), 2);
    let foreground = client::kube::api::DeleteParams::foreground();
    cluster.of::<Deployment>().delete("web", &foreground).await.unwrap();
    cluster
        .tend_until("the end of all", || async {
            let sets = cluster.of::<ReplicaSet>().list(&Default::default()).await.unwrap().items;
            let gone = cluster.of::<Deployment>().get_opt("web").await.unwrap().is_none();
            gone && sets.is_empty() && cluster.pods().await.is_empty()
        })
        .await;
}

#[tokio::test]
async fn scaling_and_settling() {
    let cluster = cluster::start(CONTROLLERS, &[]).await;
    deploy(&cluster, 1).await;
    cluster.tend_until("one pod", || is_rolled_out(&cluster, "web", "one", 1)).await;
    cluster.patch::<Deployment>("web", json!({"spec": {"replicas": 4}})).await;
    cluster.tend_until("four pods", || is_rolled_out(&cluster, "web", "one", 4)).await;
    cluster.patch::<Deployment>("web", json!({"spec": {"replicas": 2}})).await;
    cluster.tend_until("two pods", || is_rolled_out(&cluster, "web", "one", 2)).await;
    // A further look at a cluster that is as it should be writes nothing.
    let before = (cluster.versions::<Deployment>().await, cluster.versions::<ReplicaSet>().await);
    let second = template("other", "one");
    let other = json!({"metadata": {"name": "other"}, "spec": {"replicas": 1,
        "selector": {"matchLabels": {"app": "other"}}, "template": second}});
    cluster.make::<ReplicaSet>(other).await;
    cluster.tend_until("three pods", || async { cluster.pods().await.len() == 3 }).await;
    let after = (cluster.versions::<Deployment>().await, cluster.versions::<ReplicaSet>().await);
    assert_eq!(before.0, after.0);
    assert!(before.1.iter().all(|set| after.1.contains(set)));
}

#[tokio::test]
async fn a_set_adopts_releases_and_replaces() {
    let cluster = cluster::start(CONTROLLERS, &[]).await;
    let mut orphan = template("rs", "one");
    orphan["metadata"]["name"] = json!("orphan");
    cluster.make::<Pod>(orphan).await;
    let set = json!({"metadata": {"name": "rs"}, "spec": {"replicas": 2,
        "selector": {"matchLabels": {"app": "rs"}}, "template": template("rs", "one")}});
    cluster.make::<ReplicaSet>(set).await;
    let owned = |pods: &[Pod]| pods.iter().filter(|pod| pod.metadata.owner_references.is_some()).count();
    cluster.tend_until("adoption", || async { owned(&cluster.pods().await) == 2 }).await;
    assert_eq!(cluster.pods().await.len(), 2);
    cluster.patch::<Pod>("orphan", json!({"metadata": {"labels": {"app": "free"}}})).await;
    cluster
        .tend_until("release and replacement", || async {
            let pods = cluster.pods().await;
            pods.len() == 3 && owned(&pods) == 2
        })
        .await;
    cluster
        .tend_until("the status", || async {
            let status = cluster.of::<ReplicaSet>().get("rs").await.unwrap().status.unwrap_or_default();
            status.ready_replicas == Some(2) && status.available_replicas == Some(2) && status.replicas == 2
        })
        .await;
}

#[tokio::test]
async fn a_daemon_set_follows_nodes_and_templates() {
    let cluster = cluster::start("daemonset,garbage-collector", &[]).await;
    cluster.node("n1").await;
    cluster.node("n2").await;
    let set = json!({"metadata": {"name": "ds"}, "spec": {"selector": {"matchLabels": {"app": "ds"}},
        "template": template("ds", "one")}});
    cluster.make::<DaemonSet>(set).await;
    let images = |pods: &[Pod]| -> Vec<String> {
        pods.iter().map(|pod| pod.spec.as_ref().unwrap().containers[0].image.clone().unwrap()).collect()
    };
    cluster.tend_until("a pod on each node", || async { cluster.pods().await.len() == 2 }).await;
    cluster.node("n3").await;
    cluster.tend_until("a pod on the new node", || async { cluster.pods().await.len() == 3 }).await;
    cluster.patch::<DaemonSet>("ds", json!({"spec": {"template": template("ds", "two")}})).await;
    cluster
        .tend_until("the rollout", || async { images(&cluster.pods().await) == ["two", "two", "two"] })
        .await;
    cluster
        .tend_until("the status", || async {
            let status = cluster.of::<DaemonSet>().get("ds").await.unwrap().status.unwrap_or_default();
            status.number_available == Some(3) && status.updated_number_scheduled == Some(3)
        })
        .await;
    let revisions = cluster.of::<ControllerRevision>().list(&Default::default()).await.unwrap().items;
    let mut numbers: Vec<_> = revisions.iter().map(|revision| revision.revision).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2]);
}

#[tokio::test]
async fn a_job_runs_to_completion_and_is_removed() {
    let cluster = cluster::start("job,ttl-after-finished,garbage-collector", &[]).await;
    let mut pod = template("job", "one");
    pod["spec"]["restartPolicy"] = json!("Never");
    let job = json!({"metadata": {"name": "j"}, "spec": {"completions": 3, "parallelism": 2, "template": pod,
        "manualSelector": true, "selector": {"matchLabels": {"app": "job"}}}});
    cluster.make::<Job>(job).await;
    cluster
        .until("the end of the job", || async {
            for (number, pod) in cluster.pods().await.iter().enumerate() {
                if pod.status.as_ref().and_then(|status| status.phase.as_deref()) != Some("Succeeded") {
                    cluster.report(pod, "Succeeded", number + 1).await;
                }
            }
            let status = cluster.of::<Job>().get("j").await.unwrap().status.unwrap_or_default();
            status.completion_time.is_some() && status.succeeded == Some(3)
        })
        .await;
    let pods = cluster.pods().await;
    assert_eq!(pods.len(), 3);
    assert!(pods.iter().all(|pod| pod.metadata.finalizers.is_none()), "nothing holds them");
    cluster.patch::<Job>("j", json!({"spec": {"ttlSecondsAfterFinished": 0}})).await;
    cluster
        .tend_until("nothing is left", || async {
            cluster.of::<Job>().get_opt("j").await.unwrap().is_none() && cluster.pods().await.is_empty()
        })
        .await;
}
