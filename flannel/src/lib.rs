//! The pod network daemon and its CNI plugins.
//!
//! The daemon follows the Nodes: it announces where this node can be reached in annotations that upstream flannel
//! understands, gives the kernel the routes to the pods of all others ([`plan`]), and leaves what the plugins ([`cni`])
//! need in two files. All of it is in the kernel and in files, so pods go on while the daemon is away.

use std::path::Path;
use std::process::ExitCode;

use client::Cache;
use client::k8s_openapi::api::core::v1::Node;
use client::kube::Api;
use client::kube::runtime::watcher;
use daemon::{Context, Threads};

pub mod cleanup;
pub mod cni;
pub mod config;
pub mod device;
pub mod file;
pub mod interface;
pub mod lease;
pub mod masquerade;
pub mod netlink;
pub mod plan;
pub mod sync;

/// The daemon's name.
pub const NAME: &str = "flannel";

/// Runs the daemon from its command line to its exit code.
pub fn main(args: Vec<String>) -> ExitCode {
    daemon::main(NAME, Threads::One, args, run)
}

/// Runs until drained.
///
/// # Errors
/// Where the node lacks something the network needs, or a task fails.
pub async fn run(settings: config::Settings, context: Context) -> anyhow::Result<()> {
    if settings.cleanup {
        return cleanup::cleanup(&settings).await;
    }
    let network = context.gate("the pod network");
    if let Some(address) = settings.healthz {
        context.serve_admin(address).await?;
    }
    let client = client::connect(Path::new(&settings.kubeconfig), "isopod-flannel").await?;
    let nodes = Cache::<Node>::default();
    let driver = sync::Driver::new(settings, client.clone(), nodes.clone(), network)?;
    context.spawn("nodes", nodes.follow(Api::all(client), watcher::Config::default()));
    context.spawn("sync", driver.run());
    context.finished().await
}
