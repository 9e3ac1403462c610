//! The one history of a store in memory, as a value: versions of keys, a log of changes, compaction.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use bytes::Bytes;

use crate::{Error, Event, Interval, KeyValue, LeaseId, Page, Revision};

/// Revisions that history holds before it compacts itself down to half: enough for any list or watch that is
/// still in use, little enough that a test which writes for minutes stays small.
const MOST_REVISIONS: usize = 20_000;

/// Events handed to a watcher at once; a revision that has more is handed over whole all the same.
const BATCH: usize = 1_000;

/// One change of a commit.
#[derive(Debug)]
pub(super) enum Change {
    Put { key: Bytes, value: Bytes, lease: LeaseId },
    Delete { key: Bytes },
}

/// A key at one revision: its value, or that it was deleted.
#[derive(Debug)]
struct Version {
    at: Revision,
    value: Option<KeyValue>,
}

#[derive(Debug)]
pub(super) struct History {
    revision: Revision,
    /// The oldest revision that can be read; 0 before the first compaction.
    compacted: Revision,
    keys: BTreeMap<Bytes, Vec<Version>>,
    /// The events of each revision, the last one's at the back.
    log: VecDeque<Vec<Event>>,
}

impl History {
    /// An empty history. Its revision is 1, as that of an empty etcd.
    pub(super) fn new() -> Self {
        Self { revision: 1, compacted: 0, keys: BTreeMap::new(), log: VecDeque::new() }
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&KeyValue> {
        self.keys.get(key)?.last()?.value.as_ref()
    }

    /// The keys that are attached to a lease now.
    pub(super) fn attached(&self, lease: LeaseId) -> impl Iterator<Item = Bytes> + '_ {
        let current = self.keys.values().filter_map(|versions| versions.last()?.value.as_ref());
        current.filter(move |value| value.lease == lease).map(|value| value.key.clone())
    }

    pub(super) fn range(&self, keys: &Interval, limit: usize, at: Revision) -> Result<Page, Error> {
        let read_at = if at == 0 { self.revision } else { at };
        self.readable(read_at)?;
        let limit = if limit == 0 { usize::MAX } else { limit };
        let mut page = Page { items: Vec::new(), count: 0, revision: self.revision };
        let end = if keys.end.is_empty() { Bound::Unbounded } else { Bound::Excluded(&keys.end) };
        if !keys.end.is_empty() && keys.end <= keys.start {
            return Ok(page);
        }
        for versions in self.keys.range::<Bytes, _>((Bound::Included(&keys.start), end)).map(|(_, v)| v) {
            let version = versions.iter().rev().find(|version| version.at <= read_at);
            if let Some(value) = version.and_then(|version| version.value.as_ref()) {
                page.count += 1;
                if page.items.len() < limit {
                    page.items.push(value.clone());
                }
            }
        }
        Ok(page)
    }

    /// Makes all changes at one new revision and returns its events; deletions of absent keys are no change.
    pub(super) fn commit(&mut self, changes: Vec<Change>) -> &[Event] {
        let revision = self.revision + 1;
        let mut events = Vec::with_capacity(changes.len());
        for change in changes {
            if let Some(event) = self.event(change, revision) {
                let value = (!event.deleted).then(|| event.now.clone());
                self.keys.entry(event.now.key.clone()).or_default().push(Version { at: revision, value });
                events.push(event);
            }
        }
        if events.is_empty() {
            return &[];
        }
        self.revision = revision;
        self.log.push_back(events);
        if self.log.len() > MOST_REVISIONS {
            self.forget(revision - (MOST_REVISIONS / 2) as Revision);
        }
        self.log.back().map_or(&[], Vec::as_slice)
    }

    fn event(&self, change: Change, revision: Revision) -> Option<Event> {
        match change {
            Change::Put { key, value, lease } => {
                let before = self.get(&key).cloned();
                let (create_revision, version) =
                    before.as_ref().map_or((revision, 1), |old| (old.create_revision, old.version + 1));
                let now = KeyValue { key, value, create_revision, mod_revision: revision, version, lease };
                Some(Event { now, before, deleted: false })
            }
            Change::Delete { key } => {
                let before = self.get(&key)?.clone();
                let now = KeyValue {
                    key,
                    value: Bytes::new(),
                    create_revision: 0,
                    mod_revision: revision,
                    version: 0,
                    lease: 0,
                };
                Some(Event { now, before: Some(before), deleted: true })
            }
        }
    }

    /// The next events of the interval from revision `from` on, whole revisions, and where to go on from.
    pub(super) fn since(&self, keys: &Interval, from: Revision) -> Result<(Vec<Event>, Revision), Error> {
        if from < self.compacted {
            return Err(Error::Compacted { asked: from, oldest: self.compacted });
        }
        let oldest = self.revision - self.log.len() as Revision + 1;
        let mut events = Vec::new();
        let mut next = from.max(oldest);
        while next <= self.revision && events.len() < BATCH {
            let changes = &self.log[(next - oldest) as usize];
            events.extend(changes.iter().filter(|event| keys.contains(&event.now.key)).cloned());
            next += 1;
        }
        Ok((events, next.max(from)))
    }

    pub(super) fn compact(&mut self, revision: Revision) -> Result<(), Error> {
        if revision <= self.compacted {
            return Err(Error::Compacted { asked: revision, oldest: self.compacted });
        }
        self.readable(revision)?;
        self.forget(revision);
        Ok(())
    }

    fn forget(&mut self, revision: Revision) {
        self.compacted = revision;
        let kept = (self.revision - revision + 1) as usize;
        self.log.drain(..self.log.len().saturating_sub(kept));
        self.keys.retain(|_, versions| {
            let visible = versions.iter().rposition(|version| version.at <= revision);
            versions.drain(..visible.unwrap_or(0));
            // A deletion that nobody can look behind leaves nothing.
            if versions.first().is_some_and(|first| first.at <= revision && first.value.is_none()) {
                versions.remove(0);
            }
            !versions.is_empty()
        });
    }

    fn readable(&self, at: Revision) -> Result<(), Error> {
        if at > self.revision {
            Err(Error::Future { asked: at })
        } else if at < self.compacted {
            Err(Error::Compacted { asked: at, oldest: self.compacted })
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &'static str) -> Change {
        Change::Put { key: key.into(), value: "v".into(), lease: 0 }
    }

    #[test]
    fn it_compacts_itself() {
        let mut history = History::new();
        for _ in 0..=MOST_REVISIONS {
            history.commit(vec![put("a")]);
        }
        assert!(history.log.len() <= MOST_REVISIONS);
        assert!(history.keys["a".as_bytes()].len() <= MOST_REVISIONS);
        let oldest = history.compacted;
        assert!(history.since(&Interval::prefix("a"), oldest - 1).is_err());
        assert_eq!(history.since(&Interval::prefix("a"), oldest).unwrap().0[0].now.mod_revision, oldest);
    }

    #[test]
    fn compaction_leaves_what_is_visible() {
        let mut history = History::new();
        history.commit(vec![put("a"), put("b")]); // 2
        history.commit(vec![put("a")]); // 3
        history.commit(vec![Change::Delete { key: "b".into() }]); // 4
        history.compact(4).unwrap();
        assert_eq!(history.keys.len(), 1);
        assert_eq!(history.range(&Interval::prefix(""), 0, 4).unwrap().count, 1);
        assert_eq!(history.since(&Interval::prefix(""), 4).unwrap().0.len(), 1);
    }
}
