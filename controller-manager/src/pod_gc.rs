//! Removes pods that no kubelet will end: on nodes that are gone, never scheduled, or finished and too many.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use client::k8s_openapi::api::core::v1::{Node, Pod};
use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use client::kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use client::kube::{Api, Client};
use client::object::found;
use client::{Cache, Change, Key, Next, Queue};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;

use crate::node_lifecycle::{index_by_node, on_node};
use crate::pod;
use crate::scene::{Scene, now, wake_self};
use crate::table::Reconciler;

mod plan;

use plan::Verdict;

/// How long a node must be unknown before its pods are removed: it may only be registering again (upstream's
/// figure).
const QUARANTINE: Duration = Duration::from_secs(40);

struct State {
    client: Client,
    nodes: Cache<Node>,
    pods: Cache<Pod>,
    kept: usize,
    /// Since when nodes that pods name are unknown.
    missing: Arc<Mutex<HashMap<String, Instant>>>,
}

pub(crate) fn build(scene: &Scene) -> anyhow::Result<Option<Reconciler>> {
    let (nodes, pods) = (scene.caches.of::<Node>(), scene.caches.of::<Pod>());
    index_by_node(&pods);
    let queue = Queue::default();
    wake_self(&pods, &queue);
    let missing: Arc<Mutex<HashMap<String, Instant>>> = Arc::default();
    let (woken, concerned, noted) = (queue.clone(), pods.clone(), Arc::clone(&missing));
    nodes.subscribe(move |change| {
        let name = change.object().metadata.name.as_deref().unwrap_or_default();
        match change {
            Change::Added(_) => drop(noted.lock().remove(name)),
            Change::Removed(_) => {
                for pod in on_node(&concerned, name) {
                    woken.add(Key::of(&*pod));
                }
            }
            Change::Changed { .. } => {}
        }
    });
    let kept = scene.settings.terminated_pods;
    let state = State { client: scene.client.clone(), nodes, pods, kept, missing };
    Ok(Some(Reconciler::new(queue, state, |state, key| async move { state.reconcile(&key).await })))
}

impl State {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(pod) = self.pods.get(key) else { return Ok(Next::Wait) };
        match plan::judge(&pod, |name| self.nodes.get(&Key::cluster(name)).is_some()) {
            Verdict::Keep => {}
            Verdict::Unscheduled => self.remove(&pod, "PodGC: unscheduled and terminating").await?,
            Verdict::NodeGone => return self.remove_from_gone_node(&pod).await,
        }
        // Only where there are that many pods at all is it worth counting the finished ones.
        if self.kept > 0 && pod::is_finished(&pod) && self.pods.len() > self.kept {
            for pod in plan::surplus(&self.pods.list(), self.kept) {
                self.remove(&pod, "PodGC: too many finished pods").await?;
            }
        }
        Ok(Next::Wait)
    }

    async fn remove_from_gone_node(&self, pod: &Pod) -> anyhow::Result<Next> {
        let name = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        let since = *self.missing.lock().entry(name.clone()).or_insert_with(Instant::now);
        let left = QUARANTINE.saturating_sub(since.elapsed());
        if !left.is_zero() {
            return Ok(Next::After(left));
        }
        let nodes: Api<Node> = Api::all(self.client.clone());
        if found(nodes.get_metadata(&name).await).context("could not look for the node")?.is_some() {
            return Ok(Next::After(QUARANTINE));
        }
        self.remove(pod, "PodGC: node no longer exists").await?;
        Ok(Next::Wait)
    }

    async fn remove(&self, pod: &Pod, why: &str) -> anyhow::Result<()> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        if !pod::is_finished(pod) {
            disrupt(&api, pod, "DeletionByPodGC", why, true).await?;
        }
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: pod.metadata.uid.clone(), resource_version: None }),
            ..DeleteParams::default()
        };
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        found(api.delete(name, &params).await).map(drop).with_context(|| format!("could not remove: {why}"))
    }
}

/// Writes on a pod why it is about to be deleted; `fail`: also that it has ended.
pub(crate) async fn disrupt(
    api: &Api<Pod>,
    pod: &Pod,
    reason: &str,
    why: &str,
    fail: bool,
) -> anyhow::Result<()> {
    let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": reason, "message": why,
        "lastTransitionTime": Time(now())});
    let mut status = json!({"conditions": [condition]});
    if fail {
        status["phase"] = json!("Failed");
    }
    let patch = Patch::Strategic(json!({"metadata": {"uid": pod.metadata.uid}, "status": status}));
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    found(api.patch_status(name, &PatchParams::default(), &patch).await)
        .map(drop)
        .context("could not write on the pod why it is deleted")
}
