//! How long a container that keeps failing waits before its next try; a value, told the time by its caller.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

/// The first pause (upstream's figure).
const FIRST: SignedDuration = SignedDuration::from_secs(10);
/// The longest pause (upstream's figure).
const LONGEST: SignedDuration = SignedDuration::from_mins(5);

/// Pauses by what they hold back.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    pause: SignedDuration,
    updated: Timestamp,
}

impl Entry {
    /// Whether what failed had run well for so long that its past is forgiven.
    fn is_stale(&self, failed: Timestamp) -> bool {
        failed.duration_since(self.updated) > LONGEST * 2
    }
}

impl Backoff {
    /// The pause in force for a failure at `failed`, and when it ends; none once it has ended.
    pub fn pause(&self, id: &str, failed: Timestamp, now: Timestamp) -> Option<(SignedDuration, Timestamp)> {
        let entry = self.entries.get(id).filter(|entry| !entry.is_stale(failed))?;
        let until = failed.saturating_add(entry.pause).unwrap_or(now);
        (until > now).then_some((entry.pause, until))
    }

    /// Notes another try after a failure at `failed`; the next pause is twice as long. Returns it.
    pub fn grow(&mut self, id: &str, failed: Timestamp, now: Timestamp) -> SignedDuration {
        let pause = match self.entries.get(id).filter(|entry| !entry.is_stale(failed)) {
            Some(entry) => (entry.pause * 2).min(LONGEST),
            None => FIRST,
        };
        self.entries.insert(id.to_owned(), Entry { pause, updated: now });
        pause
    }

    pub fn forget(&mut self, id: &str) {
        self.entries.remove(id);
    }
}

/// A pause as Go prints durations: `10s`, `1m20s`, `5m0s`.
pub fn text(pause: SignedDuration) -> String {
    match (pause.as_secs() / 60, pause.as_secs() % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_minutes_and_are_forgiven_after_ten() {
        let mut backoff = Backoff::default();
        let mut now = Timestamp::UNIX_EPOCH;
        assert_eq!(backoff.pause("a", now, now), None, "the first crash restarts at once");
        let pauses: Vec<String> = (0..7).map(|_| text(backoff.grow("a", now, now))).collect();
        assert_eq!(pauses, ["10s", "20s", "40s", "1m20s", "2m40s", "5m0s", "5m0s"]);
        let until = now + LONGEST;
        assert_eq!(backoff.pause("a", now, now), Some((LONGEST, until)));
        assert_eq!(backoff.pause("a", now, until), None);
        now += SignedDuration::from_mins(11);
        assert_eq!(backoff.pause("a", now, now), None);
        assert_eq!(text(backoff.grow("a", now, now)), "10s");
    }
}
