//! Which pods go first when there are too many.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::sync::Arc;

use client::k8s_openapi::api::core::v1::Pod;
use jiff::Timestamp;

use crate::pod;

/// The annotation by which users say what losing a pod costs.
const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The `count` pods that are missed least: not yet assigned, not running, not ready, cheap, doubled on a node,
/// ready for a short time, restarted often, young.
pub(super) fn first_to_go(
    pods: Vec<Arc<Pod>>,
    related: &[Arc<Pod>],
    count: usize,
    now: Timestamp,
) -> Vec<Arc<Pod>> {
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    for pod in related {
        *on_node.entry(node(pod)).or_default() += 1;
    }
    let mut ranked: Vec<_> = pods
        .into_iter()
        .map(|pod| (rank(&pod, on_node.get(node(&pod)).copied().unwrap_or(0), now), pod))
        .collect();
    ranked
        .sort_by(|(a, pod_a), (b, pod_b)| a.cmp(b).then_with(|| pod_a.metadata.uid.cmp(&pod_b.metadata.uid)));
    ranked.into_iter().take(count).map(|(_, pod)| pod).collect()
}

// Fields in the order in which they decide; the smallest goes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    assigned: bool,
    phase: u8,
    ready: bool,
    cost: i32,
    doubled: Reverse<usize>,
    ready_for: Age,
    restarts: Reverse<i32>,
    age: Age,
}

/// How long ago something was, coarsely: ages that differ by less than a factor of two are alike, so that
/// the choice among them is not always the youngest. What has no time is younger than all.
#[derive(PartialEq, Eq)]
struct Age(Option<u32>);

impl PartialOrd for Age {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Age {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl Age {
    fn of(since: Option<Timestamp>, now: Timestamp) -> Self {
        Self(since.map(|since| {
            let nanos = now.duration_since(since).as_nanos().max(0).unsigned_abs();
            u128::BITS - nanos.leading_zeros()
        }))
    }
}

fn node(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

fn rank(pod: &Pod, doubled: usize, now: Timestamp) -> Rank {
    let status = pod.status.as_ref();
    let restarts = |statuses: Option<&Vec<client::k8s_openapi::api::core::v1::ContainerStatus>>| {
        statuses.into_iter().flatten().map(|container| container.restart_count).max().unwrap_or(0)
    };
    Rank {
        assigned: !node(pod).is_empty(),
        phase: match pod::phase(pod) {
            "Pending" => 0,
            "Unknown" => 1,
            _ => 2,
        },
        ready: pod::is_ready(pod),
        cost: pod::annotation(&pod.metadata, COST).and_then(|text| text.parse().ok()).unwrap_or(0),
        doubled: Reverse(doubled),
        ready_for: Age::of(pod::ready_since(pod), now),
        restarts: Reverse(restarts(status.and_then(|status| status.container_statuses.as_ref()))),
        age: Age::of(pod.metadata.creation_timestamp.as_ref().map(|time| time.0), now),
    }
}
