//! Which daemon pods start and stop on which nodes, and what the DaemonSet's status says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use client::k8s_openapi::api::core::v1::{Node, Pod};
use jiff::Timestamp;

use super::eligibility::{Eligible, eligible, node_of};
use crate::deployment::rolling::resolve;
use crate::pod::{self, Availability, label};

/// The label that says from which revision of the template a pod was made.
pub(super) const HASH: &str = "controller-revision-hash";

/// The most pods started or stopped in one sync (upstream's figure).
const BURST: usize = 250;

/// What a sync does.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Nodes that get a pod.
    pub(super) start: Vec<String>,
    pub(super) stop: Vec<Arc<Pod>>,
    /// Pods that have ended, by node: stopped too, though less and less often if they keep ending.
    pub(super) ended: Vec<(String, Arc<Pod>)>,
    pub(super) status: DaemonSetStatus,
    pub(super) next: Option<Duration>,
}

/// A node with its pods of this set, oldest first.
struct Place<'a> {
    name: &'a str,
    eligible: Eligible,
    pods: Vec<&'a Arc<Pod>>,
}

/// The former and the present pod of a node.
struct Pair<'a> {
    old: Option<&'a Arc<Pod>>,
    new: Option<&'a Arc<Pod>>,
}

impl<'a> Place<'a> {
    /// The pods that are to live on, former and present; `None` where there are several of one sort.
    fn pair(&self, hash: &str) -> Option<Pair<'a>> {
        let mut pair = Pair { old: None, new: None };
        for pod in self.pods.iter().filter(|pod| !pod::is_leaving(pod)) {
            let place = if label(&pod.metadata, HASH) == Some(hash) { &mut pair.new } else { &mut pair.old };
            if place.replace(*pod).is_some() {
                return None;
            }
        }
        Some(pair)
    }
}

/// Plans one sync. `hash` names the present revision; `settled`: the caches show all that was done before.
pub(super) fn plan(
    set: &DaemonSet,
    nodes: &[Arc<Node>],
    pods: &[Arc<Pod>],
    hash: &str,
    settled: bool,
    now: Timestamp,
) -> Plan {
    let mut on_node: BTreeMap<&str, Vec<&Arc<Pod>>> = BTreeMap::new();
    for pod in pods {
        on_node.entry(node_of(pod).unwrap_or_default()).or_default().push(pod);
    }
    let mut places = Vec::new();
    for node in nodes {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let mut pods = on_node.remove(name).unwrap_or_default();
        pods.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
        places.push(Place { name, eligible: eligible(set, node), pods });
    }
    let mut plan = Plan::default();
    (plan.status, plan.next) = status(set, &places, hash, now);
    if !settled || set.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let bounds = bounds(set, plan.status.desired_number_scheduled);
    for place in &places {
        manage(place, hash, bounds.surge > 0, &mut plan);
    }
    // Bound to a node that is gone, and never placed: nobody else would remove it.
    let lost = on_node.into_values().flatten().filter(|pod| !pod::is_leaving(pod) && !is_placed(pod));
    plan.stop.extend(lost.cloned());
    if plan.start.is_empty() && plan.stop.is_empty() && bounds.rolling {
        roll(set, &places, hash, bounds, now, &mut plan);
    }
    plan.start.truncate(BURST);
    plan.stop.truncate(BURST);
    plan
}

fn is_placed(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).is_some_and(|node| !node.is_empty())
}

#[derive(Debug, Clone, Copy)]
struct Bounds {
    rolling: bool,
    unavailable: i32,
    surge: i32,
}

fn bounds(set: &DaemonSet, desired: i32) -> Bounds {
    let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let part = |value: Option<&_>| value.map(|value| resolve(value, desired, true));
    let surge = part(rolling.and_then(|rolling| rolling.max_surge.as_ref())).unwrap_or(0);
    let unavailable = part(rolling.and_then(|rolling| rolling.max_unavailable.as_ref())).unwrap_or(1);
    Bounds {
        rolling: strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete"),
        // Both nothing would mean that no pod is ever replaced.
        unavailable: if surge == 0 { unavailable.max(1) } else { unavailable },
        surge,
    }
}

