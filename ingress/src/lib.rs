//! The Ingress daemon: HTTP and HTTPS from outside, by host and path, straight to the pods of Services.
//!
//! Caches ([`view`]) are boiled down to rules ([`plan`]) and those, with the addresses behind each Service
//! ([`endpoint`]), to one table ([`route`]) that is swapped whole. A connection ([`serve`]) gets its certificate
//! by name ([`certificate`]); each request on it ([`forward`]) is routed by the table of that moment and sent over a
//! kept connection ([`pool`]), to another pod where one cannot be reached. [`status`] tells where it all is.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use daemon::{Context, Threads};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

pub mod activity;
pub mod body;
pub mod certificate;
pub mod config;
pub mod endpoint;
pub mod forward;
pub mod header;
pub mod metric;
pub mod model;
pub mod plan;
pub mod pool;
pub mod route;
pub mod serve;
pub mod status;
pub mod view;

/// The daemon's name.
pub const NAME: &str = "ingress";

/// How long a pod may be silent before its answer begins: longer than any page takes, so that only a pod that hangs
/// meets it.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// The two listeners.
#[derive(Debug)]
pub struct Listeners {
    pub http: TcpListener,
    pub https: TcpListener,
}

/// Runs the daemon from its command line to its exit code.
pub fn main(args: Vec<String>) -> ExitCode {
    daemon::main(NAME, Threads::Cores, args, run)
}

/// Runs until drained.
///
/// # Errors
/// Where a port is in use or the kubeconfig cannot be used; the message names it.
pub async fn run(settings: config::Settings, context: Context) -> anyhow::Result<()> {
    let config::Settings { kubeconfig, http, https, identity, healthz } = settings;
    let listeners = Listeners {
        http: serve::bind(http, "--http-port").await?,
        https: serve::bind(https, "--https-port").await?,
    };
    if let Some(address) = healthz {
        context.serve_admin(address).await?;
    }
    let client = client::connect(Path::new(&kubeconfig), "isopod-ingress").await?;
    start(&context, client, listeners, identity, PATIENCE)?;
    context.finished().await
}

/// Starts everything on sockets that are bound already; a pod may be silent for as long as `patience`.
///
/// # Errors
/// Where the certificate that nobody asked for cannot be made.
pub fn start(
    context: &Context,
    client: client::kube::Client,
    listeners: Listeners,
    identity: status::Identity,
    patience: Duration,
) -> anyhow::Result<()> {
    let synced = context.gate("caches");
    let caches = view::Caches::default();
    caches.follow(context, &client);
    let pool = pool::Pool::new(context.clone());
    let proxy = forward::Proxy::new(context.clone(), Arc::clone(&pool), patience);
    let resolver = Arc::new(certificate::Resolver::new()?);
    let tls = TlsAcceptor::from(certificate::server(Arc::clone(&resolver))?);
    let routes = view::run(caches.clone(), identity.class.clone(), Arc::clone(&proxy), resolver, synced);
    context.spawn("routes", routes);
    context.spawn("status", status::run(caches, client, identity));
    context.spawn_draining("pool", pool.tidy());
    let places = Arc::new(Semaphore::new(serve::places()));
    let Listeners { http, https } = listeners;
    context.spawn("http", serve::serve(Arc::clone(&proxy), http, None, Arc::clone(&places)));
    context.spawn("https", serve::serve(proxy, https, Some(tls), places));
    Ok(())
}
