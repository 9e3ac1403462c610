//! The kubelet's own API over HTTPS, by which the API server reaches logs, commands and figures.
//!
//! A caller shows a client certificate that the CA of `--client-ca-file` has signed, of a member of `system:masters`
//! or of the API server itself; tokens are not taken. One table of routes, one loop over it.

use std::convert::Infallible;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::agent::Agent;
use crate::config::ServeSettings;
use crate::pod::manager::Sources;

pub mod caller;
pub mod figures;
pub mod lists;
pub mod logs;
pub mod stream;

/// Connections at once: the API server and a few collectors of figures hold some each; at 40 KiB, 20 MiB in all.
const CONNECTIONS: usize = 512;
/// Until a client has shown who it is, and until it has said what it wants.
const PATIENCE: Duration = Duration::from_secs(30);
/// After a connection that could not be taken, such as for want of open files.
const PAUSE: Duration = Duration::from_millis(100);

/// What an answer is made of.
pub type Body = BoxBody<Bytes, std::io::Error>;

/// A request with what is needed to answer it.
#[derive(Debug)]
pub struct Call {
    pub agent: Arc<Agent>,
    pub sources: Sources,
    /// The parts of the path after the route's own.
    pub rest: Vec<String>,
    pub request: Request<Incoming>,
}

impl Call {
    /// The first value of a query parameter, decoded.
    pub fn query(&self, name: &str) -> Option<String> {
        self.queries(name).next()
    }

    /// All values of a query parameter, decoded.
    pub fn queries(&self, name: &str) -> impl Iterator<Item = String> {
        let query = self.request.uri().query().unwrap_or_default();
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.filter(move |(key, _)| *key == name).map(|(_, value)| decoded(value))
    }
}

/// One way into the kubelet.
struct Route {
    methods: &'static [Method],
    /// The parts of the path that must be there.
    path: &'static str,
    serve: fn(Call) -> BoxFuture<'static, Response<Body>>,
}

/// A stream is asked for by GET over WebSocket and by POST over SPDY.
const STREAM: &[Method] = &[Method::GET, Method::POST];

/// What the kubelet answers.
const ROUTES: &[Route] = &[
    Route {
        methods: &[Method::GET],
        path: "healthz",
        serve: |_| Box::pin(async { text(StatusCode::OK, "ok") }),
    },
    Route { methods: &[Method::GET], path: "pods", serve: |call| Box::pin(lists::pods(call)) },
    Route { methods: &[Method::GET], path: "containerLogs", serve: |call| Box::pin(logs::serve(call)) },
    Route { methods: &[Method::GET], path: "stats/summary", serve: |call| Box::pin(figures::summary(call)) },
    Route { methods: STREAM, path: "exec", serve: |call| Box::pin(stream::exec(call)) },
    Route { methods: STREAM, path: "attach", serve: |call| Box::pin(stream::attach(call)) },
    Route { methods: STREAM, path: "portForward", serve: |call| Box::pin(stream::port_forward(call)) },
];

/// A short answer in plain text.
pub fn text(status: StatusCode, words: impl Into<String>) -> Response<Body> {
    let body = Full::new(Bytes::from(words.into())).map_err(|never: Infallible| match never {}).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let plain = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, plain);
    response
}

