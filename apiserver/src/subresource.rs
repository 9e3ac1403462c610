//! Subresources that are more than `status`: those that change a part of their object by a rule of its own, and a table
//! from group, resource and subresource to a handler for the others.
//!
//! A handler is `fn(&Server, Call) -> BoxFuture<Result<Response, Fault>>`, mostly written as
//! `|server, call| Box::pin(log(server, call))`. The caller has authenticated and authorized the request and knows the
//! resource has the subresource and the verb (by the table of kinds); the handler does the rest, admission included.

mod approval;
mod binding;
mod containers;
mod eviction;
mod log;
mod place;
mod proxy;
mod scale;
mod stream;

use proto::kind::{Encoding, Kind, Served};

use crate::registry::update::Rule;
use crate::request::Handler;

/// One row.
#[derive(Clone, Copy)]
pub struct Subresource {
    /// The group of the resource.
    pub group: &'static str,
    /// The resource.
    pub resource: &'static str,
    /// The subresource.
    pub name: &'static str,
    /// Answers every verb of it; `call.info.verb` says which.
    pub handler: Handler,
}

impl std::fmt::Debug for Subresource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.group, self.resource, self.name)
    }
}

/// The tables of all modules with subresources.
const TABLES: &[&[Subresource]] = &[
    binding::TABLE,
    crate::token::request::TABLE,
    eviction::TABLE,
    log::TABLE,
    proxy::TABLE,
    scale::TABLE,
    stream::TABLE,
];

/// The handler of a subresource, if it has one of its own.
pub fn handler(group: &str, resource: &str, name: &str) -> Option<Handler> {
    TABLES
        .iter()
        .copied()
        .flatten()
        .find(|row| row.group == group && row.resource == resource && row.name == name)
        .map(|row| row.handler)
}

/// The subresources that change a part of their object: group, resource, subresource, rule.
const RULES: &[(&str, &str, &str, &Rule)] = &[
    ("", "pods", "ephemeralcontainers", &containers::EPHEMERAL),
    ("", "pods", "resize", &containers::RESIZE),
    ("certificates.k8s.io", "certificatesigningrequests", "approval", &approval::APPROVAL),
];

/// How a subresource changes the part of its object that is its own.
pub fn rule(group: &str, resource: &str, name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|(g, r, n, _)| *g == group && *r == resource && *n == name).map(|(_, _, _, rule)| *rule)
}

/// The shape of what is only ever sent to a subresource; it is no resource's, so the table of kinds does not have it.
const fn shape(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    message: &'static str,
) -> Kind {
    Kind {
        group,
        version,
        kind,
        plural: "",
        singular: "",
        short_names: &[],
        categories: &[],
        verbs: &[],
        namespaced: true,
        subresources: &[],
        message,
        list_kind: "",
        list_message: "",
        served: Served::Default,
        stored: false,
        storage_version: "",
        etcd_prefix: "",
        storage_version_hash: "",
        storage_encoding: Encoding::Json,
    }
}
