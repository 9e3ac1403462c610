//! What a request asks for: its verb, resource and name as Kubernetes derives them from method and path, and who asks.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::Method;
use parking_lot::Mutex;

use crate::fault::Fault;
use crate::server::Server;

/// The body of an answer.
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>;

/// An answer.
pub type Response = http::Response<Body>;

/// Answers one kind of request.
pub type Handler = for<'a> fn(&'a Server, Call) -> BoxFuture<'a, Result<Response, Fault>>;

/// Who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The uid, or empty.
    pub uid: String,
    /// The groups.
    pub groups: Vec<String>,
    /// What else the authenticator knows.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Texts for `Warning` headers, collected while a request is worked on.
#[derive(Debug, Default)]
pub struct Warnings(Mutex<Vec<String>>);

impl Warnings {
    /// Adds a warning unless it is there already.
    pub fn add(&self, text: impl Into<String>) {
        let text = text.into();
        let mut texts = self.0.lock();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }

    /// All of them, in order.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock())
    }
}

/// A request on its way to its handler.
///
/// `parts.extensions` still holds hyper's `OnUpgrade`; `body` is read already, up to the limit (empty where the request
/// upgrades).
#[derive(Debug)]
pub struct Call {
    /// What it asks for.
    pub info: RequestInfo,
    /// Who asks.
    pub user: User,
    /// Method, URI, headers and extensions.
    pub parts: http::request::Parts,
    /// The whole body.
    pub body: Bytes,
    /// Texts for `Warning` headers.
    pub warnings: std::sync::Arc<Warnings>,
}

/// What a request asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether it is about a resource.
    pub is_resource: bool,
    /// The path.
    pub path: String,
    /// `get`, `list`, `watch`, `create`, ...; for other paths the method in lower case.
    pub verb: String,
    /// `api` or `apis`.
    pub prefix: String,
    /// The group; empty for the core group.
    pub group: String,
    /// The version.
    pub version: String,
    /// The namespace; empty for all or none.
    pub namespace: String,
    /// The resource.
    pub resource: String,
    /// The subresource, or empty.
    pub subresource: String,
    /// The name, or empty.
    pub name: String,
    /// Path segments from the resource on.
    pub parts: Vec<String>,
    /// The query, in order.
    pub query: Vec<(String, String)>,
}

impl RequestInfo {
    /// The first value of a query parameter.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of a query parameter.
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.query.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }

    /// A query parameter that is a number.
    ///
    /// # Errors
    /// 400 where it is none.
    pub fn number(&self, name: &str) -> Result<Option<i64>, Fault> {
        let Some(text) = self.param(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        text.parse().map(Some).map_err(|error: std::num::ParseIntError| {
            let why = match error.kind() {
                std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
                    "value out of range"
                }
                _ => "invalid syntax",
            };
            Fault::bad_request(format!("strconv.ParseInt: parsing {}: {why}", crate::field::quoted(text)))
        })
    }

    /// Whether a query parameter says yes, as Kubernetes reads booleans in queries.
    pub fn flag(&self, name: &str) -> bool {
        self.param(name).is_some_and(|value| !matches!(value.to_ascii_lowercase().as_str(), "false" | "0"))
    }

    /// Reads method and URI.
    pub fn parse(method: &Method, uri: &http::Uri) -> Self {
        let mut info = Self {
            path: uri.path().to_owned(),
            verb: method.as_str().to_ascii_lowercase(),
            query: query(uri.query().unwrap_or_default()),
            ..Self::default()
        };
        let segments: Vec<String> =
            uri.path().trim_matches('/').split('/').map(decoded).filter(|part| !part.is_empty()).collect();
        info.read_segments(&segments, method);
        info
    }

    fn read_segments(&mut self, segments: &[String], method: &Method) {
        // Three segments make the shortest resource path: /api/v1/nodes.
        if segments.len() < 3 || !matches!(segments[0].as_str(), "api" | "apis") {
            return;
        }
        let mut rest = &segments[1..];
        let mut group = String::new();
        if segments[0] == "apis" {
            if rest.len() < 3 {
                return;
            }
            group = rest[0].clone();
            rest = &rest[1..];
        }
        self.is_resource = true;
        self.prefix = segments[0].clone();
        self.group = group;
        self.version = rest[0].clone();
        rest = &rest[1..];
        self.verb = match *method {
            Method::POST => "create",
            Method::GET | Method::HEAD => "get",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "",
        }
        .to_owned();
        if rest[0] == "watch" && rest.len() > 1 {
            self.verb = "watch".to_owned();
            rest = &rest[1..];
        }
        rest = self.read_namespace(rest);
        self.parts = rest.to_vec();
        self.resource = rest.first().cloned().unwrap_or_default();
        self.name = rest.get(1).cloned().unwrap_or_default();
        self.subresource = rest.get(2).cloned().unwrap_or_default();
        self.read_collection_verb();
    }

    /// `namespaces/x/pods` is pods in x, but `namespaces/x` and `namespaces/x/status` are the namespace itself.
    fn read_namespace<'a>(&mut self, rest: &'a [String]) -> &'a [String] {
        if rest[0] != "namespaces" {
            return rest;
        }
        let Some(namespace) = rest.get(1) else { return rest };
        self.namespace = namespace.clone();
        match rest.get(2).map(String::as_str) {
            None | Some("status" | "finalize") => rest,
            Some(_) => &rest[2..],
        }
    }

    fn read_collection_verb(&mut self) {
        if !self.name.is_empty() {
            return;
        }
        match self.verb.as_str() {
            "get" => {
                // One object named by a field selector counts as that object for the authorizer.
                if let Some(name) = self.param("fieldSelector").and_then(name_in_selector) {
                    self.name = name;
                }
                self.verb = if self.flag("watch") { "watch" } else { "list" }.to_owned();
            }
            "delete" => self.verb = "deletecollection".to_owned(),
            _ => {}
        }
    }
}

