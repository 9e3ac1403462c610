//! The connection to the API server: over HTTP/2 one for all that a daemon asks and watches.
//!
//! A daemon watches dozens of kinds. Over HTTP/1.1 each watch has a TLS connection of its own, at some 70 KiB a side;
//! over HTTP/2 they are streams of one. As a server takes a limited number of streams, there is a further connection
//! ("lane") for what exceeds that. A server that speaks no HTTP/2 is spoken to in HTTP/1.1.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode, Uri};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::{Client, Config};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tower_service::Service;

/// How long a connection may take, TLS included.
const CONNECT: Duration = Duration::from_secs(10);

/// After how long the kernel asks a silent server whether it is there. Costs this process no wake-up.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// How long the kernel waits for an answer before it asks again.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// How often the kernel asks again before it gives up.
const KEEPALIVE_RETRIES: u32 = 3;

/// How long sent bytes may stay unacknowledged before the connection counts as dead.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// How many requests and watches share a connection: kube-apiserver takes 100 of them.
const MOST_STREAMS: usize = 90;

/// How many connections there may be; beyond that, requests wait for those before them.
const MOST_LANES: usize = 8;

/// How many bytes of one answer may be under way: a list of some thousand objects comes in one go. Only credit, no
/// memory is taken until they come.
const STREAM_WINDOW: u32 = 1024 * 1024;

/// The same for all answers of a connection together: so much that one that nobody reads holds up no other.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MOST_STREAMS as u32;

/// How often a request is sent again that the server asked to send later; client-go's figure.
const MOST_RETRIES: u32 = 10;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Makes a client; nothing is sent yet.
///
/// # Errors
/// Where the certificates or the address in the configuration cannot be used.
pub fn client(config: Config) -> kube::Result<Client> {
    if config.proxy_url.is_some() || config.cluster_url.scheme_str() != Some("https") {
        // Without TLS there is nothing to agree on HTTP/2 by; such servers are proxies for people.
        return Client::try_from(config);
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    let mut builder =
        HttpsConnectorBuilder::new().with_tls_config(config.rustls_client_config()?).https_only();
    if let Some(name) = config.tls_server_name.clone() {
        let name = name.try_into().map_err(kube::client::RustlsTlsError::InvalidServerName);
        let name = name.map_err(kube::Error::RustlsTls)?;
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    let https = builder.enable_all_versions().wrap_connector(tcp);
    let transport = Transport { shared: Arc::new(Shared::new(https)) };
    let namespace = config.default_namespace.clone();
    let told = ClientBuilder::new(transport, namespace).with_layer(&config.extra_headers_layer()?);
    let base = config.base_uri_layer();
    Ok(match config.auth_layer()? {
        Some(auth) => told.with_layer(&auth).with_layer(&base).build(),
        None => told.with_layer(&base).build(),
    })
}

/// Connects to the server, and finds out whether it speaks HTTP/2.
#[derive(Clone)]
struct Dial {
    https: HttpsConnector<HttpConnector>,
    wants_http2: bool,
    is_old: Arc<AtomicBool>,
}

impl Service<Uri> for Dial {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Self::Response, Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.https.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.https.call(uri);
        let (wants_http2, is_old) = (self.wants_http2, Arc::clone(&self.is_old));
        async move {
            let late = |_| {
                Error::from(format!("the server did not take a connection within {} s", CONNECT.as_secs()))
            };
            let stream = tokio::time::timeout(CONNECT, connecting).await.map_err(late)??;
            if wants_http2 && !stream.connected().is_negotiated_h2() {
                is_old.store(true, Ordering::Relaxed);
                return Err("the server does not speak HTTP/2".into());
            }
            Ok(stream)
        }
        .boxed()
    }
}

type Connections = legacy::Client<Dial, Body>;

/// What all clones of a client share.
struct Shared {
    old: Connections,
    is_old: Arc<AtomicBool>,
    dial: Dial,
    lanes: Mutex<Vec<Lane>>,
}

/// One connection over HTTP/2.
struct Lane {
    connections: Connections,
    running: usize,
}

/// A request's place on a lane, until its answer has been read.
struct Place {
    shared: Arc<Shared>,
    lane: usize,
}

impl Shared {
    fn new(https: HttpsConnector<HttpConnector>) -> Self {
        let is_old = Arc::new(AtomicBool::new(false));
        let dial = |wants_http2| Dial { https: https.clone(), wants_http2, is_old: Arc::clone(&is_old) };
        let old = legacy::Client::builder(TokioExecutor::new()).build(dial(false));
        let dial = dial(true);
        Self { old, is_old, dial, lanes: Mutex::default() }
    }

    /// The first lane with a place; the emptiest where all are full.
    fn place(self: &Arc<Self>) -> (Connections, Place) {
        let mut lanes = self.lanes.lock();
        let free = lanes.iter().position(|lane| lane.running < MOST_STREAMS);
        let chosen = free.or_else(|| {
            let emptiest = lanes.iter().enumerate().min_by_key(|(_, lane)| lane.running);
            emptiest.map(|(index, _)| index).filter(|_| lanes.len() >= MOST_LANES)
        });
        let index = chosen.unwrap_or_else(|| {
            lanes.push(Lane { connections: connections(self.dial.clone()), running: 0 });
            lanes.len() - 1
        });
        let lane = &mut lanes[index];
        lane.running += 1;
        (lane.connections.clone(), Place { shared: Arc::clone(self), lane: index })
    }
}

fn connections(dial: Dial) -> Connections {
    legacy::Client::builder(TokioExecutor::new())
        .http2_only(true)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .build(dial)
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lanes = self.shared.lanes.lock();
        lanes[self.lane].running -= 1;
        // What a burst needed is closed again; the first lane stays.
        while lanes.len() > 1 && lanes.last().is_some_and(|lane| lane.running == 0) {
            lanes.pop();
        }
    }
}

