//! Plain HTTP passed through: one request there, its answer back as it comes.

use http::{HeaderValue, Request, header};
use http_body_util::Full;

use super::Place;
use super::upgrade::{handed_on, relayed};
use crate::fault::Fault;
use crate::request::{Call, Response};
use crate::serve::Peer;
use crate::server::Server;

/// Asks `place` for `path` (query included); `prefix` is what stands before that path in the client's eyes, and is put
/// before redirections within the place.
///
/// # Errors
/// 503 where nobody answers.
pub async fn pass(
    server: &Server,
    call: Call,
    place: &Place,
    path: &str,
    prefix: &str,
) -> Result<Response, Fault> {
    let parts = call.parts;
    let peer = parts.extensions.get::<Peer>().map(|peer| peer.0.ip().to_string());
    let host = parts.headers.get(header::HOST).cloned();
    let host = host.or_else(|| HeaderValue::from_str(parts.uri.authority()?.as_str()).ok());
    let mut request = Request::new(Full::new(call.body));
    *request.method_mut() = parts.method;
    *request.uri_mut() = path.parse().map_err(Fault::internal)?;
    let mut headers = handed_on(&parts.headers, peer.as_deref(), place);
    for name in ["connection", "keep-alive", "proxy-connection", "upgrade"] {
        headers.remove(name);
    }
    if let Some(host) = host {
        headers.insert("x-forwarded-host", host);
    }
    headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
    headers.insert("x-forwarded-uri", parts.uri.path().parse().map_err(Fault::internal)?);
    headers.insert(header::HOST, place.authority().parse().map_err(Fault::internal)?);
    *request.headers_mut() = headers;
    let answer = server
        .backends()
        .send(server.context(), place, request)
        .await
        .map_err(|error| Fault::unavailable(format!("error trying to reach service: {error}")))?;
    let mut response = relayed(answer);
    let moved = response.headers().get(header::LOCATION).and_then(|to| to.to_str().ok());
    if let Some(to) = moved.and_then(|to| redirected(to, place, prefix))
        && let Ok(to) = HeaderValue::from_str(&to)
    {
        response.headers_mut().insert(header::LOCATION, to);
    }
    Ok(response)
}

/// A redirection as the client must follow it; `None` where it leads elsewhere.
fn redirected(to: &str, place: &Place, prefix: &str) -> Option<String> {
    let below = to.strip_prefix(&place.url("")).unwrap_or(to);
    (below.starts_with('/') && !below.starts_with("//")).then(|| format!("{prefix}{below}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Security;

    #[test]
    fn redirections_stay_below_the_proxy() {
        let place = Place { security: Security::Plain, host: "10.42.0.2".to_owned(), port: 80 };
        let cases = [
            ("/a?b", Some("/x/proxy/a?b")),
            ("http://10.42.0.2:80/a", Some("/x/proxy/a")),
            ("http://elsewhere/a", None),
            ("//elsewhere/a", None),
            ("a", None),
        ];
        for (to, expected) in cases {
            assert_eq!(redirected(to, &place, "/x/proxy").as_deref(), expected, "{to}");
        }
    }
}
