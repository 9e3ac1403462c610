//! DaemonSets: one pod on every node that fits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use client::event::{Recorder, Severity};
use client::k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus};
use client::k8s_openapi::api::core::v1::{Node, Pod};
use client::kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use client::kube::{Api, Client};
use client::object::{controller_of, controller_ref, found, status_code};
use client::{Cache, Change, Key, Next, Queue};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::claim;
use crate::expectation::Expectations;
use crate::pod;
use crate::pod_writer::PodWriter;
use crate::scene::{Scene, now, wake_owner, wake_self};
use crate::table::Reconciler;

mod eligibility;
mod plan;
mod revision;
#[cfg(test)]
mod tests;

/// The first pause before a pod that ended is replaced; doubles each time (upstream's figure).
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest such pause, and how long after the last end the count starts anew (upstream's figure).
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);

struct State {
    client: Client,
    recorder: Recorder,
    sets: Cache<DaemonSet>,
    revisions: Cache<ControllerRevision>,
    nodes: Cache<Node>,
    pods: Cache<Pod>,
    expectations: Arc<Expectations>,
    writer: PodWriter,
    /// Replacements of pods that ended, by set and node: when the last was, and the pause after it.
    pauses: Mutex<HashMap<(String, String), (Instant, Duration)>>,
}

pub(crate) fn build(scene: &Scene) -> anyhow::Result<Option<Reconciler>> {
    let (sets, pods) = (scene.caches.of::<DaemonSet>(), scene.caches.of::<Pod>());
    let (revisions, nodes) = (scene.caches.of::<ControllerRevision>(), scene.caches.of::<Node>());
    scene.expectations.observe(&revisions);
    let queue = Queue::default();
    wake_self(&sets, &queue);
    let could_adopt = sets.clone();
    wake_owner(&pods, "DaemonSet", &queue, move |pod: &Pod| {
        let all = could_adopt.in_namespace(pod.metadata.namespace.as_deref().unwrap_or_default());
        let fits = |set: &DaemonSet| selector(set).is_some_and(|selector| claim::fits(&selector, pod));
        all.iter().filter(|set| fits(set)).map(|set| Key::of(&**set)).collect()
    });
    wake_owner(&revisions, "DaemonSet", &queue, |_| Vec::new());
    let (concerned, woken) = (sets.clone(), queue.clone());
    nodes.subscribe(move |change| {
        let same = |old: &Node, new: &Node| {
            let taints = |node: &Node| node.spec.as_ref().and_then(|spec| spec.taints.clone());
            old.metadata.labels == new.metadata.labels && taints(old) == taints(new)
        };
        if !matches!(&change, Change::Changed { old, new } if same(old, new)) {
            for set in concerned.list() {
                woken.add(Key::of(&*set));
            }
        }
    });
    let recorder = scene.recorder("daemonset-controller");
    let expectations = Arc::clone(&scene.expectations);
    let state = State {
        client: scene.client.clone(),
        writer: PodWriter::new(scene.client.clone(), recorder.clone(), Arc::clone(&expectations)),
        recorder,
        sets,
        revisions,
        nodes,
        pods,
        expectations,
        pauses: Mutex::default(),
    };
    Ok(Some(Reconciler::new(queue, state, |state, key| async move { state.reconcile(&key).await })))
}

fn selector(set: &DaemonSet) -> Option<client::kube::core::Selector> {
    claim::selector(&set.spec.as_ref()?.selector)
}

