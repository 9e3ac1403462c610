//! Requests as the recorder made them: HTTP/1.1, tokens for users, whatever headers a step has.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde_json::Value;
use testkit::Cluster;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Who the recorder was.
const AGENT: &str = "golden/1.0";

pub(super) struct Client {
    context: daemon::Context,
    address: std::net::SocketAddr,
    tls: TlsConnector,
    /// The connection of everything but watches.
    kept: Option<SendRequest<Full<Bytes>>>,
}

/// The head of an answer, and its body to come.
pub(super) struct Answer {
    pub(super) status: u16,
    headers: BTreeMap<String, String>,
    body: Pending,
}

enum Pending {
    Here(Bytes),
    Coming(Incoming),
}

/// A whole answer. Headers are by their names in small letters; those that come more than once are joined.
pub(super) struct Whole {
    pub(super) status: u16,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Bytes,
}

impl Client {
    pub(super) fn new(cluster: &Cluster) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(cluster.authority.certificate()).unwrap();
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let tls = TlsConnector::from(Arc::new(config));
        Self { context: cluster.context.clone(), address: cluster.address, tls, kept: None }
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.address).await.context("no connection")?;
        let name = ServerName::from(self.address.ip());
        let stream = self.tls.connect(name, stream).await.context("no TLS")?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        self.context.spawn_isolated("golden connection", async move { Ok(connection.await?) });
        Ok(sender)
    }

    /// Makes an object that a scenario begins with.
    pub(super) async fn make(&mut self, path: &str, object: &Value) {
        let body = Some(object.to_string().into_bytes());
        let answer = self.send(Some("admin"), "POST", path, &Value::Null, body, false).await.unwrap();
        assert!([201, 409].contains(&answer.status), "{path}: {}", answer.status);
    }

    pub(super) async fn send(
        &mut self,
        user: Option<&str>,
        method: &str,
        target: &str,
        headers: &Value,
        body: Option<Vec<u8>>,
        watch: bool,
    ) -> anyhow::Result<Answer> {
        let mut all = BTreeMap::from([
            ("Host", self.address.to_string()),
            ("Accept", "application/json".to_owned()),
            ("User-Agent", AGENT.to_owned()),
        ]);
        if let Some(user) = user.filter(|user| !user.is_empty()) {
            all.insert("Authorization", format!("Bearer {user}"));
        }
        if body.is_some() {
            all.insert("Content-Type", "application/json".to_owned());
        }
        for (name, value) in headers.as_object().into_iter().flatten() {
            match value.as_str() {
                Some(value) => all.insert(name, value.to_owned()),
                None => all.remove(name.as_str()),
            };
        }
        let mut request = http::Request::builder().method(method).uri(target);
        for (name, value) in all {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(body.unwrap_or_default())))?;
        let mut sender = match self.kept.take().filter(|sender| !watch && !sender.is_closed()) {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let headers = joined(response.headers());
        if watch {
            return Ok(Answer { status, headers, body: Pending::Coming(response.into_body()) });
        }
        let body = response.into_body().collect().await?.to_bytes();
        self.kept = Some(sender);
        Ok(Answer { status, headers, body: Pending::Here(body) })
    }
}

fn joined(headers: &http::HeaderMap) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        let value = value.to_str().unwrap_or_default();
        let one = all.entry(name.as_str().to_owned()).or_default();
        *one = if one.is_empty() { value.to_owned() } else { format!("{one} | {value}") };
    }
    all
}

impl Answer {
    pub(super) async fn whole(self) -> Whole {
        let body = match self.body {
            Pending::Here(body) => body,
            // A watch that breaks off is compared as far as it came.
            Pending::Coming(mut coming) => {
                let mut all = Vec::new();
                while let Some(Ok(frame)) = coming.frame().await {
                    all.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                }
                all.into()
            }
        };
        Whole { status: self.status, headers: self.headers, body }
    }
}
