//! What the API server says, followed, and put in force as one table of routes and one shelf of certificates.

use std::collections::BTreeSet;
use std::sync::Arc;

use client::kube::runtime::watcher;
use client::kube::{Api, Client};
use client::{Cache, Key};
use daemon::ready::Gate;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::certificate::{Read, Resolver};
use crate::endpoint;
use crate::forward::Proxy;
use crate::model::{Ingress, IngressClass, Node, SERVICE_NAME, Secret, Service, Slice};
use crate::plan::{self, Classes};
use crate::route::{BackendName, Table};

/// The index of slices by the Service they belong to.
const BY_SERVICE: &str = "service";

/// The caches of this process.
#[derive(Debug, Clone, Default)]
pub struct Caches {
    pub ingresses: Cache<Ingress>,
    pub classes: Cache<IngressClass>,
    pub services: Cache<Service>,
    pub slices: Cache<Slice>,
    pub secrets: Cache<Secret>,
    pub nodes: Cache<Node>,
}

impl Caches {
    /// Follows the API server until the process drains.
    pub fn follow(&self, context: &daemon::Context, client: &Client) {
        let any = watcher::Config::default;
        // Other Secrets are none of our business, and may be large.
        let certificates = any().fields("type=kubernetes.io/tls");
        let all = self.clone();
        context.spawn("ingresses", all.ingresses.follow(Api::all(client.clone()), any()));
        context.spawn("ingress classes", all.classes.follow(Api::all(client.clone()), any()));
        context.spawn("services", all.services.follow(Api::all(client.clone()), any()));
        context.spawn("endpoint slices", all.slices.follow(Api::all(client.clone()), any()));
        context.spawn("secrets", all.secrets.follow(Api::all(client.clone()), certificates));
        context.spawn("nodes", all.nodes.follow(Api::all(client.clone()), any()));
    }

    /// Returns once all of them hold a whole list.
    pub async fn synced(&self) {
        self.ingresses.synced().await;
        self.classes.synced().await;
        self.services.synced().await;
        self.slices.synced().await;
        self.secrets.synced().await;
        self.nodes.synced().await;
    }

    /// The Ingresses that are for us.
    pub fn ours(&self, own_class: &str) -> Vec<Arc<Ingress>> {
        let classes = Classes::of(&self.classes.list(), own_class);
        let mut ingresses = self.ingresses.list();
        ingresses.retain(|ingress| classes.has(ingress) && ingress.metadata.deletion_timestamp.is_none());
        ingresses
    }
}

/// Wakes the one who makes tables, but only for what its last one was made of.
#[derive(Debug, Default)]
struct Bell {
    wake: Notify,
    services: Mutex<BTreeSet<Key>>,
    secrets: Mutex<BTreeSet<Key>>,
}

impl Bell {
    fn hang(self: &Arc<Self>, caches: &Caches) {
        let bell = || Arc::clone(self);
        let (a, b, c, d, e) = (bell(), bell(), bell(), bell(), bell());
        caches.ingresses.subscribe(move |_| a.wake.notify_one());
        caches.classes.subscribe(move |_| b.wake.notify_one());
        caches.services.subscribe(move |change| c.ring(&c.services, &Key::of(&**change.object())));
        caches.secrets.subscribe(move |change| d.ring(&d.secrets, &Key::of(&**change.object())));
        caches.slices.subscribe(move |change| {
            if let Some(key) = owner(change.object()) {
                e.ring(&e.services, &key);
            }
        });
    }

    fn ring(&self, wanted: &Mutex<BTreeSet<Key>>, key: &Key) {
        if wanted.lock().contains(key) {
            self.wake.notify_one();
        }
    }
}

/// The Service that a slice is about.
fn owner(slice: &Slice) -> Option<Key> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some(Key::new(slice.metadata.namespace.as_deref().unwrap_or_default(), name))
}

/// Keeps routes and certificates at what the caches say; drops the gate once that is so for the first time.
///
/// # Errors
/// None; the type fits what spawns it.
pub async fn run(
    caches: Caches,
    own_class: String,
    proxy: Arc<Proxy>,
    resolver: Arc<Resolver>,
    gate: Gate,
) -> anyhow::Result<()> {
    caches.slices.index(BY_SERVICE, |slice| owner(slice).iter().map(ToString::to_string).collect());
    let bell = Arc::new(Bell::default());
    bell.hang(&caches);
    caches.synced().await;
    let mut gate = Some(gate);
    let mut read = Read::default();
    loop {
        let plan = plan::plan(caches.ours(&own_class));
        // Made known before the caches are read: what changes after that rings the bell.
        *bell.services.lock() = plan.services();
        *bell.secrets.lock() = plan.certificates.iter().map(|(_, key)| key.clone()).collect();
        let addresses = |name: &BackendName| addresses(&caches, name);
        proxy.replace(Table::new(plan.rules, plan.fallback.as_ref(), addresses, &proxy.table()));
        resolver.replace(&mut read, &plan.certificates, |key| caches.secrets.get(key));
        proxy.counts().reloaded();
        drop(gate.take());
        bell.wake.notified().await;
    }
}

fn addresses(caches: &Caches, name: &BackendName) -> Vec<std::net::SocketAddr> {
    let slices = caches.slices.by(BY_SERVICE, &name.service.to_string());
    let service = caches.services.get(&name.service);
    service.map(|service| endpoint::addresses(&service, &slices, &name.port)).unwrap_or_default()
}
