//! The objects a fresh server makes by itself: namespaces, and the roles and bindings of Kubernetes' own components.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::server::Server;

/// Namespaces that every cluster has.
const NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];

/// Roles and bindings, one a line, aggregated roles with their rules merged already.
const RBAC: &str = include_str!("bootstrap/rbac.json");

/// The pause before the store is asked again after it failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Makes what is missing, then drops `made`. What exists is left as it is.
///
/// # Errors
/// None short of a bug: it is tried again until it works.
pub async fn run(server: Arc<Server>, made: daemon::ready::Gate) -> anyhow::Result<()> {
    for name in NAMESPACES {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        ensure(&server, "", "namespaces", object).await;
    }
    for (resource, object) in roles()? {
        ensure(&server, "rbac.authorization.k8s.io", resource, object).await;
    }
    drop(made);
    std::future::pending().await
}

/// The roles and bindings, each with the resource it is one of.
fn roles() -> anyhow::Result<Vec<(&'static str, Value)>> {
    let objects: Vec<Value> = serde_json::from_str(RBAC).context("the table of roles is malformed")?;
    objects
        .into_iter()
        .map(|mut object| {
            object["apiVersion"] = "rbac.authorization.k8s.io/v1".into();
            let resource = match object["kind"].as_str() {
                Some("ClusterRole") => "clusterroles",
                Some("ClusterRoleBinding") => "clusterrolebindings",
                Some("Role") => "roles",
                Some("RoleBinding") => "rolebindings",
                other => anyhow::bail!("the table of roles holds a {other:?}"),
            };
            Ok((resource, object))
        })
        .collect()
}

/// The rules of one of the cluster roles.
pub(crate) fn rules_of(name: &str) -> Vec<crate::authz::rule::Rule> {
    let roles = roles().unwrap_or_default();
    let role = roles.iter().find(|(of, role)| *of == "clusterroles" && role["metadata"]["name"] == name);
    role.and_then(|(_, role)| serde_json::from_value(role["rules"].clone()).ok()).unwrap_or_default()
}

/// Makes an object unless it exists; tries until the store answers.
async fn ensure(server: &Server, group: &str, resource: &str, object: Value) {
    loop {
        match server.create(group, resource, object.clone()).await {
            Ok(_) => return,
            Err(fault) if fault.reason == "AlreadyExists" => return,
            Err(fault) => {
                let name = crate::object::meta(&object, "name");
                tracing::warn!("could not make {resource} {name}: {fault}");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_have_rules() {
        assert!(!rules_of("system:node").is_empty());
        assert!(rules_of("nobody").is_empty());
    }

    #[test]
    fn the_table_of_roles_is_whole() {
        let roles = roles().unwrap();
        for (_, object) in &roles {
            let aggregated = object.get("aggregationRule").is_none() || object["rules"][0].is_object();
            assert!(aggregated, "{object}");
        }
        for binding in roles.iter().filter(|(resource, _)| *resource == "clusterrolebindings") {
            let bound = &binding.1["roleRef"]["name"];
            let found =
                roles.iter().any(|(of, role)| *of == "clusterroles" && role["metadata"]["name"] == *bound);
            assert!(found, "{bound}");
        }
    }
}