/// Sends requests where there is a place for them.
#[derive(Clone)]
struct Transport {
    shared: Arc<Shared>,
}

impl Service<Request<Body>> for Transport {
    type Response = Response<Answer>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Response<Answer>, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        async move {
            let mut next = Some(request);
            let mut sent = 0;
            loop {
                let request = next.take().ok_or("a request is sent once")?;
                next = again(&request);
                let response = shared.send(request).await?;
                sent += 1;
                match retry_after(&response) {
                    Some(pause) if sent <= MOST_RETRIES && next.is_some() => {
                        drop(response);
                        tokio::time::sleep(pause).await;
                    }
                    _ => return Ok(response),
                }
            }
        }
        .boxed()
    }
}

impl Shared {
    async fn send(self: &Arc<Self>, request: Request<Body>) -> Result<Response<Answer>, Error> {
        if self.is_old.load(Ordering::Relaxed) {
            let response = self.old.request(request).await.map_err(told)?;
            return Ok(response.map(|incoming| Answer { incoming, _place: None }));
        }
        let (connections, place) = self.place();
        let spare = again(&request);
        match connections.request(request).await {
            Ok(response) => Ok(response.map(|incoming| Answer { incoming, _place: Some(place) })),
            Err(error) => match spare.filter(|_| self.is_old.load(Ordering::Relaxed)) {
                Some(spare) => {
                    let response = self.old.request(spare).await.map_err(told)?;
                    Ok(response.map(|incoming| Answer { incoming, _place: None }))
                }
                None => Err(told(error)),
            },
        }
    }
}

/// An error with its causes: those who log it print no more than its first line.
fn told(error: legacy::Error) -> Error {
    format!("{:#}", anyhow::Error::from(error)).into()
}

/// The same request once more, if its body can be had twice.
fn again(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().try_clone()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// How long the server asks to wait before the request is sent again, if it asks that.
fn retry_after<B>(response: &Response<B>) -> Option<Duration> {
    let status = response.status();
    if status != StatusCode::TOO_MANY_REQUESTS && !status.is_server_error() {
        return None;
    }
    let seconds = response.headers().get(http::header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The body of an answer, which holds its request's place until it has been read.
struct Answer {
    incoming: Incoming,
    _place: Option<Place>,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.incoming).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_open_and_close_with_the_load() {
        drop(rustls::crypto::ring::default_provider().install_default());
        let tls = rustls::ClientConfig::builder()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let https =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_all_versions().build();
        let shared = Arc::new(Shared::new(https));
        let places: Vec<Place> = (0..=MOST_STREAMS).map(|_| shared.place().1).collect();
        let running = || shared.lanes.lock().iter().map(|lane| lane.running).collect::<Vec<_>>();
        assert_eq!(running(), [MOST_STREAMS, 1]);
        drop(places);
        assert_eq!(running(), [0]);
        let many: Vec<Place> = (0..MOST_STREAMS * MOST_LANES + 3).map(|_| shared.place().1).collect();
        assert_eq!(shared.lanes.lock().len(), MOST_LANES);
        drop(many);
        assert_eq!(running(), [0]);
    }

    #[test]
    fn when_to_send_again() {
        let cases =
            [(200, Some("1"), None), (429, Some("2"), Some(2)), (429, None, None), (503, Some("x"), None)];
        for (status, header, expected) in cases {
            let mut response = Response::builder().status(status);
            if let Some(value) = header {
                response = response.header("retry-after", value);
            }
            let found = retry_after(&response.body(()).unwrap());
            assert_eq!(found, expected.map(Duration::from_secs), "{status} {header:?}");
        }
    }
}
