//! The table of controllers and the loop over it: adding a controller is one row and one file.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use client::kube;
use client::object::status_code;
use client::{Key, Next, Queue};

use crate::scene::Scene;
use crate::{
    csr, daemonset, deployment, endpoints, endpointslice, garbage, job, namespace, node_ipam, node_lifecycle,
    pod_gc, replicaset, role_aggregation, root_ca, serviceaccount, taint_eviction, ttl_after_finished,
};

/// A controller: its name as upstream has it, how many keys it works on at once, and what makes it.
struct Row {
    name: &'static str,
    workers: usize,
    build: fn(&Scene) -> anyhow::Result<Option<Reconciler>>,
}

const fn row(
    name: &'static str,
    workers: usize,
    build: fn(&Scene) -> anyhow::Result<Option<Reconciler>>,
) -> Row {
    Row { name, workers, build }
}

/// Every controller. Worker counts are upstream's, as far as a small machine can use them.
const CONTROLLERS: &[Row] = &[
    row("certificatesigningrequest-approving-controller", 1, csr::approval::build),
    row("certificatesigningrequest-cleaner-controller", 1, csr::cleaner::build),
    row("certificatesigningrequest-signing-controller", 1, csr::signer::build),
    row("clusterrole-aggregation-controller", 2, role_aggregation::build),
    row("daemonset-controller", 2, daemonset::build),
    row("deployment-controller", 5, deployment::build),
    row("endpoints-controller", 5, endpoints::build),
    row("endpointslice-controller", 5, endpointslice::build),
    row("garbage-collector-controller", 10, garbage::build),
    row("job-controller", 5, job::build),
    row("namespace-controller", 5, namespace::build),
    row("node-ipam-controller", 1, node_ipam::build),
    row("node-lifecycle-controller", 4, node_lifecycle::build),
    row("pod-garbage-collector-controller", 1, pod_gc::build),
    row("replicaset-controller", 5, replicaset::build),
    row("root-ca-certificate-publisher-controller", 1, root_ca::build),
    row("serviceaccount-controller", 1, serviceaccount::build),
    row("taint-eviction-controller", 4, taint_eviction::build),
    row("ttl-after-finished-controller", 2, ttl_after_finished::build),
];

/// The names of all controllers.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    CONTROLLERS.iter().map(|row| row.name)
}

type Work = Pin<Box<dyn Future<Output = anyhow::Result<Next>> + Send>>;

/// A controller ready to run: a queue that the caches feed, and what is done with each of its keys.
pub(crate) struct Reconciler {
    queue: Queue<Key>,
    reconcile: Box<dyn Fn(Key) -> Work + Send + Sync>,
}

impl Reconciler {
    /// A reconciler that calls `reconcile` with its state and a key and nothing else.
    pub(crate) fn new<S, F, Fut>(queue: Queue<Key>, state: S, reconcile: F) -> Self
    where
        S: Send + Sync + 'static,
        F: Fn(Arc<S>, Key) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = anyhow::Result<Next>> + Send + 'static,
    {
        let state = Arc::new(state);
        let reconcile = move |key| -> Work {
            let work = reconcile(Arc::clone(&state), key);
            Box::pin(async move {
                match work.await {
                    Err(error) if is_stale(&error) => {
                        tracing::debug!("the cache is behind: {error:#}");
                        Ok(Next::After(BEHIND))
                    }
                    outcome => outcome,
                }
            })
        };
        Self { queue, reconcile: Box::new(reconcile) }
    }
}

/// How soon a key comes again whose decision was made on an old version. The version that is on its way
/// usually wakes it before.
const BEHIND: Duration = Duration::from_millis(250);

/// Whether a write was refused because the object has changed since it was read.
fn is_stale(error: &anyhow::Error) -> bool {
    let conflict = |cause: &kube::Error| status_code(cause) == Some(409);
    error.chain().filter_map(|cause| cause.downcast_ref()).any(conflict)
}

/// Starts every controller that the settings ask for; each begins to work once the caches hold whole lists.
pub(crate) fn start(scene: &Arc<Scene>) -> anyhow::Result<()> {
    for row in CONTROLLERS.iter().filter(|row| scene.settings.controllers.has(row.name)) {
        let Some(Reconciler { queue, reconcile }) = (row.build)(scene)? else {
            tracing::info!(controller = row.name, "not started: its settings are absent");
            continue;
        };
        let scene_of_task = Arc::clone(scene);
        scene.context.spawn(row.name, async move {
            scene_of_task.caches.synced().await;
            client::controller::run(row.name, queue, row.workers, reconcile).await
        });
    }
    Ok(())
}
