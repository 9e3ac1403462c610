//! Evicts pods from nodes whose taints they do not tolerate, or no longer.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context as _;
use client::event::{Recorder, Severity};
use client::k8s_openapi::api::core::v1::{Node, Pod, Taint};
use client::kube::api::{DeleteParams, Preconditions};
use client::kube::{Api, Client};
use client::object::found;
use client::{Cache, Change, Key, Next, Queue};
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::node_lifecycle::{index_by_node, on_node};
use crate::pod_gc::disrupt;
use crate::scene::{Scene, now, wake_self};
use crate::table::Reconciler;

mod plan;

use plan::Stay;

struct State {
    client: Client,
    recorder: Recorder,
    nodes: Cache<Node>,
    pods: Cache<Pod>,
    /// Since when each pod that must leave is known to.
    seen: Mutex<HashMap<Key, Timestamp>>,
}

pub(crate) fn build(scene: &Scene) -> anyhow::Result<Option<Reconciler>> {
    let (nodes, pods) = (scene.caches.of::<Node>(), scene.caches.of::<Pod>());
    index_by_node(&pods);
    let queue = Queue::default();
    wake_self(&pods, &queue);
    let (woken, concerned) = (queue.clone(), pods.clone());
    nodes.subscribe(move |change| {
        let same = matches!(&change, Change::Changed { old, new } if taints(old) == taints(new));
        if !same {
            for pod in on_node(&concerned, change.object().metadata.name.as_deref().unwrap_or_default()) {
                woken.add(Key::of(&*pod));
            }
        }
    });
    let recorder = scene.recorder("taint-eviction-controller");
    let state = State { client: scene.client.clone(), recorder, nodes, pods, seen: Mutex::default() };
    Ok(Some(Reconciler::new(queue, state, |state, key| async move { state.reconcile(&key).await })))
}

fn taints(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

impl State {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(pod) = self.pods.get(key) else {
            self.seen.lock().remove(key);
            return Ok(Next::Wait);
        };
        let name = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        let node = name.and_then(|name| self.nodes.get(&Key::cluster(name)));
        let Some(node) = node.filter(|_| plan::concerns(&pod)) else {
            self.seen.lock().remove(key);
            return Ok(Next::Wait);
        };
        let known = self.seen.lock().get(key).copied();
        let seen = known.unwrap_or_else(now);
        let until = match plan::stay(&pod, taints(&node), seen) {
            Stay::Forever => {
                if self.seen.lock().remove(key).is_some() {
                    let text = format!("Cancelling deletion of Pod {key}");
                    self.recorder.about(&*pod, Severity::Normal, "TaintManagerEviction", text);
                }
                return Ok(Next::Wait);
            }
            Stay::Until(until) => until,
        };
        self.seen.lock().insert(key.clone(), seen);
        if let Ok(left) = Duration::try_from(until.duration_since(now()))
            && !left.is_zero()
        {
            return Ok(Next::After(left));
        }
        let text = format!("Marking for deletion Pod {key}");
        self.recorder.about(&*pod, Severity::Normal, "TaintManagerEviction", text);
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        let why = "Taint manager: deleting due to NoExecute taint";
        disrupt(&api, &pod, "DeletionByTaintManager", why, false).await?;
        let only_this = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams { preconditions: Some(only_this), ..DeleteParams::default() };
        found(api.delete(&key.name, &params).await).map(|_| Next::Wait).context("could not evict the pod")
    }
}
