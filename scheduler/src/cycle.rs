//! The decision: a pod and the nodes with their pods in; the node that fits best, or why none does, out.

use std::collections::BTreeMap;

use crate::plugin::{PLUGINS, Refusal, Room, Scale, Wanted};

#[cfg(test)]
mod tests;

/// The best score a plugin gives.
const BEST: i64 = 100;

/// What is to be done with a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It goes to this node.
    Bind(String),
    /// No node takes it, for the reasons told.
    Refuse(String),
}

/// Finds the node for a pod.
pub(crate) fn decide(wanted: &Wanted<'_>, rooms: &[Room]) -> Decision {
    if rooms.is_empty() {
        return Decision::Refuse("no nodes available to schedule pods".to_owned());
    }
    let (mut fitting, mut refused) = (Vec::new(), Vec::new());
    for room in rooms {
        match PLUGINS.iter().try_for_each(|plugin| (plugin.filter)(wanted, room)) {
            Ok(()) => fitting.push(room),
            Err(refusal) => refused.push((room, refusal)),
        }
    }
    match best(wanted, &fitting) {
        Some(room) => Decision::Bind(room.name().to_owned()),
        None => Decision::Refuse(refusal_text(wanted, &refused)),
    }
}

/// The room with the highest score; of equal ones the one with the fewest pods, then the first.
fn best<'a>(wanted: &Wanted<'_>, rooms: &[&'a Room]) -> Option<&'a Room> {
    let mut totals = vec![0; rooms.len()];
    for score in PLUGINS.iter().filter_map(|plugin| plugin.score) {
        let raw: Vec<i64> = rooms.iter().map(|room| (score.of)(wanted, room)).collect();
        for (total, points) in totals.iter_mut().zip(scaled(&raw, score.scale)) {
            *total += points * score.weight;
        }
    }
    let rank = |(room, total): &(&&Room, i64)| (-total, room.pods.len());
    rooms.iter().zip(totals).min_by_key(rank).map(|(room, _)| *room)
}

/// Brings raw scores to 0 to 100.
fn scaled(raw: &[i64], scale: Scale) -> Vec<i64> {
    let most = raw.iter().copied().max().unwrap_or(0);
    let share = |value: &i64| if most > 0 { value * BEST / most } else { 0 };
    match scale {
        Scale::Absolute => raw.to_vec(),
        Scale::More => raw.iter().map(share).collect(),
        Scale::Less => raw.iter().map(|value| BEST - share(value)).collect(),
    }
}

fn refusal_text(wanted: &Wanted<'_>, refused: &[(&Room, Refusal)]) -> String {
    let count = refused.len();
    let reasons = refused.iter().flat_map(|(_, refusal)| refusal.reasons.iter().map(String::as_str));
    let text = format!("0/{count} nodes are available: {}.", histogram(reasons));
    match preemption_text(wanted, refused) {
        Some(why) => format!("{text} preemption: {why}"),
        None => text,
    }
}

/// Why no pod is put out for this one. Nothing is said where one could be: none is.
fn preemption_text(wanted: &Wanted<'_>, refused: &[(&Room, Refusal)]) -> Option<String> {
    if wanted.spec.preemption_policy.as_deref() == Some("Never") {
        return Some("not eligible due to preemptionPolicy=Never.".to_owned());
    }
    let priority = wanted.spec.priority.unwrap_or(0);
    let has_victims = |room: &Room| {
        let priorities = room.pods.iter().filter_map(|pod| pod.spec.as_ref());
        priorities.map(|spec| spec.priority.unwrap_or(0)).any(|other| other < priority)
    };
    if refused.iter().any(|(room, refusal)| refusal.is_crowded && has_victims(room)) {
        return None;
    }
    let why = refused.iter().map(|(_, refusal)| match refusal.is_crowded {
        true => "No preemption victims found for incoming pod",
        false => "Preemption is not helpful for scheduling",
    });
    Some(format!("0/{} nodes are available: {}.", refused.len(), histogram(why)))
}

/// Each text with how often it comes, in the order of what that reads.
fn histogram<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let mut counts = BTreeMap::<&str, usize>::new();
    for text in texts {
        *counts.entry(text).or_default() += 1;
    }
    let mut lines: Vec<String> = counts.iter().map(|(text, count)| format!("{count} {text}")).collect();
    lines.sort_unstable();
    lines.join(", ")
}
