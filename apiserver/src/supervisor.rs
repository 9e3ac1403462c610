//! The supervisor's own paths, handed on to its socket, so that a server has one port for the API and for joining it.
//!
//! They are passed before authentication: who joins a cluster has a join token, which only the supervisor knows.

use std::net::SocketAddr;
use std::path::Path;

use http::header::{self, HeaderValue};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::fault::Fault;
use crate::request::Response;
use crate::server::Server;

/// The paths, and what is below those that end in a slash. The second spelling is that of K3s.
const PATHS: &[&str] = &["/cacerts", "/ping", "/v1-isopod/", "/v1-k3s/"];

/// What is said between two neighbours on the way and goes no further.
const HOP_BY_HOP: &[&str] =
    &["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"];

/// Tells the supervisor from where a request came.
const FROM: &str = "x-forwarded-for";

/// Whether the supervisor answers for a path.
pub(crate) fn answers(path: &str) -> bool {
    PATHS.iter().any(|known| match known.strip_suffix('/') {
        Some(_) => path.starts_with(known),
        None => path == *known,
    })
}

/// Hands a request on and gives the answer back as it comes.
///
/// # Errors
/// 503 where the supervisor does not listen, or breaks off.
pub(crate) async fn pass(
    server: &Server,
    socket: &Path,
    parts: http::request::Parts,
    body: Incoming,
    from: SocketAddr,
) -> Result<Response, Fault> {
    let away = |why: String| {
        tracing::warn!(socket = %socket.display(), why, "the supervisor does not answer");
        Fault::unavailable("the supervisor does not answer; try again later")
    };
    let stream = UnixStream::connect(socket).await.map_err(|error| away(error.to_string()))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| away(error.to_string()))?;
    server.context().spawn_draining("supervisor", async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection to the supervisor broke");
        }
        Ok(())
    });
    let request = forwarded(parts, body, from).map_err(|error| Fault::bad_request(error.to_string()))?;
    let (mut parts, body) =
        sender.send_request(request).await.map_err(|error| away(error.to_string()))?.into_parts();
    for name in HOP_BY_HOP {
        parts.headers.remove(*name);
    }
    Ok(Response::from_parts(parts, body.map_err(std::io::Error::other).boxed_unsync()))
}

/// A request in the form that a supervisor gets it in: HTTP/1.1, with the headers it came with.
fn forwarded<B>(parts: http::request::Parts, body: B, from: SocketAddr) -> http::Result<http::Request<B>> {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = http::Request::builder().method(parts.method).uri(path).body(body)?;
    let host = parts.uri.authority().map_or("localhost", |host| host.as_str());
    let host = HeaderValue::from_str(host)?;
    let headers = request.headers_mut();
    *headers = parts.headers;
    for name in HOP_BY_HOP {
        headers.remove(*name);
    }
    // HTTP/2 has the host elsewhere.
    headers.entry(header::HOST).or_insert(host);
    headers.insert(FROM, HeaderValue::from_str(&from.ip().to_string())?);
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_paths() {
        for (path, expected) in [
            ("/cacerts", true),
            ("/ping", true),
            ("/v1-k3s/serving-kubelet.crt", true),
            ("/v1-isopod/config", true),
            ("/v1-isopod", false),
            ("/cacerts/x", false),
            ("/api", false),
        ] {
            assert_eq!(answers(path), expected, "{path}");
        }
    }

    #[test]
    fn headers_go_along() {
        let request = http::Request::builder()
            .uri("https://server:6443/v1-k3s/config?a=b")
            .header("authorization", "Basic x")
            .header("connection", "keep-alive")
            .body(())
            .unwrap();
        let (parts, ()) = request.into_parts();
        let request = forwarded(parts, (), "10.0.0.1:5".parse().unwrap()).unwrap();
        assert_eq!(request.uri(), "/v1-k3s/config?a=b");
        let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap());
        assert_eq!(header("authorization"), Some("Basic x"));
        assert_eq!(header("host"), Some("server:6443"));
        assert_eq!(header("x-forwarded-for"), Some("10.0.0.1"));
        assert_eq!(header("connection"), None);
    }
}
