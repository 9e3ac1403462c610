//! A pod that serves HTTP and tells what it was asked.

use std::convert::Infallible;

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

type Body = BoxBody<Bytes, hyper::Error>;

/// Serves until dropped; then its connections break off, as those of a killed process do.
pub(crate) struct Backend {
    _tasks: JoinSet<()>,
}

/// Serves on port 8080 of this address, and says its name in each answer.
pub(crate) async fn start(address: &str) -> Backend {
    let listener = TcpListener::bind((address, 8080)).await.expect("a free port");
    let name = address.to_owned();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let name = name.clone();
            connections.spawn(async move {
                let service = service_fn(move |request| {
                    let name = name.clone();
                    async move { Ok::<_, Infallible>(answer(&name, request).await) }
                });
                drop(
                    http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .with_upgrades()
                        .await,
                );
            });
        }
    });
    Backend { _tasks: tasks }
}

async fn answer(name: &str, request: Request<Incoming>) -> Response<Body> {
    match request.uri().path() {
        "/silent" => std::future::pending().await,
        "/echo" => Response::new(request.into_body().boxed()),
        "/talk" => talk(request),
        _ => tell(name, request).await,
    }
}

async fn tell(name: &str, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let headers: serde_json::Map<_, _> = flat(&parts.headers);
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let told = json!({"pod": name, "method": parts.method.as_str(), "path": parts.uri.to_string(),
        "headers": headers, "body": String::from_utf8_lossy(&body)});
    let mut response = Response::new(Full::from(told.to_string()).map_err(|never| match never {}).boxed());
    response.headers_mut().insert("x-pod", name.parse().expect("a value"));
    response
}

fn flat(headers: &HeaderMap) -> serde_json::Map<String, serde_json::Value> {
    let pairs =
        headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().into()));
    pairs.collect()
}

/// Speaks WebSocket and says what it hears.
fn talk(mut request: Request<Incoming>) -> Response<Body> {
    let key = request.headers().get("sec-websocket-key").map(|key| derive_accept_key(key.as_bytes()));
    let upgrade = hyper::upgrade::on(&mut request);
    let mut talks = JoinSet::new();
    talks.spawn(async move {
        let stream = TokioIo::new(upgrade.await.expect("an upgrade"));
        let (write, read) = WebSocketStream::from_raw_socket(stream, Role::Server, None).await.split();
        drop(read.forward(write).await);
    });
    talks.detach_all();
    let mut response = Response::new(Full::default().map_err(|never| match never {}).boxed());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    for (name, value) in [("upgrade", "websocket"), ("connection", "upgrade")] {
        response.headers_mut().insert(name, value.parse().expect("a value"));
    }
    response.headers_mut().insert("sec-websocket-accept", key.expect("a key").parse().expect("a value"));
    response
}
