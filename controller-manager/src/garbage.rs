//! The garbage collector: deletes what nobody owns any more, in the order and to the extent that was asked for.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use client::event::{Recorder, Severity};
use client::k8s_openapi::api::core::v1::ObjectReference;
use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use client::kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use client::kube::core::{DynamicObject, PartialObjectMeta};
use client::kube::{Api, Client};
use client::object::{found, status_code};
use client::{Key, Next, Queue};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::resources::Discovery;
use crate::scene::Scene;
use crate::table::Reconciler;

mod follow;
mod graph;
mod plan;
#[cfg(test)]
mod tests;

use graph::{FOREGROUND, Fate, Graph, ORPHAN, Object, Uid};
use plan::{Cascade, Decision, Standing};

/// Owners known to be absent, so that a thousand dependents of one ask once (upstream's figure).
const REMEMBERED_ABSENT: usize = 500;

/// What the tasks that watch share with the reconciler.
#[derive(Debug)]
struct Shared {
    graph: Mutex<Graph>,
    queue: Queue<Key>,
}

struct State {
    client: Client,
    recorder: Recorder,
    shared: Arc<Shared>,
    discovery: Arc<Discovery>,
    absent: Mutex<VecDeque<(Uid, Arc<str>)>>,
    complete: watch::Receiver<bool>,
}

pub(crate) fn build(scene: &Scene) -> anyhow::Result<Option<Reconciler>> {
    let queue = Queue::default();
    let shared = Arc::new(Shared { graph: Mutex::default(), queue: queue.clone() });
    let complete = follow::start(scene, &shared);
    let state = State {
        client: scene.client.clone(),
        recorder: scene.recorder("garbage-collector-controller"),
        shared,
        discovery: Arc::clone(&scene.discovery),
        absent: Mutex::default(),
        complete,
    };
    Ok(Some(Reconciler::new(queue, state, |state, key| async move { state.reconcile(&key.name).await })))
}

impl Shared {
    fn look(&self, uids: Vec<Uid>) {
        for uid in uids {
            self.queue.add(Key::cluster(&uid));
        }
    }
}

impl State {
    async fn reconcile(&self, uid: &str) -> anyhow::Result<Next> {
        // Before every kind was listed, a missing dependent means nothing.
        self.complete.clone().wait_for(|complete| *complete).await.context("the watches have ended")?;
        let Some(object) = self.shared.graph.lock().get(uid).cloned() else { return Ok(Next::Wait) };
        match object.fate {
            Fate::LeavingOrphans => self.orphan(uid, &object).await?,
            Fate::LeavingLast => self.finish_foreground(uid, &object).await?,
            Fate::Leaving => {}
            Fate::Lives => self.judge(uid, &object).await?,
        }
        Ok(Next::Wait)
    }

    fn api(&self, object: &Object) -> Api<DynamicObject> {
        let client = self.client.clone();
        if object.namespace.is_empty() {
            Api::all_with(client, &object.kind.api)
        } else {
            Api::namespaced_with(client, &object.namespace, &object.kind.api)
        }
    }

    /// Releases the dependents, then the object.
    async fn orphan(&self, uid: &str, object: &Object) -> anyhow::Result<()> {
        let dependents = self.shared.graph.lock().dependents(uid);
        for (dependent, about) in dependents {
            self.detach(&dependent, &about, &BTreeSet::from([uid.to_owned()])).await?;
        }
        self.unfinalize(uid, object, ORPHAN).await
    }

    /// Lets the object go once no dependent blocks it, and until then sees to it that they go.
    async fn finish_foreground(&self, uid: &str, object: &Object) -> anyhow::Result<()> {
        let dependents = self.shared.graph.lock().dependents(uid);
        let blocks = |owner: &OwnerReference| owner.uid == uid && owner.block_owner_deletion == Some(true);
        let blocking = dependents.iter().filter(|(_, dependent)| dependent.owners.iter().any(blocks));
        if blocking.clone().next().is_none() {
            return self.unfinalize(uid, object, FOREGROUND).await;
        }
        let going = |dependent: &Object| dependent.fate != Fate::Lives;
        self.shared.look(
            blocking.filter(|(_, dependent)| !going(dependent)).map(|(uid, _)| Arc::clone(uid)).collect(),
        );
        Ok(())
    }

