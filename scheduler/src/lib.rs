//! Gives each pod that has no node the node that fits it best.
//!
//! The decision is a pure function ([`cycle`]) over one table of [`plugin`]s; the [`driver`] feeds it from
//! caches and writes what it decides.

use std::process::ExitCode;

use anyhow::Context as _;
use daemon::{Context, Threads};

pub mod config;
mod cycle;
mod driver;
mod plugin;
mod request;

pub use config::Settings;

/// The daemon's name.
pub const NAME: &str = "scheduler";

/// Runs the daemon from its command line to its exit code.
pub fn main(args: Vec<String>) -> ExitCode {
    daemon::main(NAME, Threads::One, args, run)
}

/// Runs until drained.
pub async fn run(settings: Settings, context: Context) -> anyhow::Result<()> {
    let client = client::connect(&settings.kubeconfig, "isopod-scheduler")
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
    driver::start(&settings, &context, client);
    context.finished().await
}
