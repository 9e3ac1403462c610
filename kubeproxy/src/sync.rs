//! Keeps the rules in the kernel equal to what the API server says, one transaction per burst of changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client::k8s_openapi::api::core::v1 as core;
use client::k8s_openapi::api::discovery::v1::EndpointSlice;
use client::{Cache, Key};
use daemon::ready::Gate;
use nft::Nft;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::assembly::Assembly;
use crate::conntrack;
use crate::health::Servers;
use crate::model::{SERVICE_NAME, Service};
use crate::plan::{self, Options};

/// The pause before another try when the kernel refuses the whole table: long enough not to burn a core on a fault
/// that only a change of some Service mends, short enough not to be noticed where it was a passing one.
const RETRY: Duration = Duration::from_secs(5);

/// The index of slices by the Service they belong to.
const BY_SERVICE: &str = "service";

/// Services and slices as they arrive, and which Services have changed since somebody last asked.
#[derive(Debug)]
pub struct Source {
    services: Cache<core::Service>,
    slices: Cache<EndpointSlice>,
    node: String,
    pending: Arc<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    keys: Mutex<BTreeSet<Key>>,
    wake: Notify,
}

/// What is in the kernel, and the means to change it.
#[derive(Debug)]
pub struct Proxy {
    nft: Nft,
    options: Options,
    assembly: Assembly,
    services: BTreeMap<Key, Service>,
    servers: Servers,
    counts: Arc<Counts>,
    /// Whether the kernel holds something else than `assembly` says.
    astray: bool,
    /// Whether the rules were complete before: only then is it known which endpoints went.
    begun: bool,
}

#[derive(Debug, Default)]
struct Counts {
    services: AtomicU64,
    transactions: AtomicU64,
    failures: AtomicU64,
}

impl Pending {
    fn add(&self, key: Key) {
        self.keys.lock().insert(key);
        self.wake.notify_one();
    }
}

impl Source {
    /// Reads from these caches for the node called `node`.
    pub fn new(services: Cache<core::Service>, slices: Cache<EndpointSlice>, node: String) -> Self {
        let pending = Arc::new(Pending::default());
        slices.index(BY_SERVICE, |slice| owner(slice).iter().map(ToString::to_string).collect());
        let waiting = Arc::clone(&pending);
        services.subscribe(move |change| waiting.add(Key::of(&**change.object())));
        let waiting = Arc::clone(&pending);
        slices.subscribe(move |change| {
            if let Some(key) = owner(change.object()) {
                waiting.add(key);
            }
        });
        Self { services, slices, node, pending }
    }

    /// The Services that have changed, once there are some.
    async fn changed(&self) -> BTreeSet<Key> {
        loop {
            let keys = std::mem::take(&mut *self.pending.keys.lock());
            if !keys.is_empty() {
                return keys;
            }
            self.pending.wake.notified().await;
        }
    }

    fn service(&self, key: &Key) -> Option<Service> {
        let service = self.services.get(key)?;
        let slices = self.slices.by(BY_SERVICE, &key.to_string());
        Service::of(&service, &slices, &self.node)
    }
}

/// The Service that a slice is about.
fn owner(slice: &EndpointSlice) -> Option<Key> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some(Key::new(slice.metadata.namespace.as_deref().unwrap_or_default(), name))
}

impl Proxy {
    /// A proxy that knows no Service yet.
    pub fn new(nft: Nft, options: Options, context: daemon::Context) -> Self {
        let counts = Arc::new(Counts::default());
        let shown = Arc::clone(&counts);
        context.metrics(move |out| shown.write(out));
        let assembly = Assembly::new(plan::frame(&options));
        let servers = Servers::new(context);
        Self {
            nft,
            options,
            assembly,
            services: BTreeMap::new(),
            servers,
            counts,
            astray: true,
            begun: false,
        }
    }

    /// Follows the source for ever; drops the gate once the rules are complete for the first time.
    ///
    /// # Errors
    /// None; the type fits what spawns it.
    pub async fn run(mut self, source: Source, gate: Gate) -> anyhow::Result<()> {
        source.services.synced().await;
        source.slices.synced().await;
        // What the lists held has been noted as changed; without any Service nothing was.
        let mut keys = std::mem::take(&mut *source.pending.keys.lock());
        let mut gate = Some(gate);
        loop {
            match self.sync(&source, keys).await {
                Ok(()) => drop(gate.take()),
                Err(error) => {
                    self.counts.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::error!("could not apply the rules, those before stay in force: {error}");
                }
            }
            keys = if self.astray {
                tokio::time::timeout(RETRY, source.changed()).await.unwrap_or_default()
            } else {
                source.changed().await
            };
        }
    }

    /// Brings the kernel up to date with these Services.
    async fn sync(&mut self, source: &Source, keys: BTreeSet<Key>) -> Result<(), nft::ApplyError> {
        let mut parts = Vec::new();
        let mut flows = BTreeSet::new();
        for key in keys {
            let new = source.service(&key);
            let old = self.services.remove(&key);
            if old == new {
                self.services.extend(new.map(|new| (key, new)));
                continue;
            }
            flows.extend(conntrack::stale(old.as_ref(), new.as_ref()));
            self.servers.set(&key, new.as_ref());
            parts.push((key.clone(), new.as_ref().map(|new| plan::part(new, &self.options))));
            self.services.extend(new.map(|new| (key, new)));
        }
        self.counts.services.store(self.services.len() as u64, Ordering::Relaxed);
        let transaction = self.assembly.update(parts);
        if !self.astray {
            match self.apply(&transaction).await {
                Ok(()) => {
                    forget(flows).await;
                    return Ok(());
                }
                Err(error) => {
                    tracing::warn!("a change of the rules was refused, so all are made anew: {error}");
                    self.astray = true;
                }
            }
        }
        self.apply(&nft::replace(&self.assembly.whole())).await?;
        self.astray = false;
        if !std::mem::replace(&mut self.begun, true) {
            flows = conntrack::strays(&conntrack::list().await, self.services.values());
        }
        forget(flows).await;
        Ok(())
    }

    async fn apply(&self, transaction: &nft::Transaction) -> Result<(), nft::ApplyError> {
        if !transaction.is_empty() {
            self.counts.transactions.fetch_add(1, Ordering::Relaxed);
        }
        self.nft.apply(transaction).await
    }
}

async fn forget(flows: BTreeSet<conntrack::Flows>) {
    for flows in flows {
        flows.forget().await;
    }
}

impl Counts {
    fn write(&self, out: &mut String) {
        for (name, kind, help, value) in [
            ("kubeproxy_services", "gauge", "Services that are proxied.", &self.services),
            ("kubeproxy_sync_total", "counter", "Transactions given to nft.", &self.transactions),
            ("kubeproxy_sync_failures_total", "counter", "Rule sets that nft refused.", &self.failures),
        ] {
            let value = value.load(Ordering::Relaxed);
            out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"));
        }
    }
}
