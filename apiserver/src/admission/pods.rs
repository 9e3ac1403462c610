//! What pods are given on their way in: a service account with its token, a priority, tolerations.

use serde_json::{Value, json};

use super::{Attributes, Operation, Plugin, account};
use crate::fault::Fault;
use crate::kind::fill;
use crate::server::Server;

/// Gives each pod a service account, and each of its containers the account's token.
#[derive(Debug)]
pub(super) struct ServiceAccount;

/// Where containers find the token.
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The life of a token, in seconds: odd, so that it can be told from one a user asked for.
const TOKEN_LIFE: i64 = 3607;

#[async_trait::async_trait]
impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.is_for("", "pods") && attributes.operation == Operation::Create
    }

    async fn admit(
        &self,
        attributes: &Attributes<'_>,
        pod: &mut Value,
        server: &Server,
    ) -> Result<(), Fault> {
        if account::is_mirror(pod) {
            return Ok(());
        }
        let spec = fill::child(pod, "spec");
        fill::put(spec, "serviceAccountName", "default".into());
        let name = fill::text(spec, "serviceAccountName").to_owned();
        spec["serviceAccount"] = name.as_str().into();
        let account = server.read("", "serviceaccounts", attributes.namespace, &name).await?;
        let Some(account) = account else {
            let why = format!(
                "error looking up service account {}/{name}: serviceaccount \"{name}\" not found",
                attributes.namespace
            );
            return Err(Fault::forbidden("", "pods", attributes.name, &why));
        };
        if fill::list(spec, "imagePullSecrets").is_empty()
            && let Some(secrets) = account.get("imagePullSecrets")
        {
            spec["imagePullSecrets"] = secrets.clone();
        }
        let says = |object: &Value| object.get("automountServiceAccountToken").and_then(Value::as_bool);
        if says(spec).or_else(|| says(&account)).unwrap_or(true) {
            mount_token(spec, &crate::registry::create::generated("kube-api-access-"));
        }
        Ok(())
    }

    async fn validate(&self, attributes: &Attributes<'_>, pod: &Value, server: &Server) -> Result<(), Fault> {
        let refuse = |why: &str| Err(Fault::forbidden("", "pods", attributes.name, why));
        if account::is_mirror(pod) {
            return account::mirror_refusal(pod).map_or(Ok(()), refuse);
        }
        let name = fill::text(pod, "spec.serviceAccountName");
        let owner = server.get("", "serviceaccounts", attributes.namespace, name);
        let why = owner.and_then(|owner| account::secret_refusal(pod, &owner.value()));
        why.map_or(Ok(()), |why| refuse(&why))
    }
}

/// Adds the volume with the token, and mounts it where nothing else is mounted.
fn mount_token(spec: &mut Value, volume: &str) {
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if fill::list(container, "volumeMounts").iter().any(|mount| mount["mountPath"] == TOKEN_PATH) {
                continue;
            }
            mounted = true;
            push(
                container,
                "volumeMounts",
                json!({"name": volume, "readOnly": true, "mountPath": TOKEN_PATH}),
            );
        }
    }
    if mounted {
        push(
            spec,
            "volumes",
            json!({"name": volume, "projected": {"defaultMode": 0o644, "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_LIFE, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{"path": "namespace",
                    "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
            ]}}),
        );
    }
}

fn push(parent: &mut Value, list: &str, item: Value) {
    match parent.get_mut(list) {
        Some(Value::Array(items)) => items.push(item),
        _ => parent[list] = json!([item]),
    }
}

/// Turns the name of a priority class into a number.
#[derive(Debug)]
pub(super) struct Priority;

#[async_trait::async_trait]
impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.is_for("", "pods") && attributes.operation == Operation::Create
    }

    async fn admit(
        &self,
        attributes: &Attributes<'_>,
        pod: &mut Value,
        server: &Server,
    ) -> Result<(), Fault> {
        const GROUP: &str = "scheduling.k8s.io";
        let refuse = |why: String| Fault::forbidden("", "pods", attributes.name, &why);
        let spec = fill::child(pod, "spec");
        let name = fill::text(spec, "priorityClassName").to_owned();
        let class = if name.is_empty() {
            server
                .list(GROUP, "priorityclasses", "")
                .iter()
                .map(|entry| entry.value())
                .filter(|class| fill::flag(class, "globalDefault"))
                .min_by_key(|class| fill::int(class, "value"))
        } else {
            let class = server.read(GROUP, "priorityclasses", "", &name).await?;
            Some(class.ok_or_else(|| refuse(format!("no PriorityClass with name {name} was found")))?)
        };
        let class = class.unwrap_or(Value::Null);
        let value = fill::int(&class, "value").unwrap_or_default();
        let policy = match fill::text(&class, "preemptionPolicy") {
            "" => "PreemptLowerPriority",
            policy => policy,
        };
        if let Some(given) = fill::int(spec, "priority").filter(|given| *given != value) {
            return Err(refuse(format!(
                "the integer value of priority ({given}) must not be provided in pod spec; priority admission \
                 controller computed {value} from the given PriorityClass name"
            )));
        }
        let given = fill::text(spec, "preemptionPolicy");
        if !given.is_empty() && given != policy {
            return Err(refuse(format!(
                "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission \
                 controller computed {policy} from the given PriorityClass name"
            )));
        }
        if let Some(name) = class.get("metadata").and_then(|metadata| metadata.get("name")) {
            spec["priorityClassName"] = name.clone();
        }
        spec["priority"] = value.into();
        spec["preemptionPolicy"] = policy.into();
        Ok(())
    }
}

