//! A request's life: routed, sent to a pod, sent to another if that one cannot be reached, and answered.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::watch;

use crate::activity::{Activity, Busy};
use crate::body::{Download, Upload};
use crate::header::{self, Origin};
use crate::metric::Counts;
use crate::pool::{Lease, Pool};
use crate::route::Table;

/// How many pods a request is tried on: with this many gone at once, the next is hardly better.
const MOST_ATTEMPTS: usize = 4;

/// What all requests share.
#[derive(Debug)]
pub struct Proxy {
    context: daemon::Context,
    table: ArcSwap<Table>,
    pool: Arc<Pool>,
    patience: Duration,
    counts: Arc<Counts>,
    has_routes: watch::Sender<bool>,
}

/// One request on its way to one pod after another.
struct Errand {
    head: Parts,
    body: Upload,
    /// When the body last moved: an upload that goes on is not a backend that is silent.
    progress: Activity,
    /// Whether doing it twice is the same as once.
    is_safe: bool,
    /// Whether part of the body is gone, so that it cannot be sent again.
    is_spent: bool,
}

/// Why a pod has not answered.
enum Failure {
    /// There is no connection.
    Unreachable(std::io::Error),
    /// The connection was closed before anything was sent on it.
    Unsent,
    /// The connection broke after that.
    Broken(hyper::Error),
    /// There was no answer within the limit.
    Late,
}

impl Proxy {
    /// One without routes. A backend may take as long as `patience` for its answer to begin.
    pub fn new(context: daemon::Context, pool: Arc<Pool>, patience: Duration) -> Arc<Self> {
        let counts = Arc::new(Counts::default());
        let (shown, connections) = (Arc::clone(&counts), Arc::clone(&pool));
        context.metrics(move |out| shown.write(out, connections.idle()));
        let has_routes = watch::channel(false).0;
        Arc::new(Self { context, table: ArcSwap::default(), pool, patience, counts, has_routes })
    }

    /// Returns once there are routes: before that, every answer would be wrong.
    pub async fn routed(&self) {
        drop(self.has_routes.subscribe().wait_for(|has| *has).await);
    }

    /// The process.
    pub fn context(&self) -> &daemon::Context {
        &self.context
    }

    /// Numbers for whoever asks.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// The routes in force.
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Puts new routes in force for all requests from now on.
    pub fn replace(&self, table: Table) {
        let table = Arc::new(table);
        self.table.store(Arc::clone(&table));
        let addresses: HashSet<SocketAddr> =
            table.upstreams().flat_map(|(_, upstream)| upstream.addresses().iter().copied()).collect();
        self.pool.retain(|address| addresses.contains(address));
        self.has_routes.send_replace(true);
    }

    /// Answers a request, whatever happens.
    pub async fn answer(
        &self,
        request: Request<Incoming>,
        origin: Origin,
        activity: &Activity,
    ) -> Response<Download> {
        let busy = activity.begin();
        let response = self.forward(request, origin, busy).await.unwrap_or_else(refusal);
        self.counts.answered(response.status());
        response
    }

