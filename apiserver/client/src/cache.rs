//! The watched set of objects of one kind, shared by all who read it in a process.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::object::Key;

/// What a cache requires of a kind. Narrow structs (only the fields a daemon reads) qualify as well as whole ones.
pub trait Kind:
    Resource<DynamicType = ()> + Clone + DeserializeOwned + fmt::Debug + Send + Sync + 'static
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + fmt::Debug + Send + Sync + 'static
{
}

/// One step of an object's life as a cache saw it. Steps may be skipped, never reordered.
#[derive(Debug)]
pub enum Change<'a, K> {
    /// An object that was not there before.
    Added(&'a Arc<K>),
    /// An object and what it was before.
    Changed {
        /// What it was.
        old: &'a Arc<K>,
        /// What it is.
        new: &'a Arc<K>,
    },
    /// An object that is gone, as it was last seen.
    Removed(&'a Arc<K>),
}

impl<K> Change<'_, K> {
    /// The latest state of the object.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Added(object) | Self::Removed(object) | Self::Changed { new: object, .. } => object,
        }
    }
}

type Listener<K> = Box<dyn Fn(Change<'_, K>) + Send + Sync>;
type Extract<K> = Box<dyn Fn(&K) -> Vec<String> + Send + Sync>;

/// The watched set of objects of one kind. Cheap to clone; [`Cache::follow`] is the one writer.
pub struct Cache<K> {
    inner: Arc<Inner<K>>,
}

struct Inner<K> {
    state: RwLock<State<K>>,
    synced: watch::Sender<bool>,
}

struct State<K> {
    objects: BTreeMap<Key, Arc<K>>,
    indices: HashMap<&'static str, Index<K>>,
    listeners: Vec<Listener<K>>,
    trim: fn(&mut K),
}

struct Index<K> {
    extract: Extract<K>,
    keys: HashMap<String, BTreeSet<Key>>,
}

impl<K> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<K> fmt::Debug for Cache<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("objects", &self.inner.state.read().objects.len()).finish()
    }
}

impl<K> Default for Cache<K> {
    fn default() -> Self {
        let state =
            State { objects: BTreeMap::new(), indices: HashMap::new(), listeners: Vec::new(), trim: |_| () };
        Self { inner: Arc::new(Inner { state: RwLock::new(state), synced: watch::channel(false).0 }) }
    }
}

impl<K: Kind> Cache<K> {
    /// Adds an index: `extract` gives the values under which [`Cache::by`] finds an object.
    pub fn index(&self, name: &'static str, extract: impl Fn(&K) -> Vec<String> + Send + Sync + 'static) {
        let mut state = self.inner.state.write();
        let mut index = Index { extract: Box::new(extract), keys: HashMap::new() };
        for (key, object) in &state.objects {
            index.insert(key, object);
        }
        state.indices.insert(name, index);
    }

    /// Has `trim` take from each object, before it is kept, what nobody in this process reads; see
    /// [`crate::narrow`]. To be called before [`Cache::follow`].
    pub fn trim(&self, trim: fn(&mut K)) {
        self.inner.state.write().trim = trim;
    }

    /// Calls `listener` for what is there already (as added) and then for each change, in order.
    ///
    /// It runs under the cache's lock: it may put keys into queues and must not block or read this cache.
    pub fn subscribe(&self, listener: impl Fn(Change<'_, K>) + Send + Sync + 'static) {
        let mut state = self.inner.state.write();
        for object in state.objects.values() {
            listener(Change::Added(object));
        }
        state.listeners.push(Box::new(listener));
    }

    /// The object with this key.
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.inner.state.read().objects.get(key).cloned()
    }

    /// All objects, by key.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.inner.state.read().objects.values().cloned().collect()
    }

    /// All objects of one namespace, by name.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let state = self.inner.state.read();
        state
            .objects
            .range(Key::new(namespace, "")..)
            .take_while(|(key, _)| &*key.namespace == namespace)
            .map(|(_, object)| Arc::clone(object))
            .collect()
    }

    /// The objects that an index files under this value, by key.
    pub fn by(&self, index: &'static str, value: &str) -> Vec<Arc<K>> {
        let state = self.inner.state.read();
        let Some(keys) = state.indices.get(index).and_then(|index| index.keys.get(value)) else {
            return Vec::new();
        };
        keys.iter().filter_map(|key| state.objects.get(key).cloned()).collect()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.inner.state.read().objects.len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns once the first whole list has arrived.
    pub async fn synced(&self) {
        let mut synced = self.inner.synced.subscribe();
        drop(synced.wait_for(|synced| *synced).await);
    }

    /// Lists and watches for ever, whatever fails, with growing pauses between failures.
    ///
    /// `config` may carry selectors. Run this once, in a task that ends when the process drains.
    ///
    /// # Errors
    /// None short of a bug: the watch's stream never ends.
    pub async fn follow(self, api: Api<K>, config: watcher::Config) -> anyhow::Result<()> {
        let mut events = pin!(watcher(api, config).backoff(Retries::default()));
        let mut fresh: BTreeMap<Key, Arc<K>> = BTreeMap::new();
        let trim = self.inner.state.read().trim;
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => fresh.clear(),
                Ok(Event::InitApply(object)) => {
                    fresh.insert(Key::of(&object), Arc::new(trimmed(object, trim)));
                }
                Ok(Event::InitDone) => {
                    self.inner.state.write().replace(std::mem::take(&mut fresh));
                    self.inner.synced.send_replace(true);
                }
                Ok(Event::Apply(object)) => {
                    self.inner.state.write().put(Key::of(&object), Arc::new(trimmed(object, trim)));
                }
                Ok(Event::Delete(object)) => self.inner.state.write().remove(&Key::of(&object)),
                Err(error) => tracing::warn!(kind = %K::kind(&()), "could not watch: {}", words(&error)),
            }
        }
        anyhow::bail!("the watch of {} ended", K::kind(&()))
    }

    /// Puts objects in place of all that is there, as a list from the server would; for tests of what reads it.
    pub fn preset(&self, objects: impl IntoIterator<Item = K>) {
        let fresh = objects.into_iter().map(|object| (Key::of(&object), Arc::new(object))).collect();
        self.inner.state.write().replace(fresh);
        self.inner.synced.send_replace(true);
    }
}

