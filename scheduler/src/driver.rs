//! Feeds the cycle from caches and does what it decides.
//!
//! Decisions are taken one after the other, their writes overlap: a pod whose binding is under way counts as
//! being on its node ([`State::assumed`]).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use anyhow::Context as _;
use client::event::{self, Recorder, Severity};
use client::k8s_openapi::api::core::v1::{Node, Pod, PodCondition};
use client::kube::api::{Patch, PatchParams, PostParams};
use client::kube::runtime::watcher;
use client::kube::{Api, Client};
use client::object::{found, status_code};
use client::{Cache, Change, Key, Next, Queue};
use daemon::Context;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::json;

use crate::config::Settings;
use crate::cycle::{self, Decision};
use crate::plugin::{Room, Wanted};

/// The source that events name, as upstream has it.
const COMPONENT: &str = "default-scheduler";

/// How many pods' writes may be under way at once: enough to hide the API server's latency.
const WORKERS: usize = 8;

/// The index of pods by the node they are on and still need.
const BY_NODE: &str = "node";

struct State {
    client: Client,
    recorder: Recorder,
    scheduler: String,
    nodes: Cache<Node>,
    pods: Cache<Pod>,
    queue: Queue<Key>,
    /// The pods whose binding is not yet seen in the cache, and their nodes.
    assumed: Mutex<HashMap<Key, (String, Arc<Pod>)>>,
    /// The pods that no node took.
    waiting: Mutex<BTreeSet<Key>>,
}

/// Starts scheduling; the gate opens once both caches hold whole lists.
pub(crate) fn start(settings: &Settings, context: &Context, client: Client) {
    let (recorder, writer) = event::recorder(client.clone(), COMPONENT, "");
    context.spawn("events", writer);
    let (nodes, pods) = (Cache::<Node>::default(), Cache::<Pod>::default());
    pods.trim(client::narrow::pod);
    nodes.trim(client::narrow::node);
    pods.index(BY_NODE, |pod| {
        node_of(pod).filter(|_| !is_finished(pod)).map(str::to_owned).into_iter().collect()
    });
    let state = Arc::new(State {
        client: client.clone(),
        recorder,
        scheduler: settings.name.clone(),
        nodes: nodes.clone(),
        pods: pods.clone(),
        queue: Queue::default(),
        assumed: Mutex::default(),
        waiting: Mutex::default(),
    });
    subscribe(&state);
    context.spawn("nodes", nodes.follow(Api::all(client.clone()), watcher::Config::default()));
    context.spawn("pods", pods.follow(Api::all(client), watcher::Config::default()));
    let gate = context.gate("caches");
    context.spawn("scheduler", async move {
        state.nodes.synced().await;
        state.pods.synced().await;
        gate.release();
        let queue = state.queue.clone();
        client::controller::run("scheduler", queue, WORKERS, |key| schedule(Arc::clone(&state), key)).await
    });
}

/// Queues pods that want a node, and those that waited in vain when a node may take them now.
fn subscribe(state: &Arc<State>) {
    // The state holds the caches and they their listeners: a listener that held the state would keep all alive.
    let woken = Arc::downgrade(state);
    state.nodes.subscribe(move |change| {
        let same = matches!(&change, Change::Changed { old, new } if offer(old) == offer(new));
        if let Some(state) = woken.upgrade().filter(|_| !same) {
            state.wake();
        }
    });
    let woken = Arc::downgrade(state);
    state.pods.subscribe(move |change| {
        if let Some(state) = woken.upgrade() {
            state.note(&change);
        }
    });
}