    async fn judge(&self, uid: &str, object: &Object) -> anyhow::Result<()> {
        if object.owners.is_empty() || self.is_fine(object) {
            return Ok(());
        }
        let Some(live) = self.live(uid, object).await? else { return Ok(()) };
        let mut standings = Vec::new();
        for owner in live.metadata.owner_references.iter().flatten() {
            standings.push((owner.uid.clone(), self.standing(uid, object, owner).await?));
        }
        let (has_dependents, waits) = {
            let graph = self.shared.graph.lock();
            let waits = || graph.dependents(uid).iter().any(|(_, object)| object.fate == Fate::LeavingLast);
            (graph.has_dependents(uid), waits())
        };
        match plan::decide(&live.metadata, &standings, has_dependents, waits) {
            Decision::Stay => Ok(()),
            Decision::Detach(uids) => self.detach(uid, object, &uids.into_iter().collect()).await,
            Decision::Delete { cascade, unblock } => {
                if unblock {
                    self.unblock(object, &live).await?;
                }
                self.delete(object, &live, cascade, unblock).await
            }
        }
    }

    /// Whether the graph alone shows that every owner stands.
    fn is_fine(&self, object: &Object) -> bool {
        let graph = self.shared.graph.lock();
        let stands = |owner| graph.owner(object, owner).is_some_and(|owner| owner.fate != Fate::LeavingLast);
        object.owners.iter().all(stands)
    }

    /// The object's metadata as the API server has it now; `None` where it is gone or another has its name.
    async fn live(
        &self,
        uid: &str,
        object: &Object,
    ) -> anyhow::Result<Option<PartialObjectMeta<DynamicObject>>> {
        let live = found(self.api(object).get_metadata(&object.name).await)
            .with_context(|| format!("could not read {} {}", object.kind.api.plural, object.name))?;
        let live = live.filter(|live| live.metadata.uid.as_deref() == Some(uid));
        if live.is_none() {
            let look = self.shared.graph.lock().remove(uid);
            self.shared.look(look);
        }
        Ok(live)
    }

    async fn standing(&self, uid: &str, object: &Object, owner: &OwnerReference) -> anyhow::Result<Standing> {
        if let Some(known) = self.shared.graph.lock().owner(object, owner) {
            return Ok(if known.fate == Fate::LeavingLast { Standing::Waiting } else { Standing::Solid });
        }
        let place = (Uid::from(owner.uid.as_str()), Arc::clone(&object.namespace));
        if self.absent.lock().contains(&place) {
            return Ok(Standing::Absent);
        }
        let (group, version) = owner.api_version.split_once('/').unwrap_or(("", &owner.api_version));
        let kinds =
            self.discovery.within(follow::KINDS_AGE).await.context("could not discover the owner's kind")?;
        let Some(kind) = kinds.kind(group, &owner.kind) else {
            bail!("owner {} {} of {} is of an unknown kind", owner.kind, owner.name, object.name);
        };
        let mut api = kind.api.clone();
        (api.version, api.api_version) = (version.to_owned(), owner.api_version.clone());
        if kind.namespaced && object.namespace.is_empty() {
            self.warn(uid, object, owner, "a cluster-scoped object cannot be owned by a namespaced one");
            return Ok(Standing::Solid);
        }
        let api: Api<DynamicObject> = if kind.namespaced {
            Api::namespaced_with(self.client.clone(), &object.namespace, &api)
        } else {
            Api::all_with(self.client.clone(), &api)
        };
        let live = found(api.get_metadata(&owner.name).await).context("could not look for the owner")?;
        let Some(live) = live.filter(|live| live.metadata.uid.as_deref() == Some(&owner.uid)) else {
            if self.shared.graph.lock().get(&owner.uid).is_some() {
                self.warn(uid, object, owner, "the owner is in another namespace");
            }
            let mut absent = self.absent.lock();
            if absent.len() >= REMEMBERED_ABSENT {
                absent.pop_front();
            }
            absent.push_back(place);
            return Ok(Standing::Absent);
        };
        Ok(if Fate::of(&live.metadata) == Fate::LeavingLast { Standing::Waiting } else { Standing::Solid })
    }

