//! The listeners: TLS, HTTP/1.1 and HTTP/2, and the limits on who is let in for how long.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustix::net::sockopt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::activity::Activity;
use crate::forward::Proxy;
use crate::header::Origin;

/// How many clients may be connected: beyond that they wait in the kernel's queue. At some 50 KiB each for TLS this
/// is what a small machine can bear.
const MOST_CONNECTIONS: u64 = 4096;

/// Open files that are not connections: listeners, the API server, the runtime's own.
const OTHER_FILES: u64 = 64;

/// Open files that one client may cost: its own connection and one to a pod.
const FILES_EACH: u64 = 2;

/// How long a client may take for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a client may be silent between requests, or take for the head of one.
const QUIET: Duration = Duration::from_secs(60);

/// How long requests may go on once the process is asked to end: within the time that all of it has for that.
const DRAIN: Duration = Duration::from_secs(15);

/// How long a connection may take to say goodbye.
const PARTING: Duration = Duration::from_secs(5);

/// The longest head of a request: browsers and servers agree on less. Bytes.
const MOST_HEAD: usize = 64 * 1024;

/// How many requests a client may have running on one HTTP/2 connection.
const MOST_STREAMS: u32 = 128;

/// How many bytes of one request's body may be on their way over HTTP/2.
const STREAM_WINDOW: u32 = 256 * 1024;

/// How many bytes of all bodies of one HTTP/2 connection may be on their way.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// The pause after a connection could not be accepted, mostly for want of files: closing some takes a moment.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// After how long a silent client is asked by the kernel whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Binds a listener; `flag` is what the port was given by.
///
/// # Errors
/// Where that is not possible; the message names address and flag.
pub async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("could not listen on {address} (--bind-address, {flag}); is the port in use by another web server?")
    })
}

/// How many clients may be connected with the open files that this process may have; raises that as far as allowed.
pub fn places() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    let wanted = most.min(OTHER_FILES + FILES_EACH * MOST_CONNECTIONS);
    let mut granted = limit.current.unwrap_or(u64::MAX);
    if granted < wanted
        && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }).is_ok()
    {
        granted = wanted;
    }
    usize::try_from(connections(granted)).unwrap_or(1)
}

fn connections(files: u64) -> u64 {
    (files.saturating_sub(OTHER_FILES) / FILES_EACH).clamp(1, MOST_CONNECTIONS)
}

/// Answers what comes to `listener`, once there are routes, until the process drains; then the running requests have
/// [`DRAIN`] to end.
///
/// # Errors
/// None short of a bug: what goes wrong with one connection does not touch the others.
pub async fn serve(
    proxy: Arc<Proxy>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    places: Arc<Semaphore>,
) -> anyhow::Result<()> {
    proxy.routed().await;
    loop {
        let place = Arc::clone(&places).acquire_owned().await.context("the places are gone")?;
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("could not accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (proxy, tls) = (Arc::clone(&proxy), tls.clone());
        let context = proxy.context().clone();
        context.spawn_draining("connection", async move {
            let activity = Activity::in_place(place);
            if let Err(error) = connection(proxy, stream, from, tls, activity).await {
                tracing::debug!(%from, "{error:#}");
            }
            Ok(())
        });
    }
}

async fn connection(
    proxy: Arc<Proxy>,
    stream: TcpStream,
    from: SocketAddr,
    tls: Option<TlsAcceptor>,
    activity: Activity,
) -> anyhow::Result<()> {
    stream.set_nodelay(true).context("could not set TCP_NODELAY")?;
    sockopt::set_socket_keepalive(&stream, true).context("could not set SO_KEEPALIVE")?;
    sockopt::set_tcp_keepidle(&stream, KEEPALIVE).context("could not set TCP_KEEPIDLE")?;
    let _counted = proxy.counts().connected();
    let origin = Origin { client: from.ip(), is_tls: tls.is_some() };
    match tls {
        None => converse(proxy, stream, origin, activity).await,
        Some(acceptor) => {
            let stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream))
                .await
                .context("the TLS handshake took too long")?
                .context("the TLS handshake failed")?;
            converse(proxy, stream, origin, activity).await
        }
    }
}

/// Runs what hyper needs beside a connection as tasks of the process.
#[derive(Clone)]
struct Executor(daemon::Context);

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, work: F) {
        self.0.spawn_draining("stream", async move {
            work.await;
            Ok(())
        });
    }
}

async fn converse<S>(proxy: Arc<Proxy>, stream: S, origin: Origin, activity: Activity) -> anyhow::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let drain = proxy.context().drain();
    let mut builder = Builder::new(Executor(proxy.context().clone()));
    builder.http1().timer(TokioTimer::new()).header_read_timeout(QUIET).max_buf_size(MOST_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(MOST_HEAD).unwrap_or(u32::MAX));
    let moving = activity.clone();
    let service = service_fn(move |request| {
        let (proxy, activity) = (Arc::clone(&proxy), activity.clone());
        async move { Ok::<_, Infallible>(proxy.answer(request, origin, &activity).await) }
    });
    let mut talking = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let patience = tokio::select! {
        result = talking.as_mut() => return result.map_err(|error| anyhow::anyhow!("the connection broke: {error}")),
        () = drain.signaled() => DRAIN,
        () = moving.quiet(QUIET) => PARTING,
    };
    talking.as_mut().graceful_shutdown();
    match tokio::time::timeout(patience, talking).await {
        Ok(result) => result.map_err(|error| anyhow::anyhow!("the connection broke: {error}")),
        Err(_) => anyhow::bail!("the connection did not end within {} s and was cut", patience.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_by_open_files() {
        for (files, expected) in [(0, 1), (64, 1), (1024, 480), (1 << 20, MOST_CONNECTIONS)] {
            assert_eq!(connections(files), expected, "{files}");
        }
    }
}
