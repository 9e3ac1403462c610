//! Cuts each node's pod range out of the cluster's.

use std::sync::Arc;

use anyhow::Context as _;
use client::event::{Recorder, Severity};
use client::k8s_openapi::api::core::v1::Node;
use client::kube::api::{Patch, PatchParams};
use client::kube::{Api, Client};
use client::object::found;
use client::{Cache, Change, Key, Next, Queue};
use parking_lot::Mutex;

use crate::scene::{Scene, wake_self};
use crate::table::Reconciler;

mod plan;

use plan::Ranges;

struct State {
    client: Client,
    recorder: Recorder,
    nodes: Cache<Node>,
    ranges: Arc<Mutex<Ranges>>,
}

pub(crate) fn build(scene: &Scene) -> anyhow::Result<Option<Reconciler>> {
    let Some(settings) = scene.settings.pod_ranges.clone() else { return Ok(None) };
    let nodes = scene.caches.of::<Node>();
    let ranges = Arc::new(Mutex::new(Ranges::new(settings)));
    let queue = Queue::default();
    let noted = Arc::clone(&ranges);
    // Before the node is queued: what it has is taken before anybody else is given something.
    nodes.subscribe(move |change| match change {
        Change::Removed(node) => noted.lock().release(name(node)),
        Change::Added(node) | Change::Changed { new: node, .. } => {
            noted.lock().hold(name(node), &held(node));
        }
    });
    wake_self(&nodes, &queue);
    let recorder = scene.recorder("cidrAllocator");
    let state = State { client: scene.client.clone(), recorder, nodes, ranges };
    Ok(Some(Reconciler::new(queue, state, |state, key| async move { state.reconcile(&key).await })))
}

fn name(node: &Node) -> &str {
    node.metadata.name.as_deref().unwrap_or_default()
}

fn held(node: &Node) -> Vec<ipnet::IpNet> {
    let spec = node.spec.as_ref();
    let many = spec.and_then(|spec| spec.pod_cidrs.clone()).unwrap_or_default();
    let one = spec.and_then(|spec| spec.pod_cidr.clone());
    many.into_iter().chain(one).filter_map(|text| text.parse().ok()).collect()
}

impl State {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(node) = self.nodes.get(key) else { return Ok(Next::Wait) };
        if !held(&node).is_empty() || node.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Wait);
        }
        let Some(range) = self.ranges.lock().allot(name(&node)) else {
            let text = format!("Node {} status is now: CIDRNotAvailable", name(&node));
            self.recorder.about(&*node, Severity::Normal, "CIDRNotAvailable", text);
            anyhow::bail!("every pod range of --cluster-cidr is taken");
        };
        let range = range.to_string();
        let patch = serde_json::json!({"metadata": {"resourceVersion": node.metadata.resource_version},
            "spec": {"podCIDR": range, "podCIDRs": [range]}});
        let api: Api<Node> = Api::all(self.client.clone());
        let patched = found(api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await);
        // Whatever came of it, the range stays the node's: it is offered again, or the cache tells of another.
        patched.map(|_| Next::Wait).context("could not write the node's pod range")
    }
}
