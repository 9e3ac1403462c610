//! The objects a fresh server makes by itself: namespaces, the roles and bindings of Kubernetes' own components, and
//! the way to itself.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt;
use serde_json::{Value, json};

use crate::authz::cover;
use crate::authz::rule::Rule;
use crate::fault::Fault;
use crate::kind::check;
use crate::object;
use crate::server::Server;

mod objects;

const RBAC_GROUP: &str = "rbac.authorization.k8s.io";

/// Namespaces that every cluster has.
const NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];

/// Roles and bindings, one a line, aggregated roles with their rules merged already.
const RBAC: &str = include_str!("bootstrap/rbac.json");

/// The user that all controllers work as here, where upstream has an account for each.
const CONTROLLERS: &str = "system:kube-controller-manager";

/// What they may do all together: a role of our own.
const ALL_CONTROLLERS: &str = "system:isopod-controllers";

/// The pause before the store is asked again after it failed.
const PAUSE: Duration = Duration::from_secs(1);

/// How many objects are made at once: the store commits what comes together with one fsync.
const AT_ONCE: usize = 32;

/// What becomes of an object that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upkeep {
    /// It stays as it is.
    Leave,
    /// These fields are set again, since they tell of this server.
    Renew(&'static [&'static str]),
    /// It is given the rules and subjects that it lacks, unless its annotation says no.
    Complete,
}

/// An object that shall exist.
#[derive(Debug)]
struct Wanted {
    group: &'static str,
    resource: &'static str,
    object: Value,
    upkeep: Upkeep,
}

/// Makes what is missing, then drops `made`.
///
/// # Errors
/// Where the table of roles is malformed, which a test excludes, or the file of an authority cannot be read.
pub async fn run(server: Arc<Server>, port: u16, made: daemon::ready::Gate) -> anyhow::Result<()> {
    let mut all = roles()?;
    all.extend(own(&server, port)?);
    let server = &server;
    futures::stream::iter(all).for_each_concurrent(AT_ONCE, |wanted| ensure(server, wanted)).await;
    // Who asks first shall find the roles where the authorizer looks for them.
    while let Err(fault) = server.fresh().await {
        tracing::warn!("the cache lags behind: {fault}");
        tokio::time::sleep(PAUSE).await;
    }
    drop(made);
    std::future::pending().await
}

/// What tells of this very server, and what all servers have.
fn own(server: &Server, port: u16) -> anyhow::Result<Vec<Wanted>> {
    let settings = server.settings();
    let leave = |group, resource, object| Wanted { group, resource, object, upkeep: Upkeep::Leave };
    let namespace = |name: &&str| {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        leave("", "namespaces", object)
    };
    let mut all: Vec<Wanted> = NAMESPACES.iter().map(namespace).collect();
    all.extend(objects::priority_classes().map(|class| leave("scheduling.k8s.io", "priorityclasses", class)));
    let ranges = &settings.service_cluster_ip_range;
    let now = object::time(object::now());
    all.push(leave("networking.k8s.io", "servicecidrs", objects::service_cidr(ranges, &now)));
    all.extend(ranges.first().map(|range| leave("", "services", objects::service(range, port))));
    let address = settings.advertised();
    if address.is_loopback() {
        tracing::info!(%address, "pods will not reach the API: --advertise-address is a loopback address");
    } else {
        all.push(Wanted {
            group: "",
            resource: "endpoints",
            object: objects::endpoints(address, port),
            upkeep: Upkeep::Renew(&["subsets"]),
        });
        all.push(Wanted {
            group: "discovery.k8s.io",
            resource: "endpointslices",
            object: objects::endpoint_slice(address, port),
            upkeep: Upkeep::Renew(&["endpoints", "ports"]),
        });
    }
    all.push(Wanted {
        group: "",
        resource: "configmaps",
        object: objects::authentication(&authentication(server)?),
        upkeep: Upkeep::Renew(&["data"]),
    });
    Ok(all)
}

