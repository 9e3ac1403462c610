//! How much of each resource a pod asks for, and how much a node has to give.

use std::collections::BTreeMap;

use client::k8s_openapi::api::core::v1::{Container, Node, Pod, PodSpec};
use client::k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The name of processing time; counted in thousandths.
pub(crate) const CPU: &str = "cpu";

/// The name of working memory.
pub(crate) const MEMORY: &str = "memory";

/// The name of the count of pods a node takes.
pub(crate) const PODS: &str = "pods";

/// What a container that asks for no processing time counts for in scores, in thousandths (upstream's figure).
const UNASKED_CPU: i64 = 100;

/// What a container that asks for no memory counts for in scores, in bytes (upstream's figure).
const UNASKED_MEMORY: i64 = 200 * 1024 * 1024;

type Quantities = BTreeMap<String, Quantity>;

/// Amounts by resource: thousandths of cpu, whole units of everything else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Amounts(BTreeMap<String, i64>);

impl Amounts {
    fn of(quantities: Option<&Quantities>) -> Self {
        let amount = |(name, text): (&String, &Quantity)| {
            let quantity = proto::quantity::Quantity::parse(&text.0).unwrap_or_default();
            let amount = if name == CPU { quantity.milli_value() } else { quantity.value() };
            (name.clone(), amount)
        };
        Self(quantities.into_iter().flatten().map(amount).collect())
    }

    /// What a node has to give to pods.
    pub(crate) fn allocatable(node: &Node) -> Self {
        Self::of(node.status.as_ref().and_then(|status| status.allocatable.as_ref()))
    }

    /// What a pod asks for: its containers together, or its most demanding moment of initialization where that
    /// is more, and what running it costs.
    pub(crate) fn requested(pod: &Pod) -> Self {
        pod.spec.as_ref().map(|spec| total(spec, Self::of_container)).unwrap_or_default()
    }

    /// The same with small amounts in place of none, so that pods that ask for nothing are spread too.
    pub(crate) fn weighed(pod: &Pod) -> Self {
        let of = |container: &Container| {
            let mut amounts = Self::of_container(container);
            amounts.0.entry(CPU.to_owned()).or_insert(UNASKED_CPU);
            amounts.0.entry(MEMORY.to_owned()).or_insert(UNASKED_MEMORY);
            amounts
        };
        pod.spec.as_ref().map(|spec| total(spec, of)).unwrap_or_default()
    }

    fn of_container(container: &Container) -> Self {
        Self::of(container.resources.as_ref().and_then(|resources| resources.requests.as_ref()))
    }

    /// The amount of one resource.
    pub(crate) fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// All amounts, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    /// Adds other amounts to these.
    pub(crate) fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let sum = self.0.entry(name.clone()).or_insert(0);
            *sum = sum.saturating_add(*amount);
        }
    }

    fn raise(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let most = self.0.entry(name.clone()).or_insert(0);
            *most = (*most).max(*amount);
        }
    }
}

fn total(spec: &PodSpec, of: impl Fn(&Container) -> Amounts) -> Amounts {
    let mut running = Amounts::default();
    for container in &spec.containers {
        running.add(&of(container));
    }
    // A sidecar runs on, beside everything that is started after it.
    let (mut sidecars, mut initializing) = (Amounts::default(), Amounts::default());
    for container in spec.init_containers.iter().flatten() {
        let mut moment = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars.add(&moment);
            initializing.raise(&sidecars);
        } else {
            moment.add(&sidecars);
            initializing.raise(&moment);
        }
    }
    running.add(&sidecars);
    running.raise(&initializing);
    // What is asked for the pod as a whole stands in place of its containers' sum.
    let whole = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    for (name, amount) in Amounts::of(whole).0 {
        running.0.insert(name, amount);
    }
    running.add(&Amounts::of(spec.overhead.as_ref()));
    running
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_pods_ask_for() {
        let asks = |cpu: &str| json!({"name": "c", "resources": {"requests": {"cpu": cpu}}});
        let sidecar = |cpu: &str| {
            let mut container = asks(cpu);
            container["restartPolicy"] = json!("Always");
            container
        };
        let cases: [(Value, i64); 6] = [
            (json!({"containers": [asks("100m"), asks("1")]}), 1100),
            (json!({"containers": [asks("1")], "initContainers": [asks("3"), asks("2")]}), 3000),
            (json!({"containers": [asks("1")], "initContainers": [sidecar("1"), asks("2")]}), 3000),
            (json!({"containers": [asks("1")], "initContainers": [asks("1"), sidecar("1")]}), 2000),
            (json!({"containers": [asks("1")], "overhead": {"cpu": "250m"}}), 1250),
            (json!({"containers": [asks("1")], "resources": {"requests": {"cpu": "4"}}}), 4000),
        ];
        for (spec, expected) in cases {
            let pod: Pod = serde_json::from_value(json!({"spec": spec})).unwrap();
            assert_eq!(Amounts::requested(&pod).get(CPU), expected, "{spec}");
        }
    }
}
