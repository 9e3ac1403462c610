//! The service proxy daemon: makes Services work on one node, as nftables sets and maps.
//!
//! Caches of Services and EndpointSlices feed keys to [`sync`], which boils each Service down to a [`model`], turns
//! that into rules with [`plan`], and applies the difference to what is in the kernel as one transaction. The rules
//! stay when the process dies; the next one replaces them in one step.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use client::Cache;
use client::k8s_openapi::api::core::v1::Service;
use client::k8s_openapi::api::discovery::v1::EndpointSlice;
use client::kube::Api;
use client::kube::runtime::watcher;
use daemon::{Context, Threads};
use nft::{Family, Nft};

pub mod assembly;
pub mod config;
pub mod conntrack;
pub mod health;
pub mod model;
pub mod plan;
pub mod requirement;
pub mod route;
pub mod sync;

/// The daemon's name.
pub const NAME: &str = "kubeproxy";

/// Runs the daemon from its command line to its exit code.
pub fn main(args: Vec<String>) -> ExitCode {
    daemon::main(NAME, Threads::One, args, run)
}

/// Runs until drained.
///
/// # Errors
/// Where the node lacks something the rules need, or a task fails.
pub async fn run(settings: config::Settings, context: Context) -> anyhow::Result<()> {
    let config::Settings { kubeconfig, node, options, cleanup, healthz, metrics } = settings;
    let nft = Nft::default();
    let netlink = route::connect(&context)?;
    if cleanup {
        nft.apply(&nft::remove(Family::Ip, plan::TABLE)).await.context("could not remove the rules")?;
        route::withdraw(&netlink, &options).await?;
        return Ok(());
    }
    route::fence(&netlink, &options).await?;
    requirement::check(&nft).await?;
    let synced = context.gate("services and endpoints");
    for address in [healthz, metrics].into_iter().flatten() {
        context.serve_admin(address).await?;
    }
    let client = client::connect(Path::new(&kubeconfig), "isopod-kubeproxy").await?;
    let (services, slices) = (Cache::<Service>::default(), Cache::<EndpointSlice>::default());
    let source = sync::Source::new(services.clone(), slices.clone(), node);
    // Headless Services and their slices have nothing to proxy; upstream leaves them out the same way.
    let proxied = format!("!{}", model::PROXY_NAME);
    let config = || watcher::Config::default().labels(&proxied);
    let headed = watcher::Config::default().labels(&format!("{proxied},!{}", model::HEADLESS));
    context.spawn("services", services.follow(Api::all(client.clone()), config()));
    context.spawn("endpoint slices", slices.follow(Api::all(client), headed));
    let proxy = sync::Proxy::new(nft, options, context.clone());
    context.spawn("sync", proxy.run(source, synced));
    context.finished().await
}
