//! The objects a fresh server makes by itself.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::server::Server;

/// Namespaces that every cluster has.
const NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];

/// The pause before the store is asked again after it failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Makes what is missing, then drops `made`.
///
/// # Errors
/// None: it is tried again until it works.
pub async fn run(server: Arc<Server>, made: daemon::ready::Gate) -> anyhow::Result<()> {
    for name in NAMESPACES {
        loop {
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            match server.create("", "namespaces", object).await {
                Ok(_) => break,
                Err(fault) if fault.reason == "AlreadyExists" => break,
                Err(fault) => tracing::warn!("could not make namespace {name}: {fault}"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    drop(made);
    std::future::pending().await
}
