//! Namespaces: one that is deleted is emptied of everything first, then let go.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use client::k8s_openapi::api::core::v1::{Namespace, Pod};
use client::kube::api::{DeleteParams, ListParams, PostParams};
use client::kube::core::DynamicObject;
use client::kube::{self, Api, Client};
use client::object::{found, status_code};
use client::{Cache, Change, Key, Next, Queue};

use crate::resources::{Discovery, Resource};
use crate::scene::{Scene, now, wake_self};
use crate::table::Reconciler;

mod plan;

use plan::Outcome;

/// The finalizer in a namespace's spec that this controller answers for.
const FINALIZER: &str = "kubernetes";

/// How fresh the list of kinds must be: a kind made since may have objects in the namespace.
const KINDS_AGE: Duration = Duration::from_secs(10);

/// When to look again at what does not go by itself; pods that end wake it before.
const AGAIN: Duration = Duration::from_secs(5);

struct State {
    client: Client,
    namespaces: Cache<Namespace>,
    discovery: Arc<Discovery>,
}

/// Whether objects may still be made in a namespace.
pub(crate) fn is_open(namespace: &Namespace) -> bool {
    namespace.metadata.deletion_timestamp.is_none()
}

pub(crate) fn build(scene: &Scene) -> anyhow::Result<Option<Reconciler>> {
    let namespaces = scene.caches.of::<Namespace>();
    let queue = Queue::default();
    wake_self(&namespaces, &queue);
    let (woken, known) = (queue.clone(), namespaces.clone());
    scene.caches.of::<Pod>().subscribe(move |change| {
        if let Change::Removed(pod) = change {
            let key = Key::cluster(pod.metadata.namespace.as_deref().unwrap_or_default());
            if known.get(&key).is_some_and(|namespace| !is_open(&namespace)) {
                woken.add(key);
            }
        }
    });
    let discovery = Arc::clone(&scene.discovery);
    let state = State { client: scene.client.clone(), namespaces, discovery };
    Ok(Some(Reconciler::new(queue, state, |state, key| async move { state.reconcile(&key).await })))
}

fn holds(namespace: &Namespace) -> bool {
    let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
    finalizers.into_iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

impl State {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(namespace) = self.namespaces.get(key) else { return Ok(Next::Wait) };
        if is_open(&namespace) || !holds(&namespace) {
            return Ok(Next::Wait);
        }
        let outcome = self.empty(&key.name).await?;
        let api: Api<Namespace> = Api::all(self.client.clone());
        let mut changed = Namespace::clone(&namespace);
        let status = plan::status(namespace.status.as_ref(), &outcome, now());
        if namespace.status.as_ref() != Some(&status) {
            changed.status = Some(status);
            let written = found(api.replace_status(&key.name, &PostParams::default(), &changed).await);
            match written.context("could not write the status")? {
                Some(written) => changed = written,
                None => return Ok(Next::Wait),
            }
        }
        if !outcome.is_empty() {
            return Ok(Next::After(AGAIN));
        }
        if let Some(finalizers) = changed.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
            finalizers.retain(|finalizer| finalizer != FINALIZER);
        }
        let done = api.replace_subresource("finalize", &key.name, &PostParams::default(), &changed).await;
        found(done).map(|_| Next::Wait).context("could not finalize")
    }

    /// Deletes what is in the namespace; pods first, for they may need the rest to end well.
    async fn empty(&self, name: &str) -> anyhow::Result<Outcome> {
        let kinds = self.discovery.within(KINDS_AGE).await.context("could not discover what may be in it")?;
        let mut outcome = Outcome { undiscovered: kinds.failures.clone(), ..Outcome::default() };
        let contains = |kind: &&Arc<Resource>| kind.namespaced && kind.can("list") && kind.can("delete");
        let is_pods = |kind: &Arc<Resource>| kind.api.group.is_empty() && kind.api.plural == "pods";
        let (pods, rest): (Vec<_>, Vec<_>) =
            kinds.resources.iter().filter(contains).partition(|kind| is_pods(kind));
        for kinds in [pods, rest] {
            for kind in kinds {
                if let Err(error) = self.clear(name, kind, &mut outcome).await {
                    outcome.failures.push(format!("{}: {error}", kind.api.plural));
                }
            }
            if !outcome.left.is_empty() {
                break;
            }
        }
        Ok(outcome)
    }

    async fn clear(&self, namespace: &str, kind: &Resource, outcome: &mut Outcome) -> kube::Result<()> {
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &kind.api);
        let all = ListParams::default();
        // A kind may go while this runs, or list nothing for other reasons; then it holds nothing.
        let Some(had) = absent(api.list_metadata(&all).await)? else { return Ok(()) };
        if had.items.is_empty() {
            return Ok(());
        }
        if kind.can("deletecollection") {
            api.delete_collection(&DeleteParams::background(), &all).await?;
        } else {
            for object in had.items {
                let name = object.metadata.name.as_deref().unwrap_or_default();
                found(api.delete(name, &DeleteParams::background()).await)?;
            }
        }
        let Some(left) = absent(api.list_metadata(&all).await)? else { return Ok(()) };
        if left.items.is_empty() {
            return Ok(());
        }
        outcome.left.insert(format!("{}.{}", kind.api.plural, kind.api.group), left.items.len());
        for finalizer in left.items.iter().flat_map(|object| object.metadata.finalizers.iter().flatten()) {
            *outcome.finalizers.entry(finalizer.clone()).or_default() += 1;
        }
        Ok(())
    }
}

fn absent<T>(result: kube::Result<T>) -> kube::Result<Option<T>> {
    match result {
        Err(error) if matches!(status_code(&error), Some(404 | 405)) => Ok(None),
        other => other.map(Some),
    }
}
