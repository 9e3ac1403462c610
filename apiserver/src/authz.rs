//! Whether they may: the authorizers of `--authorization-mode`, in order.

use crate::fault::Fault;
use crate::field::quoted;
use crate::request::{RequestInfo, User};
use crate::server::Server;

pub mod rbac;
pub mod rule;

pub use rbac::Rbac;
use rule::Attributes;

/// Paths that everybody may ask (upstream's default of `--authorization-always-allow-paths`).
const ALWAYS: &[&str] = &["/healthz", "/livez", "/readyz"];

/// Whether a user may do what they ask for.
///
/// # Errors
/// 403 with upstream's text where not.
pub async fn authorize(server: &Server, user: &User, info: &RequestInfo) -> Result<(), Fault> {
    if user.groups.iter().any(|group| group == "system:masters")
        || !info.is_resource && ALWAYS.contains(&info.path.as_str())
    {
        return Ok(());
    }
    let attributes = Attributes::of(info);
    for mode in &server.settings().authorization_mode {
        let allowed = match mode.as_str() {
            "AlwaysAllow" => true,
            "RBAC" => server.rbac().allows(server, user, &attributes),
            _ => false,
        };
        if allowed {
            return Ok(());
        }
    }
    let why = refusal(user, &attributes);
    if info.is_resource {
        return Err(Fault::forbidden(&info.group, &info.resource, &info.name, &why));
    }
    Err(Fault::forbidden_path(&why))
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
