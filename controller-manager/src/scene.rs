//! What every controller works with: the caches, the client, expectations, events, settings.

use std::sync::Arc;

use client::event::{self, Recorder};
use client::k8s_openapi::api::core::v1::Pod;
use client::kube::Client;
use client::object::controller_of;
use client::{Cache, Change, Key, Queue};
use daemon::Context;
use jiff::Timestamp;

use crate::caches::Caches;
use crate::config::Settings;
use crate::expectation::Expectations;
use crate::resources::Discovery;

/// What every controller works with.
pub(crate) struct Scene {
    pub(crate) settings: Settings,
    pub(crate) context: Context,
    pub(crate) client: Client,
    pub(crate) caches: Caches,
    pub(crate) expectations: Arc<Expectations>,
    pub(crate) discovery: Arc<Discovery>,
}

impl Scene {
    pub(crate) fn new(settings: Settings, context: Context, client: Client) -> Self {
        let caches = Caches::new(context.clone(), client.clone());
        let expectations = Arc::new(Expectations::default());
        // First of all listeners: a reconcile woken by a pod must find the expectation for it lowered.
        expectations.observe(&caches.of::<Pod>());
        let discovery = Arc::new(Discovery::new(client.clone()));
        Self { settings, context, client, caches, expectations, discovery }
    }

    /// A recorder whose events name this component as their source.
    pub(crate) fn recorder(&self, component: &'static str) -> Recorder {
        let (recorder, writer) = event::recorder(self.client.clone(), component, "");
        self.context.spawn("events", writer);
        recorder
    }
}

/// The time by the wall clock.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// Queues each object of a cache whenever it changes.
pub(crate) fn wake_self<K: client::cache::Kind>(cache: &Cache<K>, queue: &Queue<Key>) {
    let queue = queue.clone();
    cache.subscribe(move |change| queue.add(Key::of(&**change.object())));
}

/// Queues the controller (of kind `owner`) of each object that changes, the former one too; of an object that
/// has none, what `adopters` says could adopt it.
pub(crate) fn wake_owner<K: client::cache::Kind>(
    cache: &Cache<K>,
    owner: &'static str,
    queue: &Queue<Key>,
    adopters: impl Fn(&K) -> Vec<Key> + Send + Sync + 'static,
) {
    let queue = queue.clone();
    let owner_of = move |object: &K| {
        let reference = controller_of(object.meta()).filter(|reference| reference.kind == owner)?;
        Some(Key::new(object.meta().namespace.as_deref().unwrap_or_default(), &reference.name))
    };
    cache.subscribe(move |change| {
        if let Change::Changed { old, .. } = &change
            && let Some(key) = owner_of(old)
        {
            queue.add(key);
        }
        let object = change.object();
        match owner_of(object) {
            Some(key) => queue.add(key),
            None if controller_of(object.meta()).is_none() => {
                for key in adopters(object) {
                    queue.add(key);
                }
            }
            None => {}
        }
    });
}