/// By what servers that extend the API can tell who asks.
fn authentication(server: &Server) -> anyhow::Result<Vec<(&'static str, String)>> {
    let settings = server.settings();
    let text = |flag: &str, path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("--{flag}: could not read {}", path.display()))
    };
    let mut data = Vec::new();
    if let Some(path) = &settings.client_ca_file {
        data.push(("client-ca-file", text("client-ca-file", path)?));
    }
    if let Some(path) = &settings.requestheader_client_ca_file {
        let list = |names: &[String]| json!(names).to_string();
        data.push(("requestheader-client-ca-file", text("requestheader-client-ca-file", path)?));
        data.push(("requestheader-allowed-names", list(&settings.requestheader_allowed_names)));
        data.push(("requestheader-username-headers", list(&settings.requestheader_username_headers)));
        data.push(("requestheader-group-headers", list(&settings.requestheader_group_headers)));
        data.push(("requestheader-extra-headers-prefix", list(&settings.requestheader_extra_headers_prefix)));
    }
    Ok(data)
}

/// The roles and bindings.
fn roles() -> anyhow::Result<Vec<Wanted>> {
    let mut objects: Vec<Value> = serde_json::from_str(RBAC).context("the table of roles is malformed")?;
    objects.extend(controllers(&objects));
    let wanted = |mut object: Value| {
        object["apiVersion"] = format!("{RBAC_GROUP}/v1").into();
        let resource = match object["kind"].as_str() {
            Some("ClusterRole") => "clusterroles",
            Some("ClusterRoleBinding") => "clusterrolebindings",
            Some("Role") => "roles",
            Some("RoleBinding") => "rolebindings",
            other => anyhow::bail!("the table of roles holds a {other:?}"),
        };
        Ok(Wanted { group: RBAC_GROUP, resource, object, upkeep: Upkeep::Complete })
    };
    objects.into_iter().map(wanted).collect()
}

/// The role of all controllers together, and its binding.
fn controllers(roles: &[Value]) -> [Value; 2] {
    let mut rules: Vec<&Value> = Vec::new();
    for role in roles.iter().filter(|role| role["kind"] == "ClusterRole") {
        if object::meta(role, "name").starts_with("system:controller:") {
            for rule in role["rules"].as_array().into_iter().flatten() {
                if !rules.contains(&rule) {
                    rules.push(rule);
                }
            }
        }
    }
    let metadata = json!({
        "name": ALL_CONTROLLERS,
        "annotations": {AUTO_UPDATE: "true"},
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
    });
    [
        json!({"kind": "ClusterRole", "metadata": metadata, "rules": rules}),
        json!({
            "kind": "ClusterRoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": ALL_CONTROLLERS},
            "subjects": [{"apiGroup": RBAC_GROUP, "kind": "User", "name": CONTROLLERS}],
        }),
    ]
}

/// The rules of one of the cluster roles.
pub(crate) fn rules_of(name: &str) -> Vec<Rule> {
    let roles = roles().unwrap_or_default();
    let is_it =
        |role: &&Wanted| role.resource == "clusterroles" && object::meta(&role.object, "name") == name;
    roles.iter().find(is_it).map(|role| rules(&role.object)).unwrap_or_default()
}

fn rules(role: &Value) -> Vec<Rule> {
    serde_json::from_value(role["rules"].clone()).unwrap_or_default()
}

