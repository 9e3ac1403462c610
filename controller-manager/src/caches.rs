//! The caches all controllers share: each kind is followed once, and only when a controller asks for it.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;

use client::cache::Kind;
use client::kube::runtime::watcher;
use client::kube::{Api, Client};
use client::object::controller_of;
use client::{Cache, k8s_openapi};
use daemon::Context;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::Mutex;

/// The index by the uid of an object's controller; the orphans of a namespace are filed under [`orphans_of`].
pub(crate) const BY_CONTROLLER: &str = "controller";

/// Every cache of the process, by kind.
pub(crate) struct Caches {
    context: Context,
    client: Client,
    by_kind: Mutex<HashMap<TypeId, Entry>>,
}

struct Entry {
    cache: Box<dyn Any + Send + Sync>,
    synced: Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>,
}

/// Under what the index [`BY_CONTROLLER`] files the objects of a namespace that no controller manages.
pub(crate) fn orphans_of(namespace: &str) -> String {
    format!("orphans/{namespace}")
}

fn controller_index(meta: &ObjectMeta) -> Vec<String> {
    vec![match controller_of(meta) {
        Some(owner) => owner.uid.clone(),
        None => orphans_of(meta.namespace.as_deref().unwrap_or_default()),
    }]
}

/// Has a cache keep only what controllers read, of the kinds where that is much less than all.
fn narrow<K: Kind>(cache: &Cache<K>) {
    let any: &dyn Any = cache;
    if let Some(pods) = any.downcast_ref::<Cache<Pod>>() {
        pods.trim(client::narrow::pod);
    }
    if let Some(nodes) = any.downcast_ref::<Cache<Node>>() {
        nodes.trim(client::narrow::node);
    }
}

impl Caches {
    pub(crate) fn new(context: Context, client: Client) -> Self {
        Self { context, client, by_kind: Mutex::default() }
    }

    /// The cache of a kind, followed from the first call on.
    pub(crate) fn of<K: Kind>(&self) -> Cache<K> {
        self.selected(watcher::Config::default())
    }

    /// The cache of a kind of which nobody needs all objects; the first caller's selectors count.
    pub(crate) fn selected<K: Kind>(&self, selection: watcher::Config) -> Cache<K> {
        let mut by_kind = self.by_kind.lock();
        if let Some(cache) = by_kind.get(&TypeId::of::<K>()).and_then(|e| e.cache.downcast_ref::<Cache<K>>())
        {
            return cache.clone();
        }
        let cache = Cache::<K>::default();
        narrow(&cache);
        cache.index(BY_CONTROLLER, |object| controller_index(object.meta()));
        let waited = cache.clone();
        let entry = Entry {
            cache: Box::new(cache.clone()),
            synced: Box::new(move || {
                let cache = waited.clone();
                Box::pin(async move { cache.synced().await })
            }),
        };
        by_kind.insert(TypeId::of::<K>(), entry);
        let (gate, waited) = (self.context.gate("caches"), cache.clone());
        self.context.spawn_isolated("cache sync", async move {
            waited.synced().await;
            gate.release();
            Ok(())
        });
        self.context.spawn("cache", cache.clone().follow(Api::all(self.client.clone()), selection));
        cache
    }

    /// Returns once every cache asked for so far holds its first whole list.
    pub(crate) async fn synced(&self) {
        let waits: Vec<_> = self.by_kind.lock().values().map(|entry| (entry.synced)()).collect();
        futures::future::join_all(waits).await;
    }
}
