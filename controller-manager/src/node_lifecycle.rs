//! The health of nodes: who is silent is unreachable, and what is unwell is tainted.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;
use client::event::{Recorder, Severity};
use client::k8s_openapi::api::coordination::v1::Lease;
use client::k8s_openapi::api::core::v1::{Node, Pod};
use client::kube::api::{Patch, PatchParams};
use client::kube::{Api, Client};
use client::object::found;
use client::{Cache, Change, Key, Next, Queue};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;

use crate::config::NodeHealth;
use crate::pod;
use crate::scene::{Scene, now, wake_self};
use crate::table::Reconciler;

mod plan;

/// The namespace in which each node renews a lease of its own name.
const LEASES: &str = "kube-node-lease";

/// The index of pods by their node.
const BY_NODE: &str = "node";

struct State {
    client: Client,
    recorder: Recorder,
    nodes: Cache<Node>,
    pods: Cache<Pod>,
    health: NodeHealth,
    /// When each node was last heard of, by this machine's clock: nodes' clocks may differ.
    heard: Arc<Mutex<HashMap<String, Instant>>>,
}

/// The pods on a node.
pub(crate) fn index_by_node(pods: &Cache<Pod>) {
    pods.index(BY_NODE, |pod| pod.spec.iter().filter_map(|spec| spec.node_name.clone()).collect());
}

/// The pods that [`index_by_node`] files under a node.
pub(crate) fn on_node(pods: &Cache<Pod>, node: &str) -> Vec<Arc<Pod>> {
    pods.by(BY_NODE, node)
}

pub(crate) fn build(scene: &Scene) -> anyhow::Result<Option<Reconciler>> {
    let (nodes, pods) = (scene.caches.of::<Node>(), scene.caches.of::<Pod>());
    index_by_node(&pods);
    let heard: Arc<Mutex<HashMap<String, Instant>>> = Arc::default();
    let noted = Arc::clone(&heard);
    // A renewal only moves the time: the node's own timer looks at it when it fires.
    scene.caches.of::<Lease>().subscribe(move |change| {
        let meta = &change.object().metadata;
        if meta.namespace.as_deref() == Some(LEASES) && !matches!(change, Change::Removed(_)) {
            noted.lock().insert(meta.name.clone().unwrap_or_default(), Instant::now());
        }
    });
    let queue = Queue::default();
    let (noted, woken, all) = (Arc::clone(&heard), queue.clone(), Arc::new(Mutex::new(HashMap::new())));
    nodes.subscribe(move |change| {
        let node = change.object();
        let name = node.metadata.name.clone().unwrap_or_default();
        let mut all = all.lock();
        let was = match &change {
            Change::Removed(_) => {
                noted.lock().remove(&name);
                all.remove(&name)
            }
            Change::Added(_) => {
                noted.lock().insert(name.clone(), Instant::now());
                all.insert(name, plan::said(node, "Ready") == "True")
            }
            Change::Changed { old, new } => {
                if heartbeat(old) != heartbeat(new) {
                    noted.lock().insert(name.clone(), Instant::now());
                }
                all.insert(name, plan::said(new, "Ready") == "True")
            }
        };
        // Whether the first or last ready node came or went concerns every node.
        if was != Some(plan::said(node, "Ready") == "True") {
            for name in all.keys() {
                woken.add(Key::cluster(name));
            }
        }
    });
    wake_self(&nodes, &queue);
    let state = State {
        client: scene.client.clone(),
        recorder: scene.recorder("node-controller"),
        nodes,
        pods,
        health: scene.settings.node_health,
        heard,
    };
    Ok(Some(Reconciler::new(queue, state, |state, key| async move { state.reconcile(&key).await })))
}

fn heartbeat(node: &Node) -> Option<jiff::Timestamp> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let ready =
        conditions.iter().find(|condition| condition.type_ == "Ready" && condition.status != "Unknown")?;
    ready.last_heartbeat_time.as_ref().map(|time| time.0)
}

impl State {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(node) = self.nodes.get(key) else { return Ok(Next::Wait) };
        let mut node = Node::clone(&node);
        let silent = self.heard.lock().get(&*key.name).map(Instant::elapsed).unwrap_or_default();
        let left = plan::patience(&node, silent, self.health.grace, self.health.startup_grace);
        let api: Api<Node> = Api::all(self.client.clone());
        if left.is_none()
            && let Some(conditions) = plan::silenced(&node, now())
        {
            // Only the conditions: of the rest of the status, the cache keeps what controllers read.
            let patch = json!({"metadata": {"resourceVersion": node.metadata.resource_version},
                "status": {"conditions": conditions}});
            let patched = api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await;
            let written = found(patched);
            match written.context("could not mark a silent node as unknown")? {
                Some(written) => node = written,
                None => return Ok(Next::Wait),
            }
        }
        let evict = plan::any_ready(&self.nodes.list());
        if let Some(taints) = plan::taints(&node, evict, now()) {
            let patch = json!({"metadata": {"resourceVersion": node.metadata.resource_version},
                "spec": {"taints": taints}});
            let patched = found(api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await);
            patched.context("could not taint the node")?;
        }
        if plan::said(&node, "Ready") != "True" && evict {
            self.mark_pods(&node).await?;
        }
        // A node that is known to be silent is woken by what it says next.
        Ok(left.map_or(Next::Wait, Next::After))
    }

    /// Takes the pods of a node that is not ready out of service.
    async fn mark_pods(&self, node: &Node) -> anyhow::Result<()> {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let mut marked = false;
        for pod in on_node(&self.pods, name) {
            if !pod::is_ready(&pod) {
                continue;
            }
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
            let patch = json!({"metadata": {"uid": pod.metadata.uid},
                "status": {"conditions": [{"type": "Ready", "status": "False",
                    "lastTransitionTime": client::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now())}]}});
            let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
            let patched = api.patch_status(pod_name, &PatchParams::default(), &Patch::Strategic(patch)).await;
            found(patched).context("could not mark a pod of a dead node as not ready")?;
            self.recorder.about(&*pod, Severity::Warning, "NodeNotReady", "Node is not ready");
            marked = true;
        }
        if marked {
            let text = format!("Node {name} status is now: NodeNotReady");
            self.recorder.about(node, Severity::Normal, "NodeNotReady", text);
        }
        Ok(())
    }
}
