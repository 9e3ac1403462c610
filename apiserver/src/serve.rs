//! The listener: TLS, HTTP/1.1 and HTTP/2, and what every request passes before it is answered.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::authn::Shown;
use crate::fault::Fault;
use crate::request::{Call, RequestInfo, Response, Warnings};
use crate::server::Server;
use crate::{authn, authz, handler, negotiation, present, supervisor};

/// The largest body of a request: kube-apiserver's figure, which leaves room for etcd's 1.5 MiB in any encoding.
const MOST_BODY: usize = 3 * 1024 * 1024;

/// How long a request waits for the server to start. A start takes a fraction of this unless the datastore is away.
const START: Duration = Duration::from_secs(10);

/// How long a client may take for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How many requests and watches may run on one HTTP/2 connection; what clients of upstream count on.
const MOST_STREAMS: u32 = 250;

/// How many bytes of one request's body may be under way over HTTP/2 (upstream's figure: 99 of 100 bodies are smaller).
const STREAM_WINDOW: u32 = 256 * 1024;

/// Answers what comes to `listener` until the process drains.
///
/// # Errors
/// Where connections cannot be accepted any more.
pub async fn serve(
    server: Arc<Server>,
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
) -> anyhow::Result<()> {
    let acceptor = TlsAcceptor::from(tls);
    loop {
        let (stream, from) = listener.accept().await.context("could not accept a connection")?;
        let (server, acceptor) = (Arc::clone(&server), acceptor.clone());
        let context = server.context().clone();
        context.spawn_draining("connection", async move {
            if let Err(error) = connection(server, stream, from, acceptor).await {
                tracing::debug!(%from, "{error:#}");
            }
            Ok(())
        });
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

async fn connection(
    server: Arc<Server>,
    stream: TcpStream,
    from: SocketAddr,
    acceptor: TlsAcceptor,
) -> anyhow::Result<()> {
    stream.set_nodelay(true).context("could not set TCP_NODELAY")?;
    let stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream))
        .await
        .context("the TLS handshake took too long")?
        .context("the TLS handshake failed")?;
    let chain = stream.get_ref().1.peer_certificates();
    let shown = chain.and_then(|chain| server.authenticators().look(chain)).map(Arc::new);
    let context = server.context().clone();
    let service = service_fn(move |request| {
        let (server, shown) = (Arc::clone(&server), shown.clone());
        async move { Ok::<_, Infallible>(request_answered(&server, request, shown, from).await) }
    });
    let mut builder = hyper_util::server::conn::auto::Builder::new(Executor(context.clone()));
    builder
        .http2()
        .max_concurrent_streams(MOST_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW * MOST_STREAMS);
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let drain = context.drain();
    let result = tokio::select! {
        result = serving.as_mut() => result,
        () = drain.signaled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    result.map_err(|error| anyhow::anyhow!("the connection broke: {error}"))
}

/// The address a request came from, in its extensions.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Answers a request, whatever happens: failures become `Status` objects, and so do panics.
async fn request_answered(
    server: &Arc<Server>,
    request: Request<Incoming>,
    shown: Option<Arc<Shown>>,
    from: SocketAddr,
) -> Response {
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(Peer(from));
    parts.extensions.insert(Arc::clone(server));
    let info = RequestInfo::parse(&parts.method, &parts.uri);
    let warnings = Arc::new(Warnings::default());
    let headers = parts.headers.clone();
    let long = is_long(&info);
    let answering = answer(server, parts, body, shown, info, Arc::clone(&warnings), from);
    let guarded = AssertUnwindSafe(Box::pin(answering)).catch_unwind();
    let timed = async {
        if long {
            return Some(guarded.await);
        }
        tokio::time::timeout(server.settings().request_timeout, guarded).await.ok()
    };
    let result = match timed.await {
        Some(Ok(result)) => result,
        Some(Err(_)) => Err(Fault::new(
            500,
            "InternalError",
            "This request caused apiserver to panic. Look in the logs for details.",
        )),
        None => Err(Fault::timeout("request did not complete within the allotted timeout", 0)),
    };
    let mut response = result.unwrap_or_else(|fault| refusal(&headers, &fault));
    for text in warnings.take() {
        if let Ok(value) = HeaderValue::from_str(&format!("299 - {}", crate::field::quoted(&text))) {
            response.headers_mut().append(http::header::WARNING, value);
        }
    }
    if let Ok(value) = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()) {
        response.headers_mut().insert("audit-id", value);
    }
    response
}

/// A failure as an answer, in a format the caller reads.
fn refusal(headers: &http::HeaderMap, fault: &Fault) -> Response {
    let format = negotiation::accept(headers, false, true).unwrap_or(negotiation::Format {
        encoding: negotiation::Encoding::Json,
        view: negotiation::View::Object,
        pretty: false,
    });
    let json = Bytes::from(fault.status().to_string());
    let mut response = present::document(format, fault.code, json.clone())
        .unwrap_or_else(|_| crate::body::response(fault.code, "application/json", json));
    if let Some(seconds) =
        fault.details.as_ref().map(|details| details.retry_after_seconds).filter(|s| *s > 0)
    {
        response.headers_mut().insert(http::header::RETRY_AFTER, seconds.into());
    }
    response
}

/// Whether a request may take as long as it likes.
fn is_long(info: &RequestInfo) -> bool {
    info.verb == "watch"
        || info.verb == "proxy"
        || matches!(info.subresource.as_str(), "log" | "exec" | "attach" | "portforward" | "proxy")
        || !info.is_resource
}

async fn answer(
    server: &Arc<Server>,
    mut parts: http::request::Parts,
    body: Incoming,
    shown: Option<Arc<Shown>>,
    info: RequestInfo,
    warnings: Arc<Warnings>,
    from: SocketAddr,
) -> Result<Response, Fault> {
    if let Some(socket) = server.settings().supervisor_socket.as_deref()
        && supervisor::answers(&info.path)
    {
        return supervisor::pass(server, socket, parts, body, from).await;
    }
    if !authz::is_open(&info.path) {
        started(server).await?;
    }
    let user = authn::authenticate(server, &mut parts.headers, shown.as_deref()).await?;
    let user = authn::impersonation::acting(server, user, &mut parts.headers, &info)?;
    if let Err(fault) = authz::authorize(server, &user, &info).await {
        let mut response = refusal(&parts.headers, &fault);
        // As upstream does where a filter and no handler answers.
        let option = HeaderValue::from_static("nosniff");
        response.headers_mut().insert(http::header::X_CONTENT_TYPE_OPTIONS, option);
        return Ok(response);
    }
    let upgrades = parts.headers.contains_key(http::header::UPGRADE);
    let body = if upgrades { Bytes::new() } else { read(body).await? };
    handler::answer(server, Call { info, user, parts, body, warnings }).await
}

/// Waits until the server has read its objects: before that it knows no roles, and would refuse those who may.
async fn started(server: &Server) -> Result<(), Fault> {
    let ready = server.context().gates().ready();
    tokio::time::timeout(START, ready).await.map_err(|_| {
        Fault::unavailable("the server is starting: it has not read its objects yet").retry_after(1)
    })
}

async fn read(body: Incoming) -> Result<Bytes, Fault> {
    match Limited::new(body, MOST_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Fault::too_large(format!("Request entity too large: limit is {MOST_BODY}")))
        }
        Err(error) => Err(Fault::bad_request(format!("the body could not be read: {error}"))),
    }
}
