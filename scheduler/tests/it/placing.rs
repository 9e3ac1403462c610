//! Pods get nodes, wait for them, and say why.

use std::time::Duration;

use client::k8s_openapi::api::core::v1::{Event, Node, Pod};
use client::kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use client::kube::{Api, Client};
use scheduler::Settings;
use serde_json::json;

/// How long a condition may take to come true before the test fails; far longer than it takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

async fn add_node(client: &Client, name: &str) {
    let nodes: Api<Node> = Api::all(client.clone());
    let node = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    nodes.create(&PostParams::default(), &node).await.expect("a node");
    let status = json!({"status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "10"}}});
    nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.expect("a status");
    // The API server marks a new node as not ready; a node controller would take the mark away.
    let untainted = json!({"spec": {"taints": null}});
    nodes.patch(name, &PatchParams::default(), &Patch::Merge(untainted)).await.expect("no taints");
}

async fn add_pod(pods: &Api<Pod>, name: &str) {
    let spec =
        json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "600m"}}}]});
    let pod = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap();
    pods.create(&PostParams::default(), &pod).await.expect("a pod");
}

/// Waits until a pod is as wished.
async fn until(pods: &Api<Pod>, name: &str, what: &str, is_so: impl Fn(&Pod) -> bool) {
    let looking = async {
        loop {
            if pods.get_opt(name).await.expect("an answer").is_some_and(|pod| is_so(&pod)) {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(PATIENCE, looking).await.is_err() {
        panic!("in vain awaited: {name} {what}; it is {:?}", pods.get_opt(name).await);
    }
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

fn refusal(pod: &Pod) -> Option<&str> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions.iter().find(|condition| condition.type_ == "PodScheduled")?;
    (condition.status == "False" && condition.reason.as_deref() == Some("Unschedulable"))
        .then_some(condition.message.as_deref()?)
}

#[tokio::test]
async fn pods_wait_until_there_is_room() {
    let api = testkit::start().await;
    let client = api.client();
    let (settings, _, _) = daemon::flag::parse::<Settings>(&["--kubeconfig=unused".to_owned()]).unwrap();
    api.context.spawn("scheduler", scheduler::run_with(settings, api.context.clone(), api.client()));
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");

    add_pod(&pods, "a").await;
    until(&pods, "a", "has no node to go to", |pod| {
        refusal(pod) == Some("no nodes available to schedule pods")
    })
    .await;
    add_node(&client, "n1").await;
    until(&pods, "a", "goes to the new node", |pod| node_of(pod) == Some("n1")).await;

    add_pod(&pods, "b").await;
    let full = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: \
                1 No preemption victims found for incoming pod.";
    until(&pods, "b", "finds the node full", |pod| refusal(pod) == Some(full)).await;
    let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    pods.delete("a", &at_once).await.expect("it can be deleted");
    until(&pods, "b", "takes the place of the other", |pod| node_of(pod) == Some("n1")).await;

    let events: Api<Event> = Api::namespaced(client, "default");
    let told = async {
        loop {
            let list = events.list(&ListParams::default()).await.expect("events").items;
            let wanted = "Successfully assigned default/b to n1";
            if list.iter().any(|event| event.message.as_deref() == Some(wanted)) {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("an event tells of it");
}