    async fn forward(
        &self,
        mut request: Request<Incoming>,
        origin: Origin,
        busy: Busy,
    ) -> Result<Response<Download>, StatusCode> {
        if request.method() == Method::CONNECT {
            return Err(StatusCode::METHOD_NOT_ALLOWED);
        }
        let client = hyper::upgrade::on(&mut request);
        let (parts, body) = request.into_parts();
        let authority = header::authority(&parts).ok_or(StatusCode::BAD_REQUEST)?;
        let (host, path) = (header::host(&authority), parts.uri.path().to_owned());
        let client = header::upgrade(&parts).map(|_| client);
        let progress = Activity::new();
        let body = Upload::new(body, progress.clone());
        let head = header::outgoing(parts, &authority, origin, body.is_stream());
        let is_safe = head.method.is_safe();
        let mut errand = Errand { head, body, progress, is_safe, is_spent: false };
        let (response, lease) = self.attempt(&mut errand, &host, &path).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let client = client.ok_or(StatusCode::BAD_GATEWAY)?;
            return Ok(self.switch(response, client, busy));
        }
        let (mut parts, body) = response.into_parts();
        header::strip(&mut parts.headers);
        parts.version = http::Version::HTTP_11;
        parts.extensions.clear();
        Ok(Response::from_parts(parts, Download::stream(body, lease, busy)))
    }

    /// Tries one pod after another. Each time by the routes of that moment: in a rolling update they change meanwhile.
    async fn attempt(
        &self,
        errand: &mut Errand,
        host: &str,
        path: &str,
    ) -> Result<(Response<Incoming>, Lease), StatusCode> {
        let mut tried = Vec::new();
        let mut outcome = StatusCode::SERVICE_UNAVAILABLE;
        while tried.len() < MOST_ATTEMPTS {
            let table = self.table();
            let Some(upstream) = table.find(host, path) else {
                if tried.is_empty() {
                    outcome = StatusCode::NOT_FOUND;
                }
                break;
            };
            let Some(address) = upstream.pick(&tried, |address| self.pool.is_avoided(address)) else { break };
            drop(table);
            tried.push(address);
            let failure = match errand.run(&self.pool, address, self.patience).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            self.counts.failed();
            outcome = failure.status();
            tracing::debug!(%host, %path, %address, "a backend did not answer: {failure}");
            if !errand.may_repeat(&failure) {
                break;
            }
        }
        tracing::debug!(%host, %path, pods = tried.len(), "answered with {outcome}");
        Err(outcome)
    }

    /// Lets client and pod talk in the protocol that they have changed to, until one of them ends it.
    fn switch(&self, mut response: Response<Incoming>, client: OnUpgrade, busy: Busy) -> Response<Download> {
        let backend = hyper::upgrade::on(&mut response);
        self.context.spawn_isolated("upgraded connection", async move {
            let _busy = busy;
            let client = client.await.context("the client did not change protocols")?;
            let backend = backend.await.context("the backend did not change protocols")?;
            let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
            tokio::io::copy_bidirectional(&mut client, &mut backend).await.context("it broke")?;
            Ok(())
        });
        let (mut parts, _) = response.into_parts();
        let protocol = parts.headers.get(UPGRADE).cloned();
        header::strip(&mut parts.headers);
        if let Some(protocol) = protocol {
            parts.headers.insert(UPGRADE, protocol);
        }
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        parts.extensions.clear();
        Response::from_parts(parts, Download::words(""))
    }
}

impl Errand {
    /// Sends the request over a kept connection or, where none is left that works, a new one.
    async fn run(
        &mut self,
        pool: &Arc<Pool>,
        address: SocketAddr,
        patience: Duration,
    ) -> Result<(Response<Incoming>, Lease), Failure> {
        while let Some(lease) = pool.reuse(address) {
            match self.send(lease, patience).await {
                // The other side had closed it, which says nothing about a new one.
                Err(Failure::Unsent) => {}
                Err(failure @ Failure::Broken(_)) if self.may_repeat(&failure) => {}
                outcome => return outcome,
            }
        }
        let lease = pool.connect(address).await.map_err(Failure::Unreachable)?;
        self.send(lease, patience).await
    }

    async fn send(
        &mut self,
        mut lease: Lease,
        patience: Duration,
    ) -> Result<(Response<Incoming>, Lease), Failure> {
        let body = std::mem::replace(&mut self.body, Upload::none());
        let is_stream = body.is_stream();
        let request = Request::from_parts(self.head.clone(), body);
        self.progress.touch();
        let failure = tokio::select! {
            sent = lease.sender.try_send_request(request) => match sent {
                Ok(response) => return Ok((response, lease)),
                Err(mut error) => match error.take_message() {
                    Some(request) => {
                        self.body = request.into_body();
                        return Err(Failure::Unsent);
                    }
                    None => Failure::Broken(error.into_error()),
                },
            },
            () = self.progress.quiet(patience) => Failure::Late,
        };
        self.is_spent |= is_stream;
        Err(failure)
    }

    fn may_repeat(&self, failure: &Failure) -> bool {
        match failure {
            Failure::Unreachable(_) | Failure::Unsent => !self.is_spent,
            Failure::Broken(_) => self.is_safe && !self.is_spent,
            Failure::Late => false,
        }
    }
}

impl Failure {
    fn status(&self) -> StatusCode {
        match self {
            Self::Unreachable(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::Unreachable(_) | Self::Unsent | Self::Broken(_) => StatusCode::BAD_GATEWAY,
            Self::Late => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(error) => write!(f, "no connection: {error}"),
            Self::Unsent => f.write_str("the connection was closed"),
            Self::Broken(error) => write!(f, "the connection broke: {error}"),
            Self::Late => f.write_str("it took too long"),
        }
    }
}

/// An answer of our own: what the status says, in words.
fn refusal(status: StatusCode) -> Response<Download> {
    let words = match status {
        StatusCode::NOT_FOUND => "404 page not found\n".to_owned(),
        status => format!("{status}\n"),
    };
    let mut response = Response::new(Download::words(words));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