/// Pauses between failed lists and watches: doubling while failures follow on each other.
///
/// The longest is far below upstream's 30 s: on a small cluster the API server is back within a second of its crash,
/// and whoever waits longer than needed makes that crash last.
#[derive(Debug)]
pub struct Retries {
    pause: Duration,
    failed: Option<Instant>,
}

impl Retries {
    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(5);
    /// A failure so long after the last one begins a new row: more than the longest pause and a slow answer.
    const FORGOTTEN: Duration = Duration::from_secs(20);
}

impl Default for Retries {
    fn default() -> Self {
        Self { pause: Self::FIRST, failed: None }
    }
}

impl Iterator for Retries {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let failed = self.failed.replace(now);
        if failed.is_none_or(|failed| now.duration_since(failed) > Self::FORGOTTEN) {
            self.pause = Self::FIRST;
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(Self::LONGEST);
        Some(pause)
    }
}

impl Backoff for Retries {
    /// Does nothing: a watcher tells that it begins before it knows whether it may, which is no success.
    fn reset(&mut self) {}
}

/// What the API server said, or else what went wrong; the client's own text repeats the answer's every field.
fn words(error: &watcher::Error) -> String {
    use watcher::Error;
    match error {
        Error::WatchError(status) => status.message.clone(),
        Error::InitialListFailed(error) | Error::WatchStartFailed(error) | Error::WatchFailed(error) => {
            match error {
                kube::Error::Api(status) => status.message.clone(),
                other => other.to_string(),
            }
        }
        other => other.to_string(),
    }
}

/// Managed fields are half of an object's memory and no daemon of ours reads them.
fn trimmed<K: Resource>(mut object: K, trim: fn(&mut K)) -> K {
    object.meta_mut().managed_fields = None;
    trim(&mut object);
    object
}

impl<K: Kind> State<K> {
    fn put(&mut self, key: Key, new: Arc<K>) {
        let old = self.objects.insert(key.clone(), Arc::clone(&new));
        for index in self.indices.values_mut() {
            if let Some(old) = &old {
                index.remove(&key, old);
            }
            index.insert(&key, &new);
        }
        for listener in &self.listeners {
            match &old {
                Some(old) => listener(Change::Changed { old, new: &new }),
                None => listener(Change::Added(&new)),
            }
        }
    }

    fn remove(&mut self, key: &Key) {
        let Some(old) = self.objects.remove(key) else { return };
        for index in self.indices.values_mut() {
            index.remove(key, &old);
        }
        for listener in &self.listeners {
            listener(Change::Removed(&old));
        }
    }

    fn replace(&mut self, fresh: BTreeMap<Key, Arc<K>>) {
        let gone: Vec<Key> = self.objects.keys().filter(|key| !fresh.contains_key(key)).cloned().collect();
        for key in gone {
            self.remove(&key);
        }
        for (key, object) in fresh {
            let same = self.objects.get(&key).is_some_and(|old| {
                old.meta().resource_version.is_some()
                    && old.meta().resource_version == object.meta().resource_version
            });
            if !same {
                self.put(key, object);
            }
        }
    }
}

impl<K> Index<K> {
    fn insert(&mut self, key: &Key, object: &K) {
        for value in (self.extract)(object) {
            self.keys.entry(value).or_default().insert(key.clone());
        }
    }

    fn remove(&mut self, key: &Key, object: &K) {
        for value in (self.extract)(object) {
            if let Some(keys) = self.keys.get_mut(&value) {
                keys.remove(key);
                if keys.is_empty() {
                    self.keys.remove(&value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use parking_lot::Mutex;

    use super::*;

    fn pod(name: &str, version: &str, node: &str) -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"namespace": "d", "name": name, "resourceVersion": version},
            "spec": {"nodeName": node, "containers": []},
        }))
        .unwrap()
    }

    #[test]
    fn a_fresh_list_becomes_changes_and_indices() {
        let cache = Cache::<Pod>::default();
        cache.index("node", |pod| pod.spec.iter().filter_map(|spec| spec.node_name.clone()).collect());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        cache.subscribe(move |change| {
            let what = match change {
                Change::Added(_) => "added",
                Change::Changed { .. } => "changed",
                Change::Removed(_) => "removed",
            };
            log.lock().push(format!("{what} {}", Key::of(&**change.object())));
        });
        cache.preset([pod("a", "1", "n1"), pod("b", "1", "n1"), pod("c", "1", "n1")]);
        cache.preset([pod("a", "1", "n1"), pod("b", "2", "n2")]);
        assert_eq!(*seen.lock(), ["added d/a", "added d/b", "added d/c", "removed d/c", "changed d/b"]);
        let on = |node: &str| {
            cache.by("node", node).iter().map(|pod| Key::of(&**pod).to_string()).collect::<Vec<_>>()
        };
        assert_eq!((on("n1"), on("n2"), on("n3")), (vec!["d/a".to_owned()], vec!["d/b".to_owned()], vec![]));
    }
}