/// Sees to it that a node has the pods it should have, whatever their revision.
fn manage(place: &Place<'_>, hash: &str, surges: bool, plan: &mut Plan) {
    let alive = || place.pods.iter().filter(|pod| !pod::is_leaving(pod));
    if !place.eligible.stay {
        plan.stop.extend(alive().map(|pod| Arc::clone(pod)));
        return;
    }
    let (ended, running): (Vec<&Arc<Pod>>, Vec<&Arc<Pod>>) = alive().partition(|pod| pod::is_finished(pod));
    plan.ended.extend(ended.into_iter().map(|pod| (place.name.to_owned(), Arc::clone(pod))));
    if place.pods.is_empty() && place.eligible.start {
        plan.start.push(place.name.to_owned());
    }
    // The oldest stays; while pods are replaced by a surge, the oldest of each sort.
    let is_new = |pod: &&&Arc<Pod>| surges && label(&pod.metadata, HASH) == Some(hash);
    let (new, old): (Vec<_>, Vec<_>) = running.iter().partition(|pod| is_new(pod));
    plan.stop.extend(new.into_iter().skip(1).chain(old.into_iter().skip(1)).map(Arc::clone));
}

/// Replaces former pods by present ones, within the bounds.
fn roll(set: &DaemonSet, places: &[Place<'_>], hash: &str, bounds: Bounds, now: Timestamp, plan: &mut Plan) {
    let min_ready = set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    let up = |pod: &Pod| pod::availability(pod, min_ready, now) == Availability::Now;
    let (mut busy, mut at_once, mut candidates) = (0, Vec::new(), Vec::new());
    let mut replaced = Vec::new();
    for place in places.iter().filter(|place| place.eligible.stay) {
        match place.pair(hash) {
            // What is missing or doubled is mended by `manage`, and counts as unavailable meanwhile.
            None | Some(Pair { old: None, new: None }) => {
                busy += i32::from(bounds.surge == 0 && place.eligible.start);
            }
            Some(Pair { old: Some(old), new: Some(new) }) => {
                if up(new) {
                    replaced.push(Arc::clone(old));
                } else {
                    busy += 1;
                }
            }
            Some(Pair { old: None, new: Some(new) }) => busy += i32::from(bounds.surge == 0 && !up(new)),
            Some(Pair { old: Some(old), new: None }) if up(old) => candidates.push((place.name, old)),
            Some(Pair { old: Some(old), new: None }) => {
                busy += i32::from(bounds.surge == 0);
                at_once.push((place.name, old));
            }
        }
    }
    let limit = if bounds.surge > 0 { bounds.surge } else { bounds.unavailable };
    let room = usize::try_from(limit - busy).unwrap_or(0);
    let chosen = at_once.into_iter().chain(candidates.into_iter().take(room));
    if bounds.surge > 0 {
        plan.start.extend(chosen.map(|(name, _)| name.to_owned()));
        plan.stop.extend(replaced);
    } else {
        plan.stop.extend(chosen.map(|(_, pod)| Arc::clone(pod)));
    }
}

fn status(
    set: &DaemonSet,
    places: &[Place<'_>],
    hash: &str,
    now: Timestamp,
) -> (DaemonSetStatus, Option<Duration>) {
    let min_ready = set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    let mut next: Option<Duration> = None;
    let (mut desired, mut current, mut ready, mut available, mut updated, mut astray) = (0, 0, 0, 0, 0, 0);
    for place in places {
        if !place.eligible.start {
            astray += i32::from(!place.pods.is_empty());
            continue;
        }
        desired += 1;
        // Of several the youngest speaks: it is the one that will stay when the present revision is rolled out.
        let present = |pod: &&&Arc<Pod>| label(&pod.metadata, HASH) == Some(hash);
        let Some(pod) = place.pods.iter().rev().find(present).or_else(|| place.pods.last()) else { continue };
        current += 1;
        updated += i32::from(present(&pod));
        let up = place.pods.iter().filter(|pod| pod::is_ready(pod));
        ready += i32::from(up.clone().next().is_some());
        let mut is_available = false;
        for pod in up {
            match pod::availability(pod, min_ready, now) {
                Availability::Now => is_available = true,
                Availability::In(left) => next = Some(next.map_or(left, |next| next.min(left))),
                Availability::Never => {}
            }
        }
        available += i32::from(is_available);
    }
    let count = |number: i32| (number != 0).then_some(number);
    let old = set.status.as_ref();
    let status = DaemonSetStatus {
        current_number_scheduled: current,
        desired_number_scheduled: desired,
        number_misscheduled: astray,
        number_ready: ready,
        number_available: count(available),
        number_unavailable: count(desired - available),
        updated_number_scheduled: count(updated),
        observed_generation: set.metadata.generation,
        collision_count: old.and_then(|status| status.collision_count),
        conditions: old.and_then(|status| status.conditions.clone()),
    };
    (status, next)
}
