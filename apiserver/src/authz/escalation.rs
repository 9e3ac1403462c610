//! Nobody hands on more than they hold: who writes roles and bindings must hold what these give, unless they may
//! `escalate` or `bind` outright.

use serde_json::{Value, json};

use super::rule::{Attributes as Asked, Rule};
use super::{MASTERS, cover, decide};
use crate::admission::{Attributes, Operation, Plugin};
use crate::fault::Fault;
use crate::field::quoted;
use crate::kind::fill;
use crate::server::Server;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Refuses roles and bindings that give what their author does not hold.
#[derive(Debug)]
pub(crate) struct Escalation;

#[async_trait::async_trait]
impl Plugin for Escalation {
    fn name(&self) -> &'static str {
        "PrivilegeEscalation"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.group == GROUP
            && attributes.subresource.is_empty()
            && matches!(attributes.operation, Operation::Create | Operation::Update)
            && !attributes.user.groups.iter().any(|group| group == MASTERS)
    }

    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: &Value,
        server: &Server,
    ) -> Result<(), Fault> {
        match attributes.resource {
            "roles" | "clusterroles" => role(attributes, object, server),
            "rolebindings" | "clusterrolebindings" => binding(attributes, object, server),
            _ => Ok(()),
        }
    }
}

fn rules(role: &Value) -> Vec<Rule> {
    serde_json::from_value(role["rules"].clone()).unwrap_or_default()
}

/// Whether the author may do something with a role outright.
fn may(server: &Server, attributes: &Attributes<'_>, verb: &str, resource: &str, name: &str) -> bool {
    let asked = Asked {
        is_resource: true,
        verb,
        group: GROUP,
        resource,
        namespace: attributes.namespace,
        name,
        ..Asked::default()
    };
    decide(server, attributes.user, &asked).allowed
}

fn role(attributes: &Attributes<'_>, role: &Value, server: &Server) -> Result<(), Fault> {
    let old = attributes.old.unwrap_or(&Value::Null);
    let aggregated = !role["aggregationRule"].is_null() || !old["aggregationRule"].is_null();
    let same_aggregation = role["aggregationRule"] == old["aggregationRule"];
    if attributes.old.is_some() && rules(role) == rules(old) && same_aggregation {
        return Ok(());
    }
    let name = crate::object::meta(role, "name");
    if may(server, attributes, "escalate", attributes.resource, name) {
        return Ok(());
    }
    confirm(server, attributes, name, &rules(role))?;
    // What is aggregated may become anything.
    if aggregated && !same_aggregation {
        confirm(server, attributes, name, &Rule::everything())
    } else {
        Ok(())
    }
}

fn binding(attributes: &Attributes<'_>, binding: &Value, server: &Server) -> Result<(), Fault> {
    let same = |field: &str| attributes.old.is_some_and(|old| old[field] == binding[field]);
    if same("roleRef") && same("subjects") {
        return Ok(());
    }
    let (kind, role) = (fill::text(binding, "roleRef.kind"), fill::text(binding, "roleRef.name"));
    let plural = if kind == "ClusterRole" { "clusterroles" } else { "roles" };
    if may(server, attributes, "bind", plural, role) {
        return Ok(());
    }
    let rules = server.rbac().role(server, kind, attributes.namespace, role);
    let rules = rules.ok_or_else(|| Fault::not_found(GROUP, plural, role))?;
    confirm(server, attributes, crate::object::meta(binding, "name"), &rules)
}

/// Refuses what the author does not hold, with upstream's list of what that is.
fn confirm(server: &Server, attributes: &Attributes<'_>, name: &str, wanted: &[Rule]) -> Result<(), Fault> {
    let user = attributes.user;
    let (owned, wrong) = server.rbac().rules(server, user, attributes.namespace);
    let mut missing: Vec<String> = cover::missing(&owned, wanted).iter().map(cover::text).collect();
    if missing.is_empty() {
        return Ok(());
    }
    missing.sort();
    missing.dedup();
    let groups: Vec<String> = user.groups.iter().map(|group| quoted(group)).collect();
    let mut why = format!(
        "user {} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        quoted(&user.name),
        groups.join(" "),
        missing.join("\n")
    );
    if !wrong.is_empty() {
        why.push_str(&format!("; resolution errors: {}", json!(wrong)));
    }
    Err(Fault::forbidden(GROUP, attributes.resource, name, &why))
}
