//! On which nodes a DaemonSet's pods run, and how each pod is bound to its node.

use client::k8s_openapi::api::apps::v1::DaemonSet;
use client::k8s_openapi::api::core::v1::{
    Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec,
    Toleration,
};

use crate::taint::is_tolerated;

/// The field of a node that the pods are bound by.
const NAME_FIELD: &str = "metadata.name";

/// Whether a pod may start on a node, and whether one that is there may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Eligible {
    pub(super) start: bool,
    pub(super) stay: bool,
}

/// What daemons tolerate without being asked: they run on nodes that are unwell.
const TOLERATED: &[(&str, &str)] = &[
    (crate::taint::NOT_READY, "NoExecute"),
    (crate::taint::UNREACHABLE, "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// Tolerated by pods that use the node's own network.
const TOLERATED_ON_HOST_NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// Adds the tolerations every daemon has.
pub(super) fn tolerate(spec: &mut PodSpec) {
    let host = spec.host_network == Some(true);
    let tolerations = spec.tolerations.get_or_insert_default();
    for (key, effect) in TOLERATED.iter().chain(host.then_some(&TOLERATED_ON_HOST_NETWORK)) {
        let toleration = Toleration {
            key: Some((*key).to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some((*effect).to_owned()),
            ..Toleration::default()
        };
        let same = |has: &Toleration| {
            (&has.key, &has.effect, &has.operator)
                == (&toleration.key, &toleration.effect, &toleration.operator)
        };
        if !tolerations.iter().any(same) {
            tolerations.push(toleration);
        }
    }
}

/// Binds a pod to a node by affinity, so that the scheduler places it there and nowhere else.
pub(super) fn pin(spec: &mut PodSpec, node: &str) {
    let requirement = NodeSelectorRequirement {
        key: NAME_FIELD.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let affinity = spec.affinity.get_or_insert_with(Affinity::default);
    let affinity = affinity.node_affinity.get_or_insert_with(NodeAffinity::default);
    let required = affinity.required_during_scheduling_ignored_during_execution.get_or_insert_default();
    if required.node_selector_terms.is_empty() {
        required.node_selector_terms.push(NodeSelectorTerm::default());
    }
    // The template's own terms have been matched against the node already, but hold for later too.
    for term in &mut required.node_selector_terms {
        term.match_fields = Some(vec![requirement.clone()]);
    }
}

/// The node a pod is on or is bound to.
pub(super) fn node_of(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    if let Some(node) = spec.node_name.as_deref().filter(|node| !node.is_empty()) {
        return Some(node);
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let terms = &affinity.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms;
    let fields = terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    let bound = |field: &&NodeSelectorRequirement| field.key == NAME_FIELD && field.operator == "In";
    fields.filter(bound).find_map(|field| field.values.as_ref()?.first()).map(String::as_str)
}

/// Whether pods of the set may run on a node.
pub(super) fn eligible(set: &DaemonSet, node: &Node) -> Eligible {
    const NEVER: Eligible = Eligible { start: false, stay: false };
    let mut spec = set.spec.as_ref().and_then(|spec| spec.template.spec.clone()).unwrap_or_default();
    tolerate(&mut spec);
    let name = node.metadata.name.as_deref().unwrap_or_default();
    if spec.node_name.as_deref().is_some_and(|wanted| !wanted.is_empty() && wanted != name)
        || !fits(&spec, node)
    {
        return NEVER;
    }
    let tolerations = spec.tolerations.unwrap_or_default();
    let repelled = |effects: &[&str]| {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
        let counts =
            |taint: &&client::k8s_openapi::api::core::v1::Taint| effects.contains(&taint.effect.as_str());
        taints.filter(counts).any(|taint| !is_tolerated(&tolerations, taint))
    };
    Eligible { start: !repelled(&["NoSchedule", "NoExecute"]), stay: !repelled(&["NoExecute"]) }
}

/// Whether a node fits the selector and the required affinity.
fn fits(spec: &PodSpec, node: &Node) -> bool {
    let label = |name: &str| crate::pod::label(&node.metadata, name);
    let selected = spec.node_selector.iter().flatten().all(|(name, value)| label(name) == Some(value));
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    selected && required.is_none_or(|required| is_selected(required, node))
}

fn is_selected(selector: &NodeSelector, node: &Node) -> bool {
    let label = |name: &str| crate::pod::label(&node.metadata, name);
    let field = |name: &str| node.metadata.name.as_deref().filter(|_| name == NAME_FIELD);
    selector.node_selector_terms.iter().any(|term| {
        let (labels, fields) = (term.match_expressions.iter().flatten(), term.match_fields.iter().flatten());
        let empty = labels.clone().next().is_none() && fields.clone().next().is_none();
        !empty
            && labels.clone().all(|wanted| meets(wanted, label(&wanted.key)))
            && fields.clone().all(|wanted| meets(wanted, field(&wanted.key)))
    })
}

fn meets(wanted: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let listed = || value.is_some_and(|value| wanted.values.iter().flatten().any(|has| has == value));
    let compared = || -> Option<std::cmp::Ordering> {
        let bound: i64 = wanted.values.as_ref()?.first()?.parse().ok()?;
        Some(value?.parse::<i64>().ok()?.cmp(&bound))
    };
    match wanted.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared() == Some(std::cmp::Ordering::Greater),
        "Lt" => compared() == Some(std::cmp::Ordering::Less),
        _ => false,
    }
}
