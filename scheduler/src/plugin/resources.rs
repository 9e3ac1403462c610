//! A node takes pods as long as it has what they ask for; the emptiest one is best.

use super::{Refusal, Room, Wanted};
use crate::request::{CPU, MEMORY, PODS};

/// The best score.
const BEST: i64 = 100;

/// The resources that make a node emptier or fuller, with equal weight.
const SCORED: [&str; 2] = [CPU, MEMORY];

pub(super) fn filter(wanted: &Wanted<'_>, room: &Room) -> Result<(), Refusal> {
    let mut refusal = Refusal { reasons: Vec::new(), is_crowded: true };
    let pods = i64::try_from(room.pods.len()).unwrap_or(i64::MAX);
    if pods.saturating_add(1) > room.allocatable.get(PODS) {
        refusal.reasons.push("Too many pods".to_owned());
    }
    for (name, amount) in wanted.requests.iter().filter(|(_, amount)| *amount > 0) {
        let whole = room.allocatable.get(name);
        if amount > whole.saturating_sub(room.used.get(name)) {
            refusal.reasons.push(format!("Insufficient {name}"));
            // An empty node would not be enough either.
            refusal.is_crowded &= amount <= whole;
        }
    }
    if refusal.reasons.is_empty() { Ok(()) } else { Err(refusal) }
}

/// How much is left, in hundredths, if the pod comes.
pub(super) fn score(wanted: &Wanted<'_>, room: &Room) -> i64 {
    let (mut sum, mut counted) = (0, 0);
    for name in SCORED {
        let whole = i128::from(room.allocatable.get(name));
        if whole == 0 {
            continue;
        }
        let used = i128::from(room.weighed.get(name)) + i128::from(wanted.weighed.get(name));
        let left = (whole - used).max(0) * i128::from(BEST) / whole;
        sum += i64::try_from(left).unwrap_or(0);
        counted += 1;
    }
    if counted == 0 { 0 } else { sum / counted }
}