/// Lets each pod stay a while on a node that fails.
#[derive(Debug)]
pub(super) struct DefaultTolerationSeconds;

#[async_trait::async_trait]
impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.is_for("", "pods") && attributes.operation == Operation::Create
    }

    async fn admit(&self, _: &Attributes<'_>, pod: &mut Value, server: &Server) -> Result<(), Fault> {
        let settings = server.settings();
        tolerate(fill::child(pod, "spec"), "not-ready", settings.default_not_ready_toleration_seconds);
        tolerate(fill::child(pod, "spec"), "unreachable", settings.default_unreachable_toleration_seconds);
        Ok(())
    }
}

/// Adds a toleration unless there is one of the same taint.
fn tolerate(spec: &mut Value, taint: &str, seconds: i64) {
    let key = format!("node.kubernetes.io/{taint}");
    let has = fill::list(spec, "tolerations").iter().any(|toleration| {
        matches!(fill::text(toleration, "key"), "") | (fill::text(toleration, "key") == key)
            && matches!(fill::text(toleration, "effect"), "" | "NoExecute")
    });
    if !has {
        let toleration =
            json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds});
        push(spec, "tolerations", toleration);
    }
}

/// A new node takes no pods until it is ready.
#[derive(Debug)]
pub(super) struct TaintNodesByCondition;

#[async_trait::async_trait]
impl Plugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.is_for("", "nodes") && attributes.operation == Operation::Create
    }

    async fn admit(&self, _: &Attributes<'_>, node: &mut Value, _: &Server) -> Result<(), Fault> {
        const KEY: &str = "node.kubernetes.io/not-ready";
        let has = fill::list(node, "spec.taints")
            .iter()
            .any(|taint| taint["key"] == KEY && taint["effect"] == "NoSchedule");
        if !has {
            push(fill::child(node, "spec"), "taints", json!({"key": KEY, "effect": "NoSchedule"}));
        }
        Ok(())
    }
}

/// A signing request says who made it.
#[derive(Debug)]
pub(super) struct Requester;

#[async_trait::async_trait]
impl Plugin for Requester {
    fn name(&self) -> &'static str {
        "Requester"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.is_for("certificates.k8s.io", "certificatesigningrequests")
            && attributes.operation == Operation::Create
    }

    async fn admit(&self, attributes: &Attributes<'_>, request: &mut Value, _: &Server) -> Result<(), Fault> {
        let (spec, user) = (fill::child(request, "spec"), attributes.user);
        spec["username"] = user.name.as_str().into();
        spec["groups"] = json!(user.groups);
        if let Some(spec) = spec.as_object_mut() {
            spec.remove("uid");
            spec.remove("extra");
            if !user.uid.is_empty() {
                spec.insert("uid".to_owned(), user.uid.as_str().into());
            }
            if !user.extra.is_empty() {
                spec.insert("extra".to_owned(), json!(user.extra));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_mounted_where_nothing_is() {
        let mut spec = json!({"containers": [{"name": "a"}, {"name": "b", "volumeMounts": [{"mountPath": TOKEN_PATH}]}]});
        mount_token(&mut spec, "v");
        assert_eq!(spec["containers"][0]["volumeMounts"][0]["name"], "v");
        assert_eq!(fill::list(&spec["containers"][1], "volumeMounts").len(), 1);
        assert_eq!(fill::list(&spec, "volumes").len(), 1);
    }

    #[test]
    fn a_toleration_of_ones_own_counts() {
        for (given, expected) in [
            (json!([]), 1),
            (json!([{"operator": "Exists"}]), 1),
            (json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}]), 1),
            (json!([{"key": "x"}]), 2),
        ] {
            let mut spec = json!({"tolerations": given});
            tolerate(&mut spec, "not-ready", 300);
            assert_eq!(fill::list(&spec, "tolerations").len(), expected);
        }
    }
}
