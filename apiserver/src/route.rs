//! Paths that are no resource's, and resources that are only asked, never stored: tables from path to handler.
//!
//! `/healthz`, `/openapi/v3/*`, discovery documents, ... are [`Route`]s: a path that ends in `/*` stands for everything
//! below it. TokenReview, SubjectAccessReview, ... are [`Virtual`] resources: their group, version and resource come
//! from the table of kinds (`stored: false`). Handlers run after authentication and authorization.

use crate::request::Handler;
use crate::{authn, authz, discovery, health, openapi, token, version};

/// A path, or all paths below one, and who answers.
#[derive(Clone, Copy)]
pub struct Route {
    /// `/version`, or `/openapi/v3/*`.
    pub path: &'static str,
    /// Who answers, whatever the method.
    pub handler: Handler,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.path)
    }
}

/// A resource that is only asked.
#[derive(Clone, Copy)]
pub struct Virtual {
    /// Its group.
    pub group: &'static str,
    /// Its name.
    pub resource: &'static str,
    /// Who answers, whatever the verb.
    pub handler: Handler,
}

impl std::fmt::Debug for Virtual {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.group, self.resource)
    }
}

/// The tables of all modules with paths.
const ROUTES: &[&[Route]] =
    &[discovery::ROUTES, health::ROUTES, openapi::ROUTES, token::discovery::ROUTES, version::ROUTES];

/// The tables of all modules with virtual resources.
const VIRTUAL: &[&[Virtual]] = &[authn::review::VIRTUAL, authz::review::VIRTUAL];

/// The paths that stand for themselves, but for the one that lists them.
pub fn paths() -> impl Iterator<Item = &'static str> {
    let all = ROUTES.iter().copied().flatten().map(|route| route.path);
    all.filter(|path| !path.ends_with('*') && *path != "/")
}

/// Who answers a path. The longest match wins.
pub fn route(path: &str) -> Option<Handler> {
    ROUTES
        .iter()
        .copied()
        .flatten()
        .filter(|route| match route.path.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => path == route.path,
        })
        .max_by_key(|route| route.path.len())
        .map(|route| route.handler)
}

/// Who answers for a resource that is not stored.
pub fn virtual_resource(group: &str, resource: &str) -> Option<Handler> {
    VIRTUAL
        .iter()
        .copied()
        .flatten()
        .find(|row| row.group == group && row.resource == resource)
        .map(|row| row.handler)
}
