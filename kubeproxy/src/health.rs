//! Answers load balancers that ask whether this node has endpoints of a Service (`spec.healthCheckNodePort`).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use client::Key;
use daemon::Context;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::model::Service;

/// What one port answers with.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    service: Key,
    local_endpoints: usize,
}

/// The servers that run, by port; one that is dropped from here stops.
pub struct Servers {
    context: Context,
    running: BTreeMap<u16, watch::Sender<State>>,
    ports: BTreeMap<Key, u16>,
}

impl std::fmt::Debug for Servers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Servers").field("ports", &self.ports).finish_non_exhaustive()
    }
}

impl Servers {
    /// No server yet; the tasks of those to come belong to `context`.
    pub fn new(context: Context) -> Self {
        Self { context, running: BTreeMap::new(), ports: BTreeMap::new() }
    }

    /// Starts, updates or stops the server of a Service.
    pub fn set(&mut self, key: &Key, service: Option<&Service>) {
        let wanted = service.and_then(|service| service.health_port.map(|port| (port, state(service))));
        if let Some(old) = self.ports.get(key).copied()
            && wanted.as_ref().is_none_or(|(port, _)| *port != old)
        {
            self.ports.remove(key);
            self.running.remove(&old);
        }
        let Some((port, state)) = wanted else { return };
        self.ports.insert(key.clone(), port);
        match self.running.get(&port) {
            Some(running) => {
                running.send_replace(state);
            }
            None => {
                let (sender, receiver) = watch::channel(state);
                self.running.insert(port, sender);
                let context = self.context.clone();
                self.context.spawn_isolated("service health", serve(context, port, receiver));
            }
        }
    }
}

fn state(service: &Service) -> State {
    // A Service with several ports is as healthy as its best.
    let local = service.ports.iter().map(|port| port.usable(true).len()).max().unwrap_or(0);
    State { service: service.key.clone(), local_endpoints: local }
}

async fn serve(context: Context, port: u16, mut state: watch::Receiver<State>) -> anyhow::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(service = %state.borrow().service, "could not listen on health check port {port}: {error}");
            return Err(error).context("no listener");
        }
    };
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.context("could not accept a connection")?;
                context.spawn_isolated("service health connection", answer(stream, Arc::new(state.borrow().clone())));
            }
            changed = state.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

async fn answer(stream: TcpStream, state: Arc<State>) -> anyhow::Result<()> {
    let service = service_fn(move |_| {
        let response = response(&state);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    // One answer a connection: the state of a kept one would grow old.
    server.keep_alive(false);
    server.serve_connection(TokioIo::new(stream), service).await.context("a health client went away")
}

fn response(state: &State) -> Response<Full<Bytes>> {
    let body = json!({
        "service": {"namespace": &*state.service.namespace, "name": &*state.service.name},
        "localEndpoints": state.local_endpoints,
        "serviceProxyHealthy": true,
    });
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    if state.local_endpoints == 0 {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("X-Content-Type-Options", HeaderValue::from_static("nosniff"));
    headers.insert("X-Load-Balancing-Endpoint-Weight", HeaderValue::from(state.local_endpoints));
    response
}