impl State {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(set) = self.sets.get(key) else { return Ok(Next::Wait) };
        let Some(selector) = selector(&set) else { return Ok(Next::Wait) };
        if selector.selects_all() {
            let text = "This daemon set is selecting all pods. A non-empty selector is required.";
            self.recorder.about(&*set, Severity::Warning, "SelectingAll", text);
            return Ok(Next::Wait);
        }
        let uid = set.metadata.uid.as_deref().unwrap_or_default();
        let settled = self.expectations.met(uid);
        let leaving = set.metadata.deletion_timestamp.is_some();
        let claims = claim::sort(claim::candidates(&self.pods, &*set), uid, leaving, &selector);
        let pods = claim::settle(&self.client, &*set, claims, None).await?;
        let hash = self.keep_history(&set, &selector, &pods, settled).await?;
        let mut plan = plan::plan(&set, &self.nodes.list(), &pods, &hash, settled, now());
        for (node, pod) in std::mem::take(&mut plan.ended) {
            match self.pause(uid, &node) {
                None => {
                    self.tell_ended(&set, &pod, &node);
                    plan.stop.push(pod);
                }
                Some(left) => plan.next = Some(plan.next.map_or(left, |next| next.min(left))),
            }
        }
        self.writer.delete(&*set, &plan.stop).await?;
        let start = plan.start.iter().map(|node| new_pod(&set, &hash, node)).collect();
        let started = self.writer.create(&*set, start).await;
        self.write_status(&set, plan.status).await?;
        started.map(|()| plan.next.map_or(Next::Wait, Next::After))
    }

    /// How long an ended pod on a node must still wait for its replacement; notes the replacement if not at all.
    fn pause(&self, uid: &str, node: &str) -> Option<Duration> {
        let mut pauses = self.pauses.lock();
        pauses.retain(|_, (last, _)| last.elapsed() < LONGEST_PAUSE * 2);
        match pauses.get_mut(&(uid.to_owned(), node.to_owned())) {
            Some((last, pause)) => {
                let left = pause.saturating_sub(last.elapsed());
                if !left.is_zero() {
                    return Some(left);
                }
                (*last, *pause) = (Instant::now(), (*pause * 2).min(LONGEST_PAUSE));
            }
            None => {
                pauses.insert((uid.to_owned(), node.to_owned()), (Instant::now(), FIRST_PAUSE));
            }
        }
        None
    }

    fn tell_ended(&self, set: &DaemonSet, pod: &Pod, node: &str) {
        let name = Key::of(pod);
        let (severity, reason, what, doing) = if pod::phase(pod) == "Failed" {
            (Severity::Warning, "FailedDaemonPod", "failed", "kill")
        } else {
            (Severity::Normal, "SucceededDaemonPod", "succeeded", "delete")
        };
        let text = format!("Found {what} daemon pod {name} on node {node}, will try to {doing} it");
        self.recorder.about(set, severity, reason, text);
    }

    /// Keeps the history of the template and returns the hash of the present revision.
    async fn keep_history(
        &self,
        set: &DaemonSet,
        selector: &client::kube::core::Selector,
        pods: &[Arc<Pod>],
        settled: bool,
    ) -> anyhow::Result<String> {
        let uid = set.metadata.uid.as_deref().unwrap_or_default();
        let leaving = set.metadata.deletion_timestamp.is_some();
        let claims = claim::sort(claim::candidates(&self.revisions, set), uid, leaving, selector);
        let kept = claim::settle(&self.client, set, claims, None).await?;
        let in_use: Vec<_> = pods.iter().filter_map(|pod| pod::label(&pod.metadata, plan::HASH)).collect();
        let history = revision::history(set, &kept, &in_use);
        if leaving || !settled {
            return Ok(history.hash);
        }
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<ControllerRevision> = Api::namespaced(self.client.clone(), namespace);
        if let Some(revision) = history.create {
            self.create_revision(&api, set, &revision).await?;
        }
        if let Some((revision, number)) = history.renumber {
            let name = revision.metadata.name.as_deref().unwrap_or_default();
            let patch = Patch::Merge(serde_json::json!({"revision": number}));
            let patched = api.patch(name, &PatchParams::default(), &patch).await;
            patched.with_context(|| format!("could not renumber revision {name}"))?;
        }
        for revision in history.delete {
            let name = revision.metadata.name.as_deref().unwrap_or_default();
            let deleted = found(api.delete(name, &DeleteParams::default()).await);
            deleted.with_context(|| format!("could not remove the former revision {name}"))?;
        }
        Ok(history.hash)
    }

    async fn create_revision(
        &self,
        api: &Api<ControllerRevision>,
        set: &DaemonSet,
        revision: &ControllerRevision,
    ) -> anyhow::Result<()> {
        let name = revision.metadata.name.as_deref().unwrap_or_default();
        let error = match api.create(&PostParams::default(), revision).await {
            Ok(_) => return Ok(()),
            Err(error) if status_code(&error) == Some(409) => error,
            Err(error) => return Err(error).with_context(|| format!("could not create revision {name}")),
        };
        // Ours, which the cache does not show yet; or another template with the same hash.
        let live = api.get(name).await.context("could not read the colliding revision")?;
        let data = |revision: &ControllerRevision| revision.data.as_ref().map(|data| data.0.clone());
        let ours = controller_of(&live.metadata).map(|owner| &owner.uid) == set.metadata.uid.as_ref();
        if ours && data(&live) == data(revision) {
            return Ok(());
        }
        let mut status = set.status.clone().unwrap_or_default();
        status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
        self.write_status(set, status).await?;
        bail!("revision {name} exists already and is another's; trying another hash ({error})")
    }

    async fn write_status(&self, set: &DaemonSet, status: DaemonSetStatus) -> anyhow::Result<()> {
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<DaemonSet> = Api::namespaced(self.client.clone(), namespace);
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let changed = DaemonSet { status: Some(status), ..set.clone() };
        found(api.replace_status(name, &PostParams::default(), &changed).await)
            .map(drop)
            .context("could not write the status")
    }
}

/// A pod of the set, bound to a node.
fn new_pod(set: &DaemonSet, hash: &str, node: &str) -> Pod {
    const GENERATION: &str = "deprecated.daemonset.template.generation";
    let template = set.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let mut pod = pod::from_template(&template, namespace, controller_ref(set));
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(plan::HASH.to_owned(), hash.to_owned());
    if let Some(generation) = pod::annotation(&set.metadata, GENERATION) {
        labels.insert("pod-template-generation".to_owned(), generation.to_owned());
    }
    if let Some(spec) = pod.spec.as_mut() {
        eligibility::tolerate(spec);
        eligibility::pin(spec, node);
    }
    pod
}
