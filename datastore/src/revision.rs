//! Where changes stand in history, and which of them a past revision shows.

use std::collections::BTreeMap;

use bytes::Bytes;
use store::{Interval, Revision};

/// How many bits of a place number the changes of one revision: a million, more keys than one deletion can meet
/// within [`crate::MOST_BYTES`] of anything, and leaves revisions 43 bits.
const BITS: u32 = 20;

/// The most changes one revision can hold.
pub(crate) const MOST_CHANGES: i64 = 1 << BITS;

/// The revision of a store in which nothing has happened yet, as etcd counts.
pub(crate) const FIRST: Revision = 1;

/// The place of a change in the one history: its revision, then its number within that.
pub(crate) type Place = i64;

pub(crate) const fn place(revision: Revision, number: i64) -> Place {
    (revision << BITS) + number
}

pub(crate) const fn revision(place: Place) -> Revision {
    place >> BITS
}

/// The keys that a request means: one key; from a key on (`end` is one zero byte); or up to an end.
pub(crate) fn interval(key: &Bytes, end: &Bytes) -> Interval {
    let end = match &end[..] {
        [] => [&key[..], b"\0"].concat().into(),
        [0] => Bytes::new(),
        _ => end.clone(),
    };
    Interval { start: key.clone(), end }
}

/// The places of what a past revision shows, by key: the current ones, with everything after it undone.
///
/// `later` holds for each key changed after that revision what its first such change replaced; 0 means that the key
/// did not exist.
pub(crate) fn as_of(current: Vec<(Vec<u8>, Place)>, later: Vec<(Vec<u8>, Place)>) -> Vec<Place> {
    let mut keys: BTreeMap<Vec<u8>, Place> = current.into_iter().collect();
    for (key, before) in later {
        match before {
            0 => keys.remove(&key),
            before => keys.insert(key, before),
        };
    }
    keys.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_ordered_as_changes_are() {
        assert!(place(2, MOST_CHANGES - 1) < place(3, 0));
        assert_eq!(revision(place(7, MOST_CHANGES - 1)), 7);
    }

    #[test]
    fn intervals_of_requests() {
        let cases: &[(&str, &str, &str, &str)] =
            &[("a", "", "a", "a\0"), ("a", "\0", "a", ""), ("a", "b", "a", "b"), ("\0", "\0", "\0", "")];
        for (key, end, start, beyond) in cases {
            let found = interval(&Bytes::from(*key), &Bytes::from(*end));
            assert_eq!(found, Interval { start: (*start).into(), end: (*beyond).into() }, "{key:?} {end:?}");
        }
    }

    #[test]
    fn the_past_is_the_present_undone() {
        let keys = |pairs: &[(&str, Place)]| -> Vec<(Vec<u8>, Place)> {
            pairs.iter().map(|(key, place)| (key.as_bytes().to_vec(), *place)).collect()
        };
        // b was created later, c was deleted later, d was changed later.
        let current = keys(&[("a", 1), ("b", 9), ("d", 8)]);
        let later = keys(&[("b", 0), ("c", 3), ("d", 2)]);
        assert_eq!(as_of(current, later), [1, 3, 2]);
    }
}
