//! Runs every built-in controller: each compares what is asked for with what is there, and acts on the difference.
//!
//! One process follows each kind once ([`caches`]); controllers are rows of one [`table`]. A controller is a
//! thin reconcile function and a pure `plan.rs` beside it that decides.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use daemon::{Context, Threads};

mod caches;
mod claim;
pub mod config;
mod csr;
mod daemonset;
mod deployment;
mod endpoints;
mod endpointslice;
mod expectation;
mod garbage;
mod history;
mod job;
mod namespace;
mod node_ipam;
mod node_lifecycle;
mod pod;
mod pod_gc;
mod pod_writer;
mod replicaset;
mod resources;
mod role_aggregation;
mod root_ca;
mod scene;
mod serviceaccount;
mod table;
mod taint;
mod taint_eviction;
mod ttl_after_finished;

pub use config::Settings;

/// The daemon's name.
pub const NAME: &str = "controller-manager";

/// Runs the daemon from its command line to its exit code.
pub fn main(args: Vec<String>) -> ExitCode {
    daemon::main(NAME, Threads::One, args, run)
}

/// Runs until drained.
pub async fn run(settings: Settings, context: Context) -> anyhow::Result<()> {
    let client = client::connect(&settings.kubeconfig, "isopod-controller-manager")
        .await
        .context("--kubeconfig is not usable")?;
    if let Some(address) = settings.health {
        context.serve_admin(address).await?;
    }
    run_with(settings, context, client).await
}

/// Runs until drained, on a client that is there already: what [`run`] does after reading the kubeconfig.
pub async fn run_with(
    settings: Settings,
    context: Context,
    client: client::kube::Client,
) -> anyhow::Result<()> {
    let scene = Arc::new(scene::Scene::new(settings, context.clone(), client));
    table::start(&scene)?;
    context.finished().await
}
