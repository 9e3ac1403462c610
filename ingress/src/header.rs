//! What the heads of requests and answers carry from one side to the other, and what they do not.

use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue,
    TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{Uri, Version};

/// What concerns one connection only, besides what its `Connection` header names (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
    http::header::TE,
    http::header::TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Where a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    pub client: IpAddr,
    pub is_tls: bool,
}

impl Origin {
    fn scheme(self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }

    fn port(self) -> u16 {
        if self.is_tls { 443 } else { 80 }
    }
}

/// Who a request is for, as it says itself: the target's host where it has one, else the `Host` header.
pub fn authority(parts: &Parts) -> Option<Authority> {
    if let Some(authority) = parts.uri.authority() {
        return Some(authority.clone());
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next()?;
    // Two are a trick to have two readers see two hosts (RFC 9112, section 3.2).
    if hosts.next().is_some() { None } else { Authority::try_from(host.as_bytes()).ok() }
}

/// The host in the form that routes are looked up by.
pub fn host(authority: &Authority) -> String {
    authority.host().trim_end_matches('.').to_ascii_lowercase()
}

/// The protocol that the client wants to change to on this connection, if any.
pub fn upgrade(parts: &Parts) -> Option<HeaderValue> {
    if parts.version != Version::HTTP_11 || !names(&parts.headers).any(|name| name == "upgrade") {
        return None;
    }
    // HTTP/2 is spoken with us, if at all, never through us.
    parts.headers.get(UPGRADE).filter(|value| !value.as_bytes().starts_with(b"h2c")).cloned()
}

/// The head of a request as the backend gets it: the same host and path, told who asks, over HTTP/1.1.
pub fn outgoing(mut parts: Parts, authority: &Authority, origin: Origin, has_body: bool) -> Parts {
    let upgrade = upgrade(&parts);
    let headers = &mut parts.headers;
    strip(headers);
    let forged = headers.keys().filter(|name| name.as_str().starts_with("x-forwarded-")).cloned();
    let forged: Vec<HeaderName> = forged.collect();
    for name in forged.iter().chain(&[FORWARDED, EXPECT]) {
        headers.remove(name);
    }
    join_cookies(headers);
    let port = authority.port_u16().unwrap_or_else(|| origin.port());
    let client = origin.client.to_canonical().to_string();
    let told = [
        (HOST, authority.as_str().rsplit('@').next().unwrap_or_default()),
        (HeaderName::from_static("x-forwarded-for"), client.as_str()),
        (HeaderName::from_static("x-real-ip"), client.as_str()),
        (HeaderName::from_static("x-forwarded-proto"), origin.scheme()),
        (
            HeaderName::from_static("x-forwarded-host"),
            authority.as_str().rsplit('@').next().unwrap_or_default(),
        ),
    ];
    for (name, text) in told {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    }
    headers.insert(HeaderName::from_static("x-forwarded-port"), port.into());
    if has_body && !headers.contains_key(CONTENT_LENGTH) {
        // Said aloud because methods such as GET are otherwise taken to have no body.
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if let Some(protocol) = upgrade {
        headers.insert(UPGRADE, protocol);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    let target = parts.uri.path_and_query().cloned();
    parts.uri = Uri::from(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    parts
}

/// Takes from a head what concerns one connection only.
pub fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = names(headers).filter_map(|name| name.parse().ok()).collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// What the `Connection` header names, in lower case.
fn names(headers: &HeaderMap) -> impl Iterator<Item = String> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|name| name.trim().to_ascii_lowercase())
}

/// HTTP/2 may send a cookie in crumbs, HTTP/1.1 may not (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, whole);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    type Headers<'a> = &'a [(&'a str, &'a str)];

    fn head(uri: &str, version: Version, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri(uri).version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn who_it_is_for() {
        let cases: &[(&str, Headers<'_>, Option<&str>)] = &[
            ("/", &[("host", "A.com:8080")], Some("a.com")),
            ("/", &[("host", "a.com.")], Some("a.com")),
            ("http://b.com/x", &[("host", "a.com")], Some("b.com")),
            ("/", &[("host", "[fd00::1]:80")], Some("[fd00::1]")),
            ("/", &[("host", "a.com"), ("host", "b.com")], None),
            ("/", &[("host", "a b")], None),
            ("/", &[], None),
        ];
        for (uri, headers, expected) in cases {
            let found = authority(&head(uri, Version::HTTP_11, headers));
            assert_eq!(found.as_ref().map(host).as_deref(), *expected, "{uri} {headers:?}");
        }
    }

    #[test]
    fn what_the_backend_is_told() {
        let origin = Origin { client: "::ffff:192.0.2.1".parse().unwrap(), is_tls: true };
        let told = [
            ("host", "a.com"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-host", "a.com"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "192.0.2.1"),
        ];
        type Case<'a> = (Version, Headers<'a>, bool, Headers<'a>);
        let cases: &[Case<'_>] = &[
            (Version::HTTP_11, &[("accept", "x")], false, &[("accept", "x")]),
            (
                Version::HTTP_11,
                &[
                    ("x-forwarded-for", "6.6.6.6"),
                    ("x-forwarded-user", "root"),
                    ("forwarded", "for=6.6.6.6"),
                    ("connection", "keep-alive, x-hop"),
                    ("x-hop", "1"),
                    ("te", "gzip"),
                    ("expect", "100-continue"),
                ],
                false,
                &[],
            ),
            (Version::HTTP_2, &[("cookie", "a=1"), ("cookie", "b=2")], false, &[("cookie", "a=1; b=2")]),
            (Version::HTTP_11, &[("content-length", "3")], true, &[("content-length", "3")]),
            (Version::HTTP_2, &[], true, &[("transfer-encoding", "chunked")]),
            (
                Version::HTTP_11,
                &[("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "k")],
                false,
                &[("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "k")],
            ),
            (Version::HTTP_11, &[("connection", "upgrade"), ("upgrade", "h2c")], false, &[]),
        ];
        for (version, headers, has_body, expected) in cases {
            let parts = head("http://a.com/p?q=1", *version, headers);
            let authority = authority(&parts).unwrap();
            let sent = outgoing(parts, &authority, origin, *has_body);
            assert_eq!((sent.uri.to_string().as_str(), sent.version), ("/p?q=1", Version::HTTP_11));
            let mut found: Vec<_> =
                sent.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
            let mut expected = [*expected, &told].concat();
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected, "{headers:?}");
        }
    }
}