/// What of a node matters to pods that wait. Its heartbeats do not.
fn offer(node: &Node) -> impl PartialEq {
    let allocatable = node.status.as_ref().and_then(|status| status.allocatable.clone());
    (node.metadata.labels.clone(), node.spec.clone(), allocatable)
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

async fn schedule(state: Arc<State>, key: Key) -> anyhow::Result<Next> {
    let Some(pod) = state.pods.get(&key).filter(|pod| state.is_concerned(pod)) else {
        state.waiting.lock().remove(&key);
        return Ok(Next::Wait);
    };
    if state.assumed.lock().contains_key(&key) {
        return Ok(Next::Wait);
    }
    // Before the nodes are looked at, so that no change of theirs from here on goes by unnoticed.
    state.waiting.lock().insert(key.clone());
    let Some(wanted) = Wanted::new(&pod) else { return Ok(Next::Wait) };
    match cycle::decide(&wanted, &state.rooms()) {
        Decision::Bind(node) => {
            state.waiting.lock().remove(&key);
            state.assumed.lock().insert(key.clone(), (node.clone(), Arc::clone(&pod)));
            state.bind(&key, &pod, &node).await?;
        }
        Decision::Refuse(why) => state.refuse(&key, &pod, &why).await?,
    }
    Ok(Next::Wait)
}

impl State {
    /// Whether the pod is this scheduler's to place.
    fn is_concerned(&self, pod: &Pod) -> bool {
        let Some(spec) = &pod.spec else { return false };
        node_of(pod).is_none()
            && !is_finished(pod)
            && pod.metadata.deletion_timestamp.is_none()
            && spec.scheduling_gates.as_ref().is_none_or(Vec::is_empty)
            && spec.scheduler_name.as_deref().unwrap_or(COMPONENT) == self.scheduler
    }

    /// Takes note of a pod's change. Runs under the lock of the cache of pods.
    fn note(&self, change: &Change<'_, Pod>) {
        let pod = change.object();
        let (key, is_gone) = (Key::of(&**pod), matches!(change, Change::Removed(_)));
        if is_gone || node_of(pod).is_some() {
            self.assumed.lock().remove(&key);
            let needless = match change {
                Change::Added(_) => false,
                Change::Changed { old, new } => {
                    old.spec == new.spec
                        && old.metadata.labels == new.metadata.labels
                        && is_finished(old) == is_finished(new)
                }
                Change::Removed(pod) => node_of(pod).is_none(),
            };
            if is_gone {
                self.queue.add(key);
            }
            if !needless {
                self.wake();
            }
            return;
        }
        // The refusal that is written into a pod's status must not bring it back.
        let same = matches!(change, Change::Changed { old, new }
            if old.spec == new.spec && old.metadata.uid == new.metadata.uid);
        if self.is_concerned(pod) && !same {
            self.queue.add(key);
        }
    }

    /// Queues all pods that no node took.
    fn wake(&self) {
        for key in std::mem::take(&mut *self.waiting.lock()) {
            self.queue.add(key);
        }
    }

    /// Every node with the pods on it and on their way there.
    fn rooms(&self) -> Vec<Room> {
        // Copied, because the cache of pods takes this lock under its own and never the other way round.
        let assumed: Vec<_> = self.assumed.lock().clone().into_iter().collect();
        let room = |node: Arc<Node>| {
            let name = node.metadata.name.clone().unwrap_or_default();
            let mut pods = self.pods.by(BY_NODE, &name);
            let seen: BTreeSet<Key> = pods.iter().map(|pod| Key::of(&**pod)).collect();
            let coming = assumed.iter().filter(|(key, (on, _))| *on == name && !seen.contains(key));
            pods.extend(coming.map(|(_, (_, pod))| Arc::clone(pod)));
            Room::new(node, pods)
        };
        self.nodes.list().into_iter().map(room).collect()
    }

    async fn bind(&self, key: &Key, pod: &Pod, node: &str) -> anyhow::Result<()> {
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"namespace": &*key.namespace, "name": &*key.name, "uid": pod.metadata.uid},
            "target": {"kind": "Node", "name": node},
        });
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        let outcome: client::kube::Result<serde_json::Value> =
            api.create_subresource("binding", &key.name, &PostParams::default(), &binding).await;
        match outcome {
            Ok(_) => {
                let text = format!("Successfully assigned {key} to {node}");
                self.recorder.about(pod, Severity::Normal, "Scheduled", text);
                Ok(())
            }
            Err(error) => {
                self.assumed.lock().remove(key);
                // Its room on the node is free again.
                self.wake();
                if status_code(&error) == Some(404) {
                    return Ok(());
                }
                Err(error).with_context(|| format!("could not bind pod {key} to node {node}"))
            }
        }
    }

    async fn refuse(&self, key: &Key, pod: &Pod, why: &str) -> anyhow::Result<()> {
        self.recorder.about(pod, Severity::Warning, "FailedScheduling", why);
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref());
        let known = conditions.into_iter().flatten().find(|condition| condition.type_ == "PodScheduled");
        let refused = known.filter(|condition| condition.status == "False");
        let says = |condition: &PodCondition| {
            condition.reason.as_deref() == Some("Unschedulable") && condition.message.as_deref() == Some(why)
        };
        if refused.is_some_and(says) {
            return Ok(());
        }
        let since = refused.and_then(|condition| condition.last_transition_time.as_ref().map(|time| time.0));
        let condition = json!({
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": why,
            "lastTransitionTime": since.unwrap_or_else(now).to_string(),
        });
        let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}});
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        let outcome = api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
        found(outcome).context("could not write why a pod is not scheduled")?;
        Ok(())
    }
}

/// The time by the wall clock, in the whole seconds that conditions are written with.
fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default()
}
