//! Watches the metadata of every kind that can be deleted, and finds kinds as they come.

use std::collections::HashMap;
use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use client::cache::Retries;
use client::kube::core::{ApiResource, DynamicObject, PartialObjectMeta};
use client::kube::runtime::WatchStreamExt as _;
use client::kube::runtime::watcher::{self, Event, watcher};
use client::kube::{Api, Client};
use daemon::Context;
use futures::StreamExt as _;
use tokio::sync::{mpsc, oneshot, watch};

use super::Shared;
use super::graph::Uid;
use crate::resources::{Discovery, Resource};
use crate::scene::Scene;

/// How old the list of kinds may be when an owner's kind is looked up.
pub(super) const KINDS_AGE: Duration = Duration::from_secs(30);

/// How soon discovery is tried again after it failed, or found only a part.
const RETRY: Duration = Duration::from_secs(5);

/// Kinds whose objects come and go in masses, own nothing and are removed by age.
const IGNORED: &[(&str, &str)] = &[("", "events"), ("events.k8s.io", "events")];

/// Kinds whose objects bring other kinds.
const BRINGERS: &[(&str, &str)] =
    &[("apiextensions.k8s.io", "customresourcedefinitions"), ("apiregistration.k8s.io", "apiservices")];

struct Kinds {
    context: Context,
    client: Client,
    shared: Arc<Shared>,
    discovery: Arc<Discovery>,
    /// The kinds being watched, and what ends each watch when dropped.
    followed: HashMap<ApiResource, oneshot::Sender<()>>,
    /// One waiting hint is as good as many.
    changed: mpsc::Sender<()>,
}

/// Starts following every kind. What is returned becomes true once all of the first kinds were listed.
pub(super) fn start(scene: &Scene, shared: &Arc<Shared>) -> watch::Receiver<bool> {
    let (complete, completed) = watch::channel(false);
    let (changed, changes) = mpsc::channel(1);
    let kinds = Kinds {
        context: scene.context.clone(),
        client: scene.client.clone(),
        shared: Arc::clone(shared),
        discovery: Arc::clone(&scene.discovery),
        followed: HashMap::new(),
        changed,
    };
    scene.context.spawn("garbage kinds", kinds.keep(complete, changes));
    completed
}

impl Kinds {
    async fn keep(
        mut self,
        complete: watch::Sender<bool>,
        mut changes: mpsc::Receiver<()>,
    ) -> anyhow::Result<()> {
        loop {
            let retry = match self.discovery.within(Duration::ZERO).await {
                Ok(found) => {
                    let listed = self.adjust(&found.resources, found.failures.is_empty());
                    for listed in listed {
                        // A watch that was given up meanwhile has nothing to list.
                        drop(listed.await);
                    }
                    complete.send_replace(true);
                    !found.failures.is_empty()
                }
                Err(error) => {
                    tracing::debug!("could not discover kinds: {error}");
                    true
                }
            };
            if retry {
                drop(tokio::time::timeout(RETRY, changes.recv()).await);
            } else {
                changes.recv().await;
            }
        }
    }

    /// Follows what is new and, where all kinds are known, stops following what is gone.
    fn adjust(&mut self, found: &[Arc<Resource>], all: bool) -> Vec<oneshot::Receiver<()>> {
        let named = |kind: &Resource, list: &[(&str, &str)]| {
            list.contains(&(kind.api.group.as_str(), kind.api.plural.as_str()))
        };
        let wanted: Vec<_> = found
            .iter()
            .filter(|kind| ["delete", "list", "watch"].iter().all(|verb| kind.can(verb)))
            .filter(|kind| !named(kind, IGNORED))
            .collect();
        if all {
            self.followed.retain(|api, _| wanted.iter().any(|kind| kind.api == *api));
        }
        let mut waits = Vec::new();
        for kind in wanted {
            if self.followed.contains_key(&kind.api) {
                continue;
            }
            let (stop, stopped) = oneshot::channel();
            let (listed, wait) = oneshot::channel();
            self.followed.insert(kind.api.clone(), stop);
            waits.push(wait);
            let hint = named(kind, BRINGERS).then(|| self.changed.clone());
            // Boxed: there are dozens, and the layer below would hold each twice.
            let work = Box::pin(follow(
                self.client.clone(),
                Arc::clone(&self.shared),
                Arc::clone(kind),
                listed,
                hint,
            ));
            self.context.spawn("garbage watch", async move {
                tokio::select! {
                    result = work => result,
                    _ = stopped => Ok(()),
                }
            });
        }
        waits
    }
}

async fn follow(
    client: Client,
    shared: Arc<Shared>,
    kind: Arc<Resource>,
    listed: oneshot::Sender<()>,
    hint: Option<mpsc::Sender<()>>,
) -> anyhow::Result<()> {
    let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client, &kind.api);
    let mut events = pin!(watcher(api, watcher::Config::default()).backoff(Retries::default()));
    let mut listed = Some(listed);
    let mut fresh: HashSet<Uid> = HashSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => fresh.clear(),
            Ok(Event::InitApply(object)) => {
                fresh.extend(object.metadata.uid.as_deref().map(Uid::from));
                let look = shared.graph.lock().put(&kind, object.metadata);
                shared.look(look);
            }
            Ok(Event::InitDone) => {
                forget(&shared, &kind, &fresh);
                fresh = HashSet::new();
                listed.take().map(|listed| listed.send(()));
            }
            Ok(Event::Apply(object)) => {
                let look = shared.graph.lock().put(&kind, object.metadata);
                shared.look(look);
                hint.as_ref().map(|hint| hint.try_send(()));
            }
            Ok(Event::Delete(object)) => {
                let look = shared.graph.lock().remove(object.metadata.uid.as_deref().unwrap_or_default());
                shared.look(look);
                hint.as_ref().map(|hint| hint.try_send(()));
            }
            Err(error) => {
                tracing::debug!(kind = kind.api.kind, "watch interrupted: {error}");
                // A kind that cannot be listed must not hold up all others.
                listed.take().map(|listed| listed.send(()));
            }
        }
    }
    anyhow::bail!("the watch of {} ended", kind.api.plural)
}

/// Takes out what a fresh list no longer has.
fn forget(shared: &Shared, kind: &Arc<Resource>, fresh: &HashSet<Uid>) {
    let mut graph = shared.graph.lock();
    let gone: Vec<_> = graph.of_kind(kind).into_iter().filter(|uid| !fresh.contains(uid)).collect();
    let look: Vec<_> = gone.iter().flat_map(|uid| graph.remove(uid)).collect();
    drop(graph);
    shared.look(look);
}
