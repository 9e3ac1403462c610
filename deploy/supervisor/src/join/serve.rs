//! The supervisor's socket, to which the API server passes what joining nodes ask.

use std::convert::Infallible;
use std::sync::Arc;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use client::kube::Client;
use daemon::Context;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::json;
use tokio::net::UnixListener;

use super::answer::{Asked, Refusal, Reply, Secrets, Wish, answer};
use super::{cluster, password};
use crate::authority::Authorities;
use crate::config::{Cluster, Server};

/// The longest body of a request: a certificate signing request is a tenth of it. Bytes.
const LONGEST: usize = 64 << 10;

/// What answers nodes that join.
#[derive(Debug)]
struct Registrar {
    authorities: Authorities,
    secrets: Secrets,
    cluster: Cluster,
    own: String,
    kubeconfig: std::path::PathBuf,
}

/// Serves joining nodes for as long as the process runs.
///
/// # Errors
/// Where the socket cannot be listened on.
pub(crate) fn start(server: &Server, authorities: Authorities, context: &Context) -> anyhow::Result<()> {
    let layout = &server.node.layout;
    let path = layout.supervisor_socket();
    let place = || format!("could not listen on {}", path.display());
    std::fs::create_dir_all(&layout.run).with_context(place)?;
    // An earlier run's; nobody else has it, since nobody else has the data directory.
    drop(std::fs::remove_file(&path));
    let listener = UnixListener::bind(&path).with_context(place)?;
    let registrar = Arc::new(Registrar {
        secrets: authorities.secrets.clone(),
        authorities,
        cluster: server.cluster.clone(),
        own: if server.disable_agent { String::new() } else { server.node.name.clone() },
        kubeconfig: layout.cred("admin.kubeconfig"),
    });
    let accepting = context.clone();
    context.spawn("join", async move {
        loop {
            let (stream, _) = listener.accept().await.context("could not accept a connection")?;
            let registrar = Arc::clone(&registrar);
            accepting.spawn_isolated("joining node", async move {
                let respond = service_fn(|request| {
                    let registrar = Arc::clone(&registrar);
                    async move { Ok::<_, Infallible>(registrar.respond(request).await) }
                });
                let stream = TokioIo::new(stream);
                let connection = hyper::server::conn::http1::Builder::new().serve_connection(stream, respond);
                connection.await.context("a joining node went away")
            });
        }
    });
    Ok(())
}

impl Registrar {
    async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let header = |name: &str| {
            let names = [format!("isopod-node-{name}"), format!("k3s-node-{name}")];
            let value = names.iter().find_map(|name| parts.headers.get(name));
            value.and_then(|value| value.to_str().ok()).unwrap_or_default()
        };
        let credentials =
            parts.headers.get(hyper::header::AUTHORIZATION).and_then(|value| basic(value.as_bytes()));
        let asked = Asked {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            credentials: credentials.as_ref().map(|(user, secret)| (user.as_str(), secret.as_str())),
            node: header("name"),
            password: header("password"),
            addresses: header("ip"),
        };
        match answer(asked, &self.secrets, &self.own) {
            Reply::Pong => text("pong".to_owned()),
            Reply::ServerAuthority => text(self.authorities.server.pem().to_owned()),
            Reply::ClientAuthority => text(self.authorities.client.pem().to_owned()),
            Reply::Cluster => cluster::text(&self.cluster).map_or_else(|error| broken(&error), text),
            Reply::Sign(wish) => match self.sign(&wish, body).await {
                Ok(Ok(certificate)) => {
                    tracing::info!("signed {:?} for the node {}", wish.identity, wish.node);
                    text(certificate)
                }
                Ok(Err(refusal)) => refuse(&refusal, &wish.node),
                Err(error) => broken(&error),
            },
            Reply::Refuse(refusal) => refuse(&refusal, asked.node),
        }
    }

    async fn sign(&self, wish: &Wish, body: Incoming) -> anyhow::Result<Result<String, Refusal>> {
        let client = self.client().await?;
        if let Some(message) = password::check(&client, &wish.node, &wish.password).await? {
            return Ok(Err(Refusal { code: 403, message }));
        }
        let refusal = |message: String| Refusal { code: 400, message };
        let body = match Limited::new(body, LONGEST).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return Ok(Err(refusal(format!("the body could not be read: {error}")))),
        };
        let leaf = wish.identity.leaf(&wish.node, &wish.addresses);
        let authority = self.authorities.of(wish.identity.signer);
        Ok(authority.sign(&body, &leaf, Timestamp::now()).map_err(|error| refusal(format!("{error:#}"))))
    }

    /// A client for the passwords of nodes. Nodes join rarely, so none is kept.
    async fn client(&self) -> anyhow::Result<Client> {
        client::connect(&self.kubeconfig, "isopod").await.context("could not reach the API server")
    }
}

/// The user and the secret of basic authentication.
fn basic(header: &[u8]) -> Option<(String, String)> {
    let encoded = header.strip_prefix(b"Basic ")?;
    let text = String::from_utf8(STANDARD.decode(encoded.trim_ascii()).ok()?).ok()?;
    text.split_once(':').map(|(user, secret)| (user.to_owned(), secret.to_owned()))
}

fn text(body: String) -> Response<Full<Bytes>> {
    Response::new(Full::new(Bytes::from(body)))
}

fn refuse(refusal: &Refusal, node: &str) -> Response<Full<Bytes>> {
    if refusal.code != 404 {
        tracing::warn!(node, "refused: {}", refusal.message);
    }
    status(refusal.code, &refusal.message)
}

fn broken(error: &anyhow::Error) -> Response<Full<Bytes>> {
    tracing::warn!("could not answer a joining node: {error:#}");
    status(503, &format!("the server cannot answer now: {error:#}"))
}

/// A failure in the form of the Kubernetes API.
fn status(code: u16, message: &str) -> Response<Full<Bytes>> {
    let reason = match code {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        _ => "ServiceUnavailable",
    };
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    let mut response = text(body.to_string());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials() {
        let cases =
            [("Basic bm9kZTpzOmM=", "node s:c"), ("Basic !", ""), ("Bearer x", ""), ("Basic bm9kZQ==", "")];
        for (header, expected) in cases {
            let found = basic(header.as_bytes()).map(|(user, secret)| format!("{user} {secret}"));
            assert_eq!(found.unwrap_or_default(), expected, "{header}");
        }
    }
}
