//! The ConfigMaps and Secrets that the node's pods refer to: each watched by name, while a pod needs it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use client::k8s_openapi::NamespaceResourceScope;
use client::k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Volume};
use client::kube::runtime::watcher;
use client::kube::{Api, Client, Resource};
use client::{Cache, Key};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::agent::Bells;
use crate::pod::env::Objects;
use crate::pod::{self, members};

/// How long a pod waits for the first sight of an object; then it says so and tries again.
const PATIENCE: Duration = Duration::from_secs(10);

/// The names that a pod refers to, in its namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    pub config_maps: BTreeSet<String>,
    pub secrets: BTreeSet<String>,
}

impl Needs {
    /// What a pod's volumes, environment and pulls refer to.
    pub fn of(pod: &Pod) -> Self {
        let spec = pod::spec(pod);
        let mut out = Self::default();
        for volume in spec.volumes.iter().flatten() {
            out.add_volume(volume);
        }
        out.secrets.extend(spec.image_pull_secrets.iter().flatten().map(|secret| secret.name.clone()));
        for member in members(&spec) {
            for source in member.container.env_from.iter().flatten() {
                out.config_maps.extend(source.config_map_ref.iter().map(|from| from.name.clone()));
                out.secrets.extend(source.secret_ref.iter().map(|from| from.name.clone()));
            }
            let sources =
                member.container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref());
            for source in sources {
                out.config_maps.extend(source.config_map_key_ref.iter().map(|from| from.name.clone()));
                out.secrets.extend(source.secret_key_ref.iter().map(|from| from.name.clone()));
            }
        }
        out.config_maps.remove("");
        out.secrets.remove("");
        out
    }

    fn add_volume(&mut self, volume: &Volume) {
        self.config_maps.extend(volume.config_map.iter().map(|from| from.name.clone()));
        self.secrets.extend(volume.secret.iter().filter_map(|from| from.secret_name.clone()));
        for source in volume.projected.iter().filter_map(|projected| projected.sources.as_ref()).flatten() {
            self.config_maps.extend(source.config_map.iter().map(|from| from.name.clone()));
            self.secrets.extend(source.secret.iter().map(|from| from.name.clone()));
        }
    }
}

/// The watched objects.
pub struct References {
    client: Option<Client>,
    config_maps: Watches<ConfigMap>,
    secrets: Watches<Secret>,
}

impl fmt::Debug for References {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("References")
            .field("config_maps", &self.config_maps)
            .field("secrets", &self.secrets)
            .finish_non_exhaustive()
    }
}

/// An object was not seen in time.
#[derive(Debug, thiserror::Error)]
#[error("failed to sync {kind} cache: timed out waiting for the condition")]
pub struct Unseen {
    kind: &'static str,
}

impl References {
    pub fn new(context: &daemon::Context, client: Option<Client>, bells: &Bells) -> Self {
        Self { client, config_maps: Watches::new(context, bells), secrets: Watches::new(context, bells) }
    }

    /// Makes what a pod refers to be watched, and what it no longer refers to forgotten.
    pub fn hold(&self, uid: &Arc<str>, namespace: &str, needs: &Needs) {
        let Some(client) = &self.client else { return };
        self.config_maps.hold(client, uid, namespace, &needs.config_maps);
        self.secrets.hold(client, uid, namespace, &needs.secrets);
    }

    /// Forgets a pod.
    pub fn release(&self, uid: &Arc<str>) {
        if let Some(client) = &self.client {
            self.config_maps.hold(client, uid, "", &BTreeSet::new());
            self.secrets.hold(client, uid, "", &BTreeSet::new());
        }
    }

    /// The objects as they are now.
    ///
    /// # Errors
    /// Where one has not been seen in time, as when the API server is away.
    pub async fn objects(&self, namespace: &str, needs: &Needs) -> Result<Objects, Unseen> {
        let mut out = Objects::default();
        for name in &needs.config_maps {
            let found =
                self.config_maps.get(&Key::new(namespace, name)).await.ok_or(Unseen { kind: "configmap" })?;
            out.config_maps.extend(found.map(|map| (name.clone(), map)));
        }
        for name in &needs.secrets {
            let found =
                self.secrets.get(&Key::new(namespace, name)).await.ok_or(Unseen { kind: "secret" })?;
            out.secrets.extend(found.map(|secret| (name.clone(), secret)));
        }
        Ok(out)
    }
}

/// The watches of one kind.
#[derive(Debug)]
struct Watches<K> {
    context: daemon::Context,
    bells: Bells,
    entries: Mutex<HashMap<Key, Entry<K>>>,
}

#[derive(Debug)]
struct Entry<K> {
    cache: Cache<K>,
    users: Arc<Mutex<HashSet<Arc<str>>>>,
    /// The watch ends when this is dropped.
    _alive: oneshot::Sender<()>,
}

impl<K> Watches<K>
where
    K: client::cache::Kind + Resource<Scope = NamespaceResourceScope>,
{
    fn new(context: &daemon::Context, bells: &Bells) -> Self {
        Self { context: context.clone(), bells: bells.clone(), entries: Mutex::default() }
    }

    fn hold(&self, client: &Client, uid: &Arc<str>, namespace: &str, names: &BTreeSet<String>) {
        let mut entries = self.entries.lock();
        entries.retain(|key, entry| {
            let mut users = entry.users.lock();
            if !(*key.namespace == *namespace && names.contains(&*key.name)) {
                users.remove(uid);
            }
            !users.is_empty()
        });
        for name in names {
            let entry = entries
                .entry(Key::new(namespace, name))
                .or_insert_with(|| self.watch(Api::namespaced(client.clone(), namespace), name));
            entry.users.lock().insert(Arc::clone(uid));
        }
    }

    fn watch(&self, api: Api<K>, name: &str) -> Entry<K> {
        let cache = Cache::default();
        let users: Arc<Mutex<HashSet<Arc<str>>>> = Arc::default();
        let (bells, concerned) = (self.bells.clone(), Arc::clone(&users));
        cache.subscribe(move |_| {
            for uid in concerned.lock().iter() {
                if let Some(bell) = bells.get(uid) {
                    bell.ring_for_news();
                }
            }
        });
        let (alive, ended) = oneshot::channel();
        let following =
            cache.clone().follow(api, watcher::Config::default().fields(&format!("metadata.name={name}")));
        self.context.spawn_isolated("watch of an object", async move {
            tokio::select! {
                outcome = following => outcome,
                _ = ended => Ok(()),
            }
        });
        Entry { cache, users, _alive: alive }
    }

    /// The object, or that there is none; nothing where that is not known.
    async fn get(&self, key: &Key) -> Option<Option<Arc<K>>> {
        let cache = self.entries.lock().get(key).map(|entry| entry.cache.clone())?;
        tokio::time::timeout(PATIENCE, cache.synced()).await.ok()?;
        Some(cache.get(key))
    }
}
