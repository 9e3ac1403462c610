//! Upgrades passed through: what the client asks to speak is asked of the backend, then bytes go both ways.
//!
//! Neither SPDY nor WebSocket is understood here: both ends of them are the client's and the backend's business.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, copy, split};

use super::{Place, Stream};
use crate::body;
use crate::fault::Fault;
use crate::request::{Call, Response};
use crate::serve::Peer;
use crate::server::Server;

/// How long one side may go on after the other has closed: long enough for what is on its way, short enough that a peer
/// which never closes holds nothing.
const LINGER: Duration = Duration::from_secs(10);

/// What begins a token among the protocols of a WebSocket, where browsers put it; it is ours, not the backend's.
const BEARER_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// Headers that are between the client and us.
const OURS: &[&str] =
    &["authorization", "x-forwarded-for", "content-length", "transfer-encoding", "te", "trailer"];

/// Passes a request that upgrades to `path` (query included) at `place`.
///
/// # Errors
/// 400 where the request upgrades to nothing, 429 where too many do, 500 where the backend does not answer or does not
/// upgrade.
pub async fn pass(server: &Server, call: Call, place: &Place, path: &str) -> Result<Response, Fault> {
    let mut parts = call.parts;
    let upgrade = parts.extensions.remove::<OnUpgrade>().filter(|_| is_upgrade(&parts.headers));
    let Some(client) = upgrade else { return Err(Fault::bad_request("Upgrade request required")) };
    let Ok(permit) = server.backends().streams.clone().try_acquire_owned() else {
        return Err(Fault::too_many_requests("too many streams are open already, please try again later", 1));
    };
    let peer = parts.extensions.get::<Peer>().map(|peer| peer.0.ip().to_string());
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.method_mut() = parts.method;
    *request.uri_mut() = path.parse().map_err(Fault::internal)?;
    *request.headers_mut() = handed_on(&parts.headers, peer.as_deref(), place);
    let failed = |why: String| Fault::new(500, "", why);
    let context = server.context();
    let mut answer = server
        .backends()
        .send(context, place, request)
        .await
        .map_err(|error| failed(format!("error dialing backend: {error}")))?;
    let status = answer.status();
    if status != StatusCode::SWITCHING_PROTOCOLS {
        if status.as_u16() < 400 {
            return Err(failed(format!("invalid upgrade response: status code {}", status.as_u16())));
        }
        return Ok(relayed(answer));
    }
    let backend = hyper::upgrade::on(&mut answer);
    context.spawn_isolated("stream", async move {
        let backend = backend.await.context("the backend did not upgrade")?;
        let client = client.await.context("the client did not upgrade")?;
        join(TokioIo::new(client), TokioIo::new(backend)).await;
        drop(permit);
        Ok(())
    });
    let mut response = http::Response::new(body::full(Bytes::new()));
    *response.status_mut() = status;
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    Ok(response)
}

/// Whether a request wants to speak something else than HTTP.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.to_ascii_lowercase().contains("upgrade"))
}

/// The headers that the backend gets: the client's, without its credentials and with its address.
pub(super) fn handed_on(headers: &HeaderMap, peer: Option<&str>, place: &Place) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(headers.len() + 1);
    for (name, value) in headers {
        if OURS.contains(&name.as_str()) || name.as_str().starts_with("impersonate-") {
            continue;
        }
        if *name == header::SEC_WEBSOCKET_PROTOCOL {
            if let Some(rest) = without_token(value) {
                out.append(name, rest);
            }
            continue;
        }
        out.append(name, value.clone());
    }
    if !out.contains_key(header::HOST)
        && let Ok(host) = HeaderValue::from_str(&place.authority())
    {
        out.insert(header::HOST, host);
    }
    if let Some(chain) = forwarded(headers, peer) {
        out.insert("x-forwarded-for", chain);
    }
    out
}

/// The addresses that a request came through.
pub(crate) fn forwarded(headers: &HeaderMap, peer: Option<&str>) -> Option<HeaderValue> {
    let before = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let chain: Vec<&str> = before.chain(peer).collect();
    HeaderValue::from_str(&chain.join(", ")).ok().filter(|value| !value.is_empty())
}

/// The protocols of a WebSocket without the one that is a token.
fn without_token(value: &HeaderValue) -> Option<HeaderValue> {
    let text = value.to_str().ok()?;
    let kept: Vec<&str> =
        text.split(',').map(str::trim).filter(|name| !name.starts_with(BEARER_PROTOCOL)).collect();
    HeaderValue::from_str(&kept.join(", ")).ok().filter(|value| !value.is_empty())
}

/// An answer handed on as it comes, piece by piece.
pub(crate) fn relayed(answer: http::Response<hyper::body::Incoming>) -> Response {
    let (mut parts, incoming) = answer.into_parts();
    for name in ["connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer"] {
        parts.headers.remove(name);
    }
    http::Response::from_parts(parts, incoming.map_err(std::io::Error::other).boxed_unsync())
}

/// Copies both ways until both sides have closed, or one has and the other does not in time.
async fn join(client: impl Stream, backend: impl Stream) {
    let (mut from_client, mut to_client) = split(client);
    let (mut from_backend, mut to_backend) = split(backend);
    // Broken connections end the copying just as closed ones do.
    let up = async {
        drop(copy(&mut from_client, &mut to_backend).await);
        drop(to_backend.shutdown().await);
    };
    let down = async {
        drop(copy(&mut from_backend, &mut to_client).await);
        drop(to_client.shutdown().await);
    };
    let (mut up, mut down) = (std::pin::pin!(up), std::pin::pin!(down));
    tokio::select! {
        () = up.as_mut() => drop(tokio::time::timeout(LINGER, down).await),
        () = down.as_mut() => drop(tokio::time::timeout(LINGER, up).await),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::backend::Security;

    #[test]
    fn headers_are_handed_on_without_credentials() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "api"),
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("authorization", "Bearer x"),
            ("impersonate-user", "bob"),
            ("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.eA, v5.channel.k8s.io"),
            ("x-forwarded-for", "10.0.0.9"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        assert!(is_upgrade(&headers));
        let place = Place { security: Security::Kubelet, host: "n".to_owned(), port: 1 };
        let out = handed_on(&headers, Some("10.0.0.1"), &place);
        let mut found: Vec<(&str, &str)> =
            out.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        found.sort_unstable();
        let expected = [
            ("connection", "Upgrade"),
            ("host", "api"),
            ("sec-websocket-protocol", "v5.channel.k8s.io"),
            ("upgrade", "websocket"),
            ("x-forwarded-for", "10.0.0.9, 10.0.0.1"),
        ];
        assert_eq!(found, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_go_both_ways_until_both_sides_close() {
        let (client, client_inner) = tokio::io::duplex(64);
        let (backend, backend_inner) = tokio::io::duplex(64);
        let peers = async {
            let (mut client, mut backend) = (client, backend);
            client.write_all(b"ping").await.unwrap();
            client.shutdown().await.unwrap();
            let mut asked = Vec::new();
            backend.read_to_end(&mut asked).await.unwrap();
            // The client has closed its half; what the backend says still arrives.
            backend.write_all(b"pong").await.unwrap();
            drop(backend);
            let mut answered = Vec::new();
            client.read_to_end(&mut answered).await.unwrap();
            (asked, answered)
        };
        let ((), (asked, answered)) = tokio::join!(join(client_inner, backend_inner), peers);
        assert_eq!((asked.as_slice(), answered.as_slice()), (&b"ping"[..], &b"pong"[..]));
    }
}
