//! The API server: Kubernetes' API over a store with etcd's semantics.
//!
//! A request passes `serve` (TLS, HTTP), `request` (what it asks for), `authn`, `authz`, then `handler`: either a `route`,
//! or the generic `registry` with `kind` (behaviour), `admission` and `subresource`, over the store. Reads and watches are
//! answered from `cache`, which holds each object once, as encoded bytes, and which `source` keeps at the store's heels.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use daemon::{Context, Threads};
use store::Store;
use tokio::net::TcpListener;

pub mod admission;
mod allocate;
pub mod authn;
pub mod authz;
pub mod backend;
pub mod body;
pub mod bootstrap;
pub mod cache;
pub mod config;
pub mod convert;
mod discovery;
pub mod fault;
pub mod field;
pub mod handler;
mod health;
pub mod kind;
pub mod name;
pub mod negotiation;
pub mod object;
mod openapi;
pub mod present;
pub mod print;
mod question;
pub mod registry;
pub mod request;
pub mod resource;
pub mod route;
pub mod select;
pub mod serve;
pub mod server;
pub mod source;
pub mod storage;
pub mod subresource;
mod supervisor;
mod tag;
pub mod tls;
pub mod token;
mod version;

pub use config::Settings;
pub use server::Server;

/// The daemon's name.
pub const NAME: &str = "apiserver";

/// Runs the daemon from its command line.
pub fn main(args: Vec<String>) -> ExitCode {
    daemon::main(NAME, Threads::Cores, args, run)
}

/// Serves until drained.
///
/// # Errors
/// Where a file, the port or the datastore cannot be used; the message names it.
pub async fn run(settings: Settings, context: Context) -> anyhow::Result<()> {
    let tls = tls::from_settings(&settings)?;
    let files = settings.etcd_cafile.clone().map(|ca| store::remote::Tls {
        ca,
        identity: settings.etcd_certfile.clone().zip(settings.etcd_keyfile.clone()),
    });
    let store = store::remote::Remote::connect(&settings.etcd_servers, files.as_ref())
        .await
        .context("--etcd-servers cannot be used")?;
    let (_, address) = start(settings, context.clone(), Arc::new(store), tls).await?;
    tracing::info!(%address, "serving the Kubernetes API");
    context.finished().await
}

/// Starts a server over a store; gives it and the address it listens on. Readiness waits for the first whole list.
///
/// # Errors
/// Where the address cannot be bound.
pub async fn start(
    settings: Settings,
    context: Context,
    store: Arc<dyn Store>,
    tls: Arc<rustls::ServerConfig>,
) -> anyhow::Result<(Arc<Server>, SocketAddr)> {
    let bind = SocketAddr::new(settings.bind_address, settings.secure_port);
    let listener = TcpListener::bind(bind).await.with_context(|| {
        format!("could not listen on {bind} (--bind-address, --secure-port); is the port in use?")
    })?;
    let address = listener.local_addr().context("could not read back the bound address")?;
    let synced = context.gate("cache");
    let made = context.gate("bootstrap");
    let server = Arc::new(Server::new(settings, context.clone(), store)?);
    context.spawn("cache", source::follow(Arc::clone(&server), synced));
    context.spawn("bootstrap", bootstrap::run(Arc::clone(&server), address.port(), made));
    context.spawn("listener", serve::serve(Arc::clone(&server), listener, tls));
    Ok((server, address))
}
