//! Subresources that are more than `status`: a table from group, resource and subresource to a handler.
//!
//! A handler is `fn(&Server, Call) -> BoxFuture<Result<Response, Fault>>`, mostly written as
//! `|server, call| Box::pin(log(server, call))`. The caller has authenticated and authorized the request and knows the
//! resource has the subresource and the verb (by the table of kinds); the handler does the rest, admission included.

mod binding;
mod log;
mod place;
mod stream;

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
const TABLES: &[&[Subresource]] = &[binding::TABLE, crate::token::request::TABLE, log::TABLE, stream::TABLE];

/// The handler of a subresource, if it has one of its own.
pub fn handler(group: &str, resource: &str, name: &str) -> Option<Handler> {
    TABLES
        .iter()
        .copied()
        .flatten()
        .find(|row| row.group == group && row.resource == resource && row.name == name)
        .map(|row| row.handler)
}
