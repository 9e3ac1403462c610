//! How much history is kept, and when the next part of it is due to go.

use std::collections::VecDeque;
use std::time::Duration;

use store::Revision;
use tokio::time::Instant;

/// Revisions that stay however old they are, so that a quiet cluster's lists can still be continued.
const LEAST: Revision = 1_000;

/// Into how many parts the time that history is kept for is divided: how far beyond it history may grow.
const PARTS: u32 = 5;

/// What is kept without being asked to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Everything; only an explicit request compacts.
    Everything,
    /// What is younger than this.
    Younger(Duration),
    /// The last so many revisions.
    Last(Revision),
}

/// When which revision was the latest: what is needed to know how old history is.
#[derive(Debug)]
pub(crate) struct Marks {
    policy: Policy,
    marks: VecDeque<(Instant, Revision)>,
}

impl Marks {
    pub(crate) fn new(policy: Policy) -> Self {
        Self { policy, marks: VecDeque::new() }
    }

    /// Takes note that `revision` was committed.
    pub(crate) fn note(&mut self, now: Instant, revision: Revision) {
        let Policy::Younger(age) = self.policy else { return };
        if self.marks.back().is_none_or(|(last, _)| now.duration_since(*last) >= age / PARTS) {
            self.marks.push_back((now, revision));
        }
    }

    /// The revision to compact to, if it is time. To be asked with every commit.
    pub(crate) fn due(&mut self, now: Instant, latest: Revision, compacted: Revision) -> Option<Revision> {
        let target = match self.policy {
            Policy::Everything => return None,
            // Twice as many may be there, so that compaction comes seldom and in large parts.
            Policy::Last(kept) if latest - compacted >= 2 * kept => latest - kept,
            Policy::Last(_) => return None,
            Policy::Younger(age) => {
                let mut old = None;
                while let Some((at, revision)) = self.marks.front().copied()
                    && now.duration_since(at) >= age
                {
                    old = Some(revision);
                    self.marks.pop_front();
                }
                old?.min(latest - LEAST)
            }
        };
        (target > compacted).then_some(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_number() {
        let mut marks = Marks::new(Policy::Last(100));
        let now = Instant::now();
        let cases = [(150, 0, None), (200, 0, Some(100)), (299, 100, None), (300, 100, Some(200))];
        for (latest, compacted, expected) in cases {
            assert_eq!(marks.due(now, latest, compacted), expected, "{latest} {compacted}");
        }
    }

    #[test]
    fn by_age() {
        let age = Duration::from_secs(100);
        let mut marks = Marks::new(Policy::Younger(age));
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        marks.note(start, 5_000);
        marks.note(after(1), 6_000); // within the same part: not noted
        marks.note(after(20), 7_000);
        assert_eq!(marks.due(after(99), 9_000, 0), None);
        assert_eq!(marks.due(after(100), 9_000, 0), Some(5_000));
        assert_eq!(marks.due(after(120), 7_500, 5_000), Some(6_500));
    }

    #[test]
    fn nothing_by_itself() {
        let mut marks = Marks::new(Policy::Everything);
        marks.note(Instant::now(), 1_000_000);
        assert_eq!(marks.due(Instant::now(), 2_000_000, 0), None);
    }
}