fn name_in_selector(selector: &str) -> Option<String> {
    selector.split(',').find_map(|term| {
        let value = term.trim().strip_prefix("metadata.name=")?;
        let name = value.strip_prefix('=').unwrap_or(value).trim();
        (!name.is_empty() && !name.contains('/')).then(|| name.to_owned())
    })
}

/// A percent-encoded path segment as text.
pub(crate) fn decoded(text: &str) -> String {
    percent(text, false)
}

fn query(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty() && is_well_escaped(pair))
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent(key, true), percent(value, true))
        })
        .collect()
}

/// Whether every percent sign begins an escape; Go leaves out parameters where one does not.
fn is_well_escaped(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        let hex = |at: usize| rest.as_bytes().get(at).is_some_and(u8::is_ascii_hexdigit);
        hex(0) && hex(1)
    })
}

fn percent(text: &str, plus_is_space: bool) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = |offset: usize| bytes.get(at + offset).and_then(|b| (*b as char).to_digit(16));
        match (byte, hex(1), hex(2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', _, _) if plus_is_space => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_what_they_ask_for() {
        // method, path, verb, group/version, namespace, resource, subresource, name
        let cases = [
            ("GET", "/api/v1/nodes", "list", "/v1", "", "nodes", "", ""),
            ("GET", "/api/v1/nodes?watch=1", "watch", "/v1", "", "nodes", "", ""),
            ("GET", "/api/v1/nodes?watch=false", "list", "/v1", "", "nodes", "", ""),
            ("GET", "/api/v1/watch/namespaces/a/pods/p", "watch", "/v1", "a", "pods", "", "p"),
            ("GET", "/api/v1/namespaces/a", "get", "/v1", "a", "namespaces", "", "a"),
            ("PUT", "/api/v1/namespaces/a/finalize", "update", "/v1", "a", "namespaces", "finalize", "a"),
            ("GET", "/api/v1/namespaces/a/pods/p/log", "get", "/v1", "a", "pods", "log", "p"),
            (
                "DELETE",
                "/apis/apps/v1/namespaces/a/deployments",
                "deletecollection",
                "apps/v1",
                "a",
                "deployments",
                "",
                "",
            ),
            (
                "PATCH",
                "/apis/apps/v1/namespaces/a/deployments/d/scale",
                "patch",
                "apps/v1",
                "a",
                "deployments",
                "scale",
                "d",
            ),
            ("GET", "/api/v1/pods?fieldSelector=metadata.name%3Dx", "list", "/v1", "", "pods", "", "x"),
            ("GET", "/apis/apps/v1", "get", "/", "", "", "", ""),
            ("GET", "/healthz", "get", "/", "", "", "", ""),
        ];
        for (method, path, verb, group_version, namespace, resource, subresource, name) in cases {
            let info = RequestInfo::parse(&method.parse().unwrap(), &path.parse().unwrap());
            let found = (
                info.verb.as_str(),
                format!("{}/{}", info.group, info.version),
                info.namespace.as_str(),
                info.resource.as_str(),
                info.subresource.as_str(),
                info.name.as_str(),
            );
            assert_eq!(
                found,
                (verb, group_version.to_owned(), namespace, resource, subresource, name),
                "{method} {path}"
            );
        }
    }
}
