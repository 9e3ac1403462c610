//! The table of plugins: what keeps a pod off a node, and what makes one node better than another.

use std::sync::Arc;

use client::k8s_openapi::api::core::v1::{Node, Pod, PodSpec, Taint};

use crate::request::Amounts;

mod affinity;
mod name;
mod port;
mod resources;
mod taint;
mod unschedulable;

/// A pod that wants a node.
pub(crate) struct Wanted<'a> {
    pub(crate) spec: &'a PodSpec,
    pub(crate) requests: Amounts,
    pub(crate) weighed: Amounts,
}

/// A node with the pods that are on it or on their way there.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    pub(crate) node: Arc<Node>,
    pub(crate) pods: Vec<Arc<Pod>>,
    allocatable: Amounts,
    used: Amounts,
    weighed: Amounts,
}

/// Why a node does not take a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reasons: Vec<String>,
    /// Whether fewer pods on the node could change it.
    pub(crate) is_crowded: bool,
}

/// How a plugin judges the nodes that fit.
#[derive(Clone, Copy)]
pub(crate) struct Score {
    pub(crate) weight: i64,
    pub(crate) scale: Scale,
    pub(crate) of: fn(&Wanted<'_>, &Room) -> i64,
}

/// What raw scores mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// They are 0 to 100 already.
    Absolute,
    /// The most is best.
    More,
    /// The least is best.
    Less,
}

/// One row of the table.
pub(crate) struct Plugin {
    pub(crate) filter: fn(&Wanted<'_>, &Room) -> Result<(), Refusal>,
    pub(crate) score: Option<Score>,
}

const fn row(filter: fn(&Wanted<'_>, &Room) -> Result<(), Refusal>, score: Option<Score>) -> Plugin {
    Plugin { filter, score }
}

/// Every plugin, in the order in which a node is asked; the first refusal is the one told. Order and weights are
/// upstream's.
pub(crate) const PLUGINS: &[Plugin] = &[
    row(affinity::is_pinned, None),
    row(unschedulable::filter, None),
    row(name::filter, None),
    row(taint::filter, Some(Score { weight: 3, scale: Scale::Less, of: taint::score })),
    row(affinity::filter, Some(Score { weight: 2, scale: Scale::More, of: affinity::score })),
    row(port::filter, None),
    row(resources::filter, Some(Score { weight: 1, scale: Scale::Absolute, of: resources::score })),
];

impl<'a> Wanted<'a> {
    /// What a pod wants; nothing of a pod without a spec.
    pub(crate) fn new(pod: &'a Pod) -> Option<Self> {
        let (requests, weighed) = (Amounts::requested(pod), Amounts::weighed(pod));
        Some(Self { spec: pod.spec.as_ref()?, requests, weighed })
    }
}

impl Room {
    pub(crate) fn new(node: Arc<Node>, pods: Vec<Arc<Pod>>) -> Self {
        let (mut used, mut weighed) = (Amounts::default(), Amounts::default());
        for pod in &pods {
            used.add(&Amounts::requested(pod));
            weighed.add(&Amounts::weighed(pod));
        }
        Self { allocatable: Amounts::allocatable(&node), node, pods, used, weighed }
    }

    /// The node's name.
    pub(crate) fn name(&self) -> &str {
        self.node.metadata.name.as_deref().unwrap_or_default()
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.node.metadata.labels.as_ref()?.get(name).map(String::as_str)
    }

    fn taints(&self) -> &[Taint] {
        self.node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
    }
}

impl Refusal {
    /// A refusal that no other pod's leaving would change.
    fn lasting(reason: &str) -> Self {
        Self { reasons: vec![reason.to_owned()], is_crowded: false }
    }
}
