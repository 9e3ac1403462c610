//! A pod goes to nodes with the labels it asks for, and rather to those it prefers.

use std::cmp::Ordering;

use client::k8s_openapi::api::core::v1::{NodeAffinity, NodeSelectorRequirement, NodeSelectorTerm};

use super::{Refusal, Room, Wanted};

/// The one field that can be selected by.
const NAME_FIELD: &str = "metadata.name";

/// A pod whose every alternative names its nodes is not even tried on others.
pub(super) fn is_pinned(wanted: &Wanted<'_>, room: &Room) -> Result<(), Refusal> {
    let terms = required(wanted);
    let elsewhere = |term: &NodeSelectorTerm| {
        let names = |field: &&NodeSelectorRequirement| field.key == NAME_FIELD && field.operator == "In";
        term.match_fields.iter().flatten().filter(names).any(|field| !meets(field, Some(room.name())))
    };
    if terms.is_some_and(|terms| !terms.is_empty() && terms.iter().all(elsewhere)) {
        return Err(Refusal::lasting("node(s) didn't satisfy plugin(s) [NodeAffinity]"));
    }
    Ok(())
}

pub(super) fn filter(wanted: &Wanted<'_>, room: &Room) -> Result<(), Refusal> {
    let mut selector = wanted.spec.node_selector.iter().flatten();
    let selected = selector.all(|(name, value)| room.label(name) == Some(value));
    if selected && required(wanted).is_none_or(|terms| terms.iter().any(|term| matches(term, room))) {
        return Ok(());
    }
    Err(Refusal::lasting("node(s) didn't match Pod's node affinity/selector"))
}

/// The weights of the preferences that the node meets.
pub(super) fn score(wanted: &Wanted<'_>, room: &Room) -> i64 {
    let preferences = affinity(wanted)
        .and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_deref());
    let met = preferences.into_iter().flatten().filter(|term| matches(&term.preference, room));
    met.map(|term| i64::from(term.weight)).sum()
}

fn affinity<'a>(wanted: &Wanted<'a>) -> Option<&'a NodeAffinity> {
    wanted.spec.affinity.as_ref()?.node_affinity.as_ref()
}

fn required<'a>(wanted: &Wanted<'a>) -> Option<&'a [NodeSelectorTerm]> {
    let required = affinity(wanted)?.required_during_scheduling_ignored_during_execution.as_ref()?;
    Some(&required.node_selector_terms)
}

fn matches(term: &NodeSelectorTerm, room: &Room) -> bool {
    let (mut labels, mut fields) =
        (term.match_expressions.iter().flatten(), term.match_fields.iter().flatten());
    let field = |name: &str| (name == NAME_FIELD).then(|| room.name());
    let is_empty = labels.clone().next().is_none() && fields.clone().next().is_none();
    // A term without requirements selects nothing.
    !is_empty
        && labels.all(|wanted| meets(wanted, room.label(&wanted.key)))
        && fields.all(|wanted| meets(wanted, field(&wanted.key)))
}

fn meets(wanted: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let is_listed = || value.is_some_and(|value| wanted.values.iter().flatten().any(|has| has == value));
    let compared = || -> Option<Ordering> {
        let bound: i64 = wanted.values.as_ref()?.first()?.parse().ok()?;
        Some(value?.parse::<i64>().ok()?.cmp(&bound))
    };
    match wanted.operator.as_str() {
        "In" => is_listed(),
        "NotIn" => !is_listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared() == Some(Ordering::Greater),
        "Lt" => compared() == Some(Ordering::Less),
        _ => false,
    }
}
