//! What a namespace on its way out says about itself.

use std::collections::BTreeMap;

use client::k8s_openapi::api::core::v1::{NamespaceCondition, NamespaceStatus};
use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use jiff::Timestamp;

/// What emptying a namespace came to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Group versions that could not be discovered, and why.
    pub(super) undiscovered: Vec<(String, String)>,
    /// What could not be deleted, and why.
    pub(super) failures: Vec<String>,
    /// How many objects are left, by `resource.group`.
    pub(super) left: BTreeMap<String, usize>,
    /// How many objects each finalizer keeps.
    pub(super) finalizers: BTreeMap<String, usize>,
}

impl Outcome {
    /// Whether nothing is left and nothing is unknown.
    pub(super) fn is_empty(&self) -> bool {
        self.undiscovered.is_empty() && self.failures.is_empty() && self.left.is_empty()
    }
}

/// A condition: whether it holds, and reason and message for both cases.
struct Row {
    kind: &'static str,
    holds: bool,
    bad: (&'static str, String),
    good: (&'static str, &'static str),
}

fn rows(outcome: &Outcome) -> [Row; 5] {
    let list = |counts: &BTreeMap<String, usize>, verb: &str| {
        let words: Vec<_> =
            counts.iter().map(|(name, count)| format!("{name} {verb} {count} resource instances")).collect();
        words.join(", ")
    };
    let undiscovered: Vec<_> =
        outcome.undiscovered.iter().map(|(version, why)| format!("{version}: {why}")).collect();
    [
        Row {
            kind: "NamespaceDeletionDiscoveryFailure",
            holds: !outcome.undiscovered.is_empty(),
            bad: (
                "DiscoveryFailed",
                format!(
                    "Discovery failed for some groups, {} failing: {}",
                    undiscovered.len(),
                    undiscovered.join(", ")
                ),
            ),
            good: ("ResourcesDiscovered", "All resources successfully discovered"),
        },
        Row {
            kind: "NamespaceDeletionGroupVersionParsingFailure",
            holds: false,
            bad: ("GroupVersionParsingFailed", String::new()),
            good: ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        },
        Row {
            kind: "NamespaceDeletionContentFailure",
            holds: !outcome.failures.is_empty(),
            bad: (
                "ContentDeletionFailed",
                format!(
                    "Failed to delete all resource types, {} remaining: {}",
                    outcome.failures.len(),
                    outcome.failures.join(", ")
                ),
            ),
            good: ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        },
        Row {
            kind: "NamespaceContentRemaining",
            holds: !outcome.left.is_empty(),
            bad: (
                "SomeResourcesRemain",
                format!("Some resources are remaining: {}", list(&outcome.left, "has")),
            ),
            good: ("ContentRemoved", "All content successfully removed"),
        },
        Row {
            kind: "NamespaceFinalizersRemaining",
            holds: !outcome.finalizers.is_empty(),
            bad: (
                "SomeFinalizersRemain",
                format!(
                    "Some content in the namespace has finalizers remaining: {}",
                    list(&outcome.finalizers, "in")
                ),
            ),
            good: ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        },
    ]
}

/// The status of a namespace that is being emptied.
pub(super) fn status(old: Option<&NamespaceStatus>, outcome: &Outcome, now: Timestamp) -> NamespaceStatus {
    let mut conditions = old.and_then(|status| status.conditions.clone()).unwrap_or_default();
    for Row { kind, holds, bad: (bad, text), good: (good, fine) } in rows(outcome) {
        let (status, reason, message) =
            if holds { ("True", bad, text) } else { ("False", good, fine.to_owned()) };
        let at = conditions.iter().position(|condition| condition.type_ == kind);
        let since = match at.map(|at| &conditions[at]) {
            Some(had) if had.status == status => {
                if had.reason.as_deref() == Some(reason) && had.message.as_deref() == Some(&*message) {
                    continue;
                }
                had.last_transition_time.clone()
            }
            _ => Some(Time(now)),
        };
        let condition = NamespaceCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: since,
        };
        match at {
            Some(at) => conditions[at] = condition,
            None => conditions.push(condition),
        }
    }
    NamespaceStatus { phase: Some("Terminating".to_owned()), conditions: Some(conditions) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_remains_is_said_and_said_once() {
        let mut outcome = Outcome::default();
        outcome.left.insert("pods.".to_owned(), 2);
        outcome.finalizers.insert("example.com/hold".to_owned(), 1);
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let said = status(None, &outcome, now);
        let texts: Vec<_> = said
            .conditions
            .as_ref()
            .unwrap()
            .iter()
            .filter(|condition| condition.status == "True")
            .map(|condition| condition.message.clone().unwrap())
            .collect();
        assert_eq!(
            texts,
            [
                "Some resources are remaining: pods. has 2 resource instances",
                "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
            ]
        );
        let later = "2026-01-01T00:01:00Z".parse().unwrap();
        assert_eq!(status(Some(&said), &outcome, later), said);
        let empty = status(Some(&said), &Outcome::default(), later);
        assert!(empty.conditions.unwrap().iter().all(|condition| condition.status == "False"));
    }
}