/// An answer in JSON.
pub fn json(value: &impl serde::Serialize) -> Response<Body> {
    match serde_json::to_string(value) {
        Ok(words) => {
            let mut response = text(StatusCode::OK, words);
            let json = http::HeaderValue::from_static("application/json");
            response.headers_mut().insert(http::header::CONTENT_TYPE, json);
            response
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let code =
            [ahead.next(), ahead.next()].map(|digit| digit.and_then(|digit| char::from(digit).to_digit(16)));
        match (byte, code) {
            (b'%', [Some(high), Some(low)]) => {
                out.push((high * 16 + low) as u8);
                bytes = ahead;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Listens and answers until the process drains. Without a certificate there is no API.
///
/// # Errors
/// Where a certificate cannot be used or the address cannot be listened on.
pub async fn start(settings: &ServeSettings, agent: Arc<Agent>, sources: Sources) -> anyhow::Result<()> {
    let Some((certificate, key)) = &settings.identity else {
        tracing::warn!("without --tls-cert-file the kubelet serves no API: no logs, no exec");
        return Ok(());
    };
    let config = tls(certificate, key, settings.client_ca.as_deref())?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let address = settings.address;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("could not listen on {address} (--address, --port); is the port in use?"))?;
    let context = agent.context.clone();
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    context.clone().spawn("kubelet API", async move {
        loop {
            let permit = Arc::clone(&room).acquire_owned().await?;
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!("could not take a connection at {address}: {error}");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let (acceptor, agent, sources) = (acceptor.clone(), Arc::clone(&agent), sources.clone());
            context.spawn_isolated("kubelet API connection", async move {
                connection(stream, acceptor, agent, sources).await?;
                drop(permit);
                Ok(())
            });
        }
    });
    Ok(())
}

fn tls(certificate: &Path, key: &Path, client_ca: Option<&Path>) -> anyhow::Result<ServerConfig> {
    let said = |flag: &str, path: &Path| format!("could not use {} (--{flag})", path.display());
    let chain: Vec<_> = certificates(certificate).with_context(|| said("tls-cert-file", certificate))?;
    let key = PrivateKeyDer::from_pem_file(key).with_context(|| said("tls-private-key-file", key))?;
    let builder = ServerConfig::builder();
    let builder = match client_ca {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for root in certificates(path).with_context(|| said("client-ca-file", path))? {
                roots.add(root).with_context(|| said("client-ca-file", path))?;
            }
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated().build()?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config =
        builder.with_single_cert(chain, key).with_context(|| said("tls-cert-file", certificate))?;
    // Streams are upgrades, which are a matter of HTTP/1.1.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let mut file = BufReader::new(File::open(path)?);
    let all: Result<Vec<_>, _> = CertificateDer::pem_reader_iter(&mut file).collect();
    let all = all?;
    anyhow::ensure!(!all.is_empty(), "there is no certificate in it");
    Ok(all)
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    agent: Arc<Agent>,
    sources: Sources,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await??;
    let certificates = stream.get_ref().1.peer_certificates();
    let caller = certificates.and_then(|chain| chain.first()).and_then(|first| caller::Caller::of(first));
    let answer = service_fn(|request| {
        let (agent, sources, caller) = (Arc::clone(&agent), sources.clone(), caller.clone());
        async move { Ok::<_, Infallible>(answer(agent, sources, caller, request).await) }
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), answer)
        .with_upgrades()
        .await
        .context("a client of the kubelet API went away")
}

async fn answer(
    agent: Arc<Agent>,
    sources: Sources,
    caller: Option<caller::Caller>,
    request: Request<Incoming>,
) -> Response<Body> {
    match caller {
        None => return text(StatusCode::UNAUTHORIZED, "Unauthorized"),
        Some(caller) if !caller.may_all() => {
            let words =
                format!("Forbidden (user={}, verb={}, resource=nodes)", caller.user, request.method());
            return text(StatusCode::FORBIDDEN, words);
        }
        Some(_) => {}
    }
    let path = request.uri().path().trim_matches('/').to_owned();
    let found = ROUTES.iter().find_map(|route| {
        let rest = path.strip_prefix(route.path)?;
        (rest.is_empty() || rest.starts_with('/')).then_some((route, rest))
    });
    let Some((route, rest)) = found else {
        return text(StatusCode::NOT_FOUND, "404 page not found\n");
    };
    if !route.methods.contains(request.method()) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed");
    }
    let rest = rest.split('/').filter(|part| !part.is_empty()).map(decoded).collect();
    (route.serve)(Call { agent, sources, rest, request }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        for (raw, expected) in [("a%20b", "a b"), ("a+b", "a b"), ("%2", "%2"), ("%c3%a9", "é"), ("", "")] {
            assert_eq!(decoded(raw), expected);
        }
    }
}
