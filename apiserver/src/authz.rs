//! Whether they may: the authorizers of `--authorization-mode`, in order.

use crate::fault::Fault;
use crate::field::quoted;
use crate::request::{RequestInfo, User};
use crate::server::Server;

pub(crate) mod cover;
pub(crate) mod escalation;
pub(crate) mod node;
pub mod rbac;
pub(crate) mod review;
pub mod rule;

pub use rbac::Rbac;
use rule::Attributes;

/// Paths that everybody may ask (upstream's default of `--authorization-always-allow-paths`).
const ALWAYS: &[&str] = &["/healthz", "/livez", "/readyz"];

/// Who may do everything.
pub(crate) const MASTERS: &str = "system:masters";

/// What an authorizer says. Where it does not allow, the next one is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the user may.
    pub allowed: bool,
    /// Why, or why not; mostly empty.
    pub reason: String,
}

impl Verdict {
    fn allow(reason: impl Into<String>) -> Self {
        Self { allowed: true, reason: reason.into() }
    }

    fn pass(reason: impl Into<String>) -> Self {
        Self { allowed: false, reason: reason.into() }
    }
}

/// One of the values of `--authorization-mode`.
struct Mode {
    name: &'static str,
    decide: fn(&Server, &User, &Attributes<'_>) -> Verdict,
}

const MODES: &[Mode] = &[
    Mode { name: "AlwaysAllow", decide: |_, _, _| Verdict::allow("") },
    Mode { name: "AlwaysDeny", decide: |_, _, _| Verdict::pass("Everything is forbidden.") },
    Mode { name: "Node", decide: node::decide },
    Mode { name: "RBAC", decide: |server, user, asked| server.rbac().decide(server, user, asked) },
];

/// Whether there is such an authorizer.
pub(crate) fn is_mode(name: &str) -> bool {
    MODES.iter().any(|mode| mode.name == name)
}

/// Whether everybody may ask a path, or it is one check of those that everybody may ask all at once.
pub(crate) fn is_open(path: &str) -> bool {
    ALWAYS
        .iter()
        .any(|open| path.strip_prefix(open).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// What all authorizers together say.
pub(crate) fn decide(server: &Server, user: &User, asked: &Attributes<'_>) -> Verdict {
    let is_open = !asked.is_resource && ALWAYS.contains(&asked.path);
    if is_open || user.groups.iter().any(|group| group == MASTERS) {
        return Verdict::allow("");
    }
    let mut reasons: Vec<String> = Vec::new();
    for name in &server.settings().authorization_mode {
        let Some(mode) = MODES.iter().find(|mode| mode.name == name) else { continue };
        let verdict = (mode.decide)(server, user, asked);
        if !verdict.reason.is_empty() {
            reasons.push(verdict.reason);
        }
        if verdict.allowed {
            return Verdict::allow(reasons.join("\n"));
        }
    }
    Verdict::pass(reasons.join("\n"))
}

/// Whether a user may do what they ask for.
///
/// # Errors
/// 403 with upstream's text where not.
pub async fn authorize(server: &Server, user: &User, info: &RequestInfo) -> Result<(), Fault> {
    let asked = Attributes::of(info);
    let verdict = decide(server, user, &asked);
    if verdict.allowed { Ok(()) } else { Err(forbidden(user, &asked, &verdict.reason)) }
}

/// The answer to who may not.
pub(crate) fn forbidden(user: &User, asked: &Attributes<'_>, reason: &str) -> Fault {
    let mut why = refusal(user, asked);
    if !reason.is_empty() {
        why.push_str(": ");
        why.push_str(reason);
    }
    if asked.is_resource {
        return Fault::forbidden(asked.group, asked.resource, asked.name, &why);
    }
    Fault::forbidden_path(&why)
}

/// Why not, in upstream's words.
fn refusal(user: &User, asked: &Attributes<'_>) -> String {
    let (name, verb) = (quoted(&user.name), asked.verb);
    if !asked.is_resource {
        return format!("User {name} cannot {verb} path {}", quoted(asked.path));
    }
    let place = match asked.namespace {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {}", quoted(namespace)),
    };
    let (resource, group) = (quoted(&asked.whole_resource()), quoted(asked.group));
    format!("User {name} cannot {verb} resource {resource} in API group {group} {place}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_paths() {
        for (path, expected) in
            [("/readyz", true), ("/readyz/etcd", true), ("/readyzzz", false), ("/api", false)]
        {
            assert_eq!(is_open(path), expected, "{path}");
        }
    }

    #[test]
    fn refusals_in_words() {
        let user = User { name: "alice".to_owned(), ..User::default() };
        let cases = [
            (
                "/api/v1/namespaces/x/pods",
                r#"User "alice" cannot list resource "pods" in API group "" in the namespace "x""#,
            ),
            (
                "/apis/apps/v1/namespaces/x/deployments/d/scale",
                r#"User "alice" cannot get resource "deployments/scale" in API group "apps" in the namespace "x""#,
            ),
            (
                "/api/v1/nodes",
                r#"User "alice" cannot list resource "nodes" in API group "" at the cluster scope"#,
            ),
            ("/nothing", r#"User "alice" cannot get path "/nothing""#),
        ];
        for (path, expected) in cases {
            let info = RequestInfo::parse(&http::Method::GET, &path.parse().unwrap());
            assert_eq!(refusal(&user, &Attributes::of(&info)), expected);
        }
    }
}
