//! Listening, and the gRPC services on what is accepted.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use daemon::Context;
use futures::{Stream, TryStreamExt};
use proto::etcd::etcdserverpb::cluster_server::ClusterServer;
use proto::etcd::etcdserverpb::kv_server::KvServer;
use proto::etcd::etcdserverpb::lease_server::LeaseServer;
use proto::etcd::etcdserverpb::maintenance_server::MaintenanceServer;
use proto::etcd::etcdserverpb::watch_server::WatchServer;
use sqlx::sqlite::SqlitePool;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream, UnixListenerStream};
use tonic::transport::Server;
use tonic::transport::server::Connected;

use crate::MOST_BYTES;
use crate::commit::{Commits, Shared};
use crate::config::{Tls, Url};

use authority::Lenient;

mod authority;
mod kv;
mod lease;
mod maintenance;
mod tls;
mod watch;

/// What a message may have beyond the request it carries before it is refused unread, as etcd has it.
const MARGIN: usize = 512 * 1024;

/// How often a connection over TCP is tested: a vanished peer's watches must not stay for ever.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// How long the peer may take to answer such a test.
const HEARTBEAT_PATIENCE: Duration = Duration::from_secs(20);

/// Connections that may wait between TLS and gRPC.
const MOST_WAITING: usize = 16;

/// What every gRPC service works on.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) context: Context,
    pub(crate) commits: Commits,
    pub(crate) readers: SqlitePool,
    pub(crate) shared: Shared,
    pub(crate) data: PathBuf,
    /// Where clients reach us.
    pub(crate) urls: Arc<[String]>,
}

impl Service {
    /// Listens on a URL and serves what connects there.
    pub(crate) async fn listen(&self, url: &Url, tls: Option<&Tls>) -> anyhow::Result<()> {
        match url {
            Url::Unix(path) => {
                let listener = unix(path).await?;
                self.serve(UnixListenerStream::new(listener), None);
            }
            Url::Http(address) => {
                self.serve(TcpListenerStream::new(tcp(address).await?), Some(HEARTBEAT));
            }
            Url::Https(address) => {
                let tls = tls.context("https needs --cert-file and --key-file")?;
                let accepted = self.accept_tls(tcp(address).await?, tls.clone())?;
                self.serve(accepted, Some(HEARTBEAT));
            }
        }
        tracing::info!("serving etcd v3 on {url}");
        Ok(())
    }

    fn serve<S, C>(&self, connections: S, heartbeat: Option<Duration>)
    where
        S: Stream<Item = io::Result<C>> + Send + 'static,
        C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        let most = MOST_BYTES + MARGIN;
        let router = Server::builder()
            .http2_keepalive_interval(heartbeat)
            .http2_keepalive_timeout(Some(HEARTBEAT_PATIENCE))
            .add_service(KvServer::new(self.clone()).max_decoding_message_size(most))
            .add_service(WatchServer::new(self.clone()))
            .add_service(LeaseServer::new(self.clone()))
            .add_service(MaintenanceServer::new(self.clone()))
            .add_service(ClusterServer::new(self.clone()));
        let drain = self.context.drain();
        self.context.spawn("serve", async move {
            router
                .serve_with_incoming_shutdown(connections.map_ok(Lenient::new), async move {
                    drain.signaled().await
                })
                .await
                .context("could not go on serving")
        });
    }

    /// Connections on which TLS has been agreed; each agrees on its own, so a slow one holds up nobody.
    fn accept_tls(&self, listener: TcpListener, tls: Tls) -> anyhow::Result<ReceiverStream<tls::Accepted>> {
        // Read once before anybody connects, so that a wrong file is named at start.
        tls::acceptor(&tls)?;
        let (ready, accepted) = mpsc::channel(MOST_WAITING);
        let context = self.context.clone();
        self.context.spawn("accept", async move {
            loop {
                let (stream, peer) = listener.accept().await.context("could not accept a connection")?;
                let (tls, ready) = (tls.clone(), ready.clone());
                context.spawn_isolated("tls", async move {
                    match tls::agree(&tls, stream).await {
                        Ok(stream) => drop(ready.send(Ok(stream)).await),
                        Err(error) => tracing::warn!("refused a connection from {peer}: {error:#}"),
                    }
                    Ok(())
                });
            }
        });
        Ok(ReceiverStream::new(accepted))
    }
}

async fn tcp(address: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("could not listen on {address}; is the port in use? choose another in --listen-client-urls")
    })
}

/// Listens on a socket file that only its owner may use; one that a dead process left behind is replaced.
async fn unix(path: &Path) -> anyhow::Result<UnixListener> {
    let named = || format!("could not listen on {}", path.display());
    if path.exists() {
        if UnixStream::connect(path).await.is_ok() {
            bail!("{} is in use by another process; choose another in --listen-client-urls", path.display());
        }
        std::fs::remove_file(path).with_context(named)?;
    }
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).with_context(named)?;
    }
    let listener = UnixListener::bind(path).with_context(named)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).with_context(named)?;
    Ok(listener)
}