    fn warn(&self, uid: &str, object: &Object, owner: &OwnerReference, why: &str) {
        let about = ObjectReference {
            api_version: Some(object.kind.api.api_version.clone()),
            kind: Some(object.kind.api.kind.clone()),
            namespace: Some(object.namespace.to_string()),
            name: Some(object.name.to_string()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        let text = format!(
            "ownerRef [{}/{}, namespace: {}, name: {}, uid: {}] does not hold: {why}",
            owner.api_version, owner.kind, object.namespace, owner.name, owner.uid
        );
        self.recorder.record(&about, Severity::Warning, "OwnerRefInvalidNamespace", text);
    }

    /// Takes references to these owners out of an object, as it is now.
    async fn detach(&self, uid: &str, object: &Object, owners: &BTreeSet<String>) -> anyhow::Result<()> {
        let Some(live) = self.live(uid, object).await? else { return Ok(()) };
        let mut left = live.metadata.owner_references.clone().unwrap_or_default();
        let before = left.len();
        left.retain(|owner| !owners.contains(&owner.uid));
        if left.len() == before {
            return Ok(());
        }
        self.patch(object, &live, json!({"ownerReferences": left})).await
    }

    async fn unblock(&self, object: &Object, live: &PartialObjectMeta<DynamicObject>) -> anyhow::Result<()> {
        let mut owners = live.metadata.owner_references.clone().unwrap_or_default();
        for owner in &mut owners {
            owner.block_owner_deletion = Some(false);
        }
        self.patch(object, live, json!({"ownerReferences": owners})).await
    }

    async fn unfinalize(&self, uid: &str, object: &Object, finalizer: &str) -> anyhow::Result<()> {
        let Some(live) = self.live(uid, object).await? else { return Ok(()) };
        let mut left = live.metadata.finalizers.clone().unwrap_or_default();
        let before = left.len();
        left.retain(|has| has != finalizer);
        if left.len() == before {
            return Ok(());
        }
        self.patch(object, &live, json!({"finalizers": left})).await
    }

    /// Changes metadata, provided that nobody else has meanwhile.
    async fn patch(
        &self,
        object: &Object,
        live: &PartialObjectMeta<DynamicObject>,
        mut change: Value,
    ) -> anyhow::Result<()> {
        change["resourceVersion"] = json!(live.metadata.resource_version);
        change["uid"] = json!(live.metadata.uid);
        let patch = Patch::Merge(json!({"metadata": change}));
        found(self.api(object).patch_metadata(&object.name, &PatchParams::default(), &patch).await)
            .map(drop)
            .with_context(|| format!("could not change {} {}", object.kind.api.plural, object.name))
    }

    async fn delete(
        &self,
        object: &Object,
        live: &PartialObjectMeta<DynamicObject>,
        cascade: Cascade,
        changed: bool,
    ) -> anyhow::Result<()> {
        // The version holds the decision to the owners it was made from.
        let resource_version = live.metadata.resource_version.clone().filter(|_| !changed);
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: live.metadata.uid.clone(), resource_version }),
            propagation_policy: Some(match cascade {
                Cascade::Background => PropagationPolicy::Background,
                Cascade::Foreground => PropagationPolicy::Foreground,
                Cascade::Orphan => PropagationPolicy::Orphan,
            }),
            ..DeleteParams::default()
        };
        match self.api(object).delete(&object.name, &params).await {
            Ok(_) => {
                tracing::debug!(kind = object.kind.api.kind, name = &*object.name, ?cascade, "deleted");
                Ok(())
            }
            Err(error) if status_code(&error) == Some(404) => Ok(()),
            Err(error) => Err(error)
                .with_context(|| format!("could not delete {} {}", object.kind.api.plural, object.name)),
        }
    }
}
