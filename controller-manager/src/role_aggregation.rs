//! Fills ClusterRoles that are the sum of others, chosen by label.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context as _;
use client::k8s_openapi::api::rbac::v1::{AggregationRule, ClusterRole, PolicyRule};
use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use client::kube::api::{Patch, PatchParams};
use client::kube::{Api, Client};
use client::object::found;
use client::{Cache, Key, Next, Queue};
use parking_lot::Mutex;
use serde::{Deserialize, Deserializer};

use crate::claim;
use crate::scene::Scene;
use crate::table::Reconciler;

/// A ClusterRole. Every cluster has some seventy, whose rules are looked at a few times in its life.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Role {
    #[serde(deserialize_with = "client::narrow::meta")]
    metadata: ObjectMeta,
    aggregation_rule: Option<AggregationRule>,
    #[serde(default)]
    rules: Rules,
}
client::narrow!(Role as ClusterRole);

/// Rules as JSON, a tenth the size of the structs.
#[derive(Clone, Debug, Default)]
struct Rules(Box<str>);

impl<'de> Deserialize<'de> for Rules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rules = Option::<Vec<PolicyRule>>::deserialize(deserializer)?.unwrap_or_default();
        let packed = serde_json::to_string(&rules).map_err(serde::de::Error::custom)?;
        Ok(Self(packed.into()))
    }
}

impl Rules {
    fn read(&self) -> Vec<PolicyRule> {
        // What was written from such structs is read as them; an empty text is none.
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

struct State {
    client: Client,
    roles: Cache<Role>,
}

pub(crate) fn build(scene: &Scene) -> anyhow::Result<Option<Reconciler>> {
    let roles = scene.caches.of::<Role>();
    let queue = Queue::default();
    let (woken, sums) = (queue.clone(), Arc::new(Mutex::new(BTreeSet::new())));
    roles.subscribe(move |change| {
        let role = change.object();
        let mut sums = sums.lock();
        if role.aggregation_rule.is_some() {
            sums.insert(Key::of(&**role));
        } else {
            sums.remove(&Key::of(&**role));
        }
        for sum in sums.iter() {
            woken.add(sum.clone());
        }
    });
    let state = State { client: scene.client.clone(), roles };
    Ok(Some(Reconciler::new(queue, state, |state, key| async move { state.reconcile(&key).await })))
}

/// The rules of all roles that `role` sums up, each once, in the order of the roles' names.
fn sum(role: &Role, all: &[Arc<Role>]) -> Option<Vec<PolicyRule>> {
    let selectors = role.aggregation_rule.as_ref()?.cluster_role_selectors.iter().flatten();
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in selectors.filter_map(claim::selector) {
        let others = all.iter().filter(|other| other.metadata.name != role.metadata.name);
        for other in others.filter(|other| claim::fits(&selector, &***other)) {
            for rule in other.rules.read() {
                if !rules.contains(&rule) {
                    rules.push(rule);
                }
            }
        }
    }
    Some(rules)
}

impl State {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(role) = self.roles.get(key) else { return Ok(Next::Wait) };
        let Some(rules) = sum(&role, &self.roles.list()) else { return Ok(Next::Wait) };
        if role.rules.read() == rules {
            return Ok(Next::Wait);
        }
        let patch = serde_json::json!({"metadata": {"resourceVersion": role.metadata.resource_version}, "rules": rules});
        let api: Api<ClusterRole> = Api::all(self.client.clone());
        found(api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await)
            .map(|_| Next::Wait)
            .context("could not write the summed rules")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn rules_are_summed_once() {
        let role = |name: &str, label: &str, rules: Value| -> Arc<Role> {
            let role = json!({"metadata": {"name": name, "labels": {"sum": label}}, "rules": rules});
            Arc::new(serde_json::from_value(role).unwrap())
        };
        let rule = |verb: &str| json!({"verbs": [verb], "apiGroups": [""], "resources": ["pods"]});
        let all = [
            role("a", "x", json!([rule("get"), rule("list")])),
            role("b", "x", json!([rule("get"), rule("watch")])),
            role("c", "y", json!([rule("delete")])),
        ];
        let total: Role = serde_json::from_value(json!({"metadata": {"name": "s", "labels": {"sum": "x"}},
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"sum": "x"}}]}}))
        .unwrap();
        let verbs: Vec<_> = sum(&total, &all).unwrap().into_iter().flat_map(|rule| rule.verbs).collect();
        assert_eq!(verbs, ["get", "list", "watch"]);
        assert_eq!(sum(&all[0], &all), None);
    }
}