/// Roles with this annotation are kept complete.
const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// An object that exists, brought up to date.
fn renew(old: &mut Value, wanted: &Wanted) {
    match wanted.upkeep {
        Upkeep::Leave => {}
        Upkeep::Renew(fields) => {
            for field in fields {
                let value = &wanted.object[field];
                if !check::same(&old[field], value) {
                    old[field] = value.clone();
                }
            }
        }
        Upkeep::Complete if old["metadata"]["annotations"][AUTO_UPDATE] != "true" => {}
        Upkeep::Complete => {
            let lacking = cover::missing(&rules(old), &rules(&wanted.object));
            append(old, "rules", lacking.iter().map(|rule| json!(rule)));
            let subjects: Vec<Value> = wanted.object["subjects"].as_array().cloned().unwrap_or_default();
            let known = old["subjects"].clone();
            let is_known = |subject: &Value| known.as_array().is_some_and(|known| known.contains(subject));
            append(old, "subjects", subjects.into_iter().filter(|subject| !is_known(subject)));
        }
    }
}

fn append(object: &mut Value, field: &str, items: impl Iterator<Item = Value>) {
    let items: Vec<Value> = items.collect();
    if items.is_empty() {
        return;
    }
    match object.get_mut(field) {
        Some(Value::Array(list)) => list.extend(items),
        _ => object[field] = items.into(),
    }
}

/// Makes an object, or brings it up to date where it exists; tries until the store answers.
async fn ensure(server: &Server, wanted: Wanted) {
    while let Err(fault) = settle(server, &wanted).await {
        tracing::warn!(
            "could not make {} {}: {fault}",
            wanted.resource,
            object::meta(&wanted.object, "name")
        );
        tokio::time::sleep(PAUSE).await;
    }
}

/// One try. Looks first: to make a Service again would be refused for its address, which it has itself.
async fn settle(server: &Server, wanted: &Wanted) -> Result<(), Fault> {
    let Wanted { group, resource, object, .. } = wanted;
    let (namespace, name) = (object::meta(object, "namespace"), object::meta(object, "name"));
    if let Some(old) = server.read(group, resource, namespace, name).await? {
        let mut new = old.clone();
        renew(&mut new, wanted);
        if new != old {
            let change = |old: &mut Value| {
                renew(old, wanted);
                Ok(())
            };
            server.update(group, resource, namespace, name, &change).await?;
        }
        return Ok(());
    }
    match server.create(group, resource, object.clone()).await {
        Err(fault) if fault.reason != "AlreadyExists" => return Err(fault),
        _ => {}
    }
    if let Some(status) = object.get("status") {
        let change = |made: &mut Value| {
            made["status"] = status.clone();
            Ok(())
        };
        server.update(group, resource, namespace, name, &change).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_roles_is_whole() {
        let roles = roles().unwrap();
        for wanted in &roles {
            let object = &wanted.object;
            let aggregated = object.get("aggregationRule").is_none() || object["rules"][0].is_object();
            assert!(aggregated, "{object}");
        }
        for binding in roles.iter().filter(|wanted| wanted.resource == "clusterrolebindings") {
            let bound = &binding.object["roleRef"]["name"];
            let is_it =
                |role: &Wanted| role.resource == "clusterroles" && role.object["metadata"]["name"] == *bound;
            assert!(roles.iter().any(is_it), "{bound}");
        }
    }

    #[test]
    fn nodes_and_controllers_have_rules() {
        assert!(!rules_of("system:node").is_empty());
        assert!(!rules_of(ALL_CONTROLLERS).is_empty());
        assert!(rules_of("nobody").is_empty());
    }

    #[test]
    fn roles_are_completed_unless_they_say_no() {
        let rule = |verb: &str| json!({"apiGroups": [""], "resources": ["pods"], "verbs": [verb]});
        let wanted = Wanted {
            group: RBAC_GROUP,
            resource: "clusterroles",
            object: json!({"rules": [rule("get"), rule("list")]}),
            upkeep: Upkeep::Complete,
        };
        for (says, expected) in [("true", 2), ("false", 1)] {
            let mut role = json!({"metadata": {"annotations": {AUTO_UPDATE: says}}, "rules": [rule("get")]});
            renew(&mut role, &wanted);
            assert_eq!(role["rules"].as_array().unwrap().len(), expected, "{role}");
            assert!(role.get("subjects").is_none());
        }
    }
}
