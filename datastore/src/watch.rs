//! Who watches what, and the recent events they are told of, straight from the commit path.
//!
//! A watcher holds no events, only its place in history. Recent events are kept once for all, bounded by bytes; a
//! watcher that is further behind is told to replay from the file, and one that compaction overtakes ends.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use proto::etcd::mvccpb::Event;
use store::{Interval, Revision};
use tokio::sync::Notify;

/// Bytes of recent events that are kept in memory: enough for a burst of a few hundred large objects, little beside
/// what a small machine has.
const RECENT_BYTES: usize = 2 * 1024 * 1024;

/// What an event costs beside its bytes.
const OVERHEAD: usize = 200;

/// Events handed over at once; a revision that has more is handed over whole all the same.
const BATCH: usize = 500;

/// Names a watcher within the process.
pub(crate) type Id = u64;

#[derive(Debug)]
pub(crate) struct Hub {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The last revision that watchers have been told of.
    revision: Revision,
    /// The oldest revision that may still be watched from.
    compacted: Revision,
    /// The last revisions' events, each revision's in one.
    recent: VecDeque<Arc<[Event]>>,
    bytes: usize,
    watchers: HashMap<Id, Watcher>,
    next: Id,
}

#[derive(Debug)]
struct Watcher {
    keys: Interval,
    /// The first revision it has not been told of.
    next: Revision,
    /// Whether history may hold something for it.
    behind: bool,
    /// Whether it asked for what compaction took, as the file will say.
    late: bool,
    wake: Arc<Notify>,
}

/// What to tell a watcher.
#[derive(Debug)]
pub(crate) enum Told {
    Nothing,
    /// These events, whole revisions.
    Events(Vec<Event>),
    /// What is in the file from this revision on; then [`Hub::replayed`].
    Replay(Revision),
}

impl Hub {
    pub(crate) fn new(revision: Revision, compacted: Revision) -> Self {
        let state = State {
            revision,
            compacted,
            recent: VecDeque::new(),
            bytes: 0,
            watchers: HashMap::new(),
            next: 0,
        };
        Self { state: Mutex::new(state) }
    }

    /// Takes note of a compaction. Watchers that are under way go on; new ones must begin at `revision` or later.
    pub(crate) fn compact(&self, revision: Revision) {
        self.state.lock().compacted = revision;
    }

    pub(crate) fn revision(&self) -> Revision {
        self.state.lock().revision
    }

    pub(crate) fn watchers(&self) -> usize {
        self.state.lock().watchers.len()
    }

    /// Adds a watcher from a revision on (0: the next one), and returns the revision it was added at.
    pub(crate) fn watch(&self, keys: Interval, from: Revision, wake: Arc<Notify>) -> (Id, Revision) {
        let mut state = self.state.lock();
        let next = if from <= 0 { state.revision + 1 } else { from };
        let behind = next <= state.revision;
        let late = next < state.compacted;
        let id = state.next;
        state.next += 1;
        state.watchers.insert(id, Watcher { keys, next, behind, late, wake });
        (id, state.revision)
    }

    pub(crate) fn cancel(&self, id: Id) {
        self.state.lock().watchers.remove(&id);
    }

    /// What to tell a watcher next.
    pub(crate) fn tell(&self, id: Id) -> Told {
        self.state.lock().tell(id)
    }

    /// Takes note that a watcher has been told from the file what happened before `next`.
    pub(crate) fn replayed(&self, id: Id, next: Revision) {
        let mut state = self.state.lock();
        let revision = state.revision;
        if let Some(watcher) = state.watchers.get_mut(&id) {
            watcher.next = watcher.next.max(next);
            watcher.behind = watcher.next <= revision;
        }
    }

    /// The revision up to which all these watchers have been told everything, if they have.
    pub(crate) fn settled(&self, ids: impl IntoIterator<Item = Id>) -> Option<Revision> {
        let state = self.state.lock();
        let behind = ids.into_iter().any(|id| state.watchers.get(&id).is_some_and(|watcher| watcher.behind));
        (!behind).then_some(state.revision)
    }

    /// Tells of one committed revision. Revisions must come in order, without a gap.
    pub(crate) fn publish(&self, revision: Revision, events: Vec<Event>) {
        let mut state = self.state.lock();
        state.revision = revision;
        for watcher in state.watchers.values_mut() {
            watcher.note(revision, &events);
        }
        state.bytes += weight(&events);
        state.recent.push_back(events.into());
        while state.bytes > RECENT_BYTES
            && let Some(oldest) = state.recent.pop_front()
        {
            state.bytes -= weight(&oldest);
        }
    }
}

impl State {
    fn tell(&mut self, id: Id) -> Told {
        let revision = self.revision;
        let oldest = revision - self.recent.len() as Revision + 1;
        let Some(watcher) = self.watchers.get_mut(&id) else { return Told::Nothing };
        if !watcher.behind {
            return Told::Nothing;
        }
        if watcher.late || watcher.next < oldest {
            return Told::Replay(watcher.next);
        }
        let mut events = Vec::new();
        while watcher.next <= revision && events.len() < BATCH {
            let place = (watcher.next - oldest) as usize;
            let changes = self.recent[place].iter();
            events.extend(changes.filter(|event| concerns(&watcher.keys, event)).cloned());
            watcher.next += 1;
        }
        watcher.behind = watcher.next <= revision;
        if events.is_empty() { Told::Nothing } else { Told::Events(events) }
    }
}

impl Watcher {
    fn note(&mut self, revision: Revision, events: &[Event]) {
        if self.behind || revision < self.next {
            return;
        }
        if events.iter().any(|event| concerns(&self.keys, event)) {
            self.behind = true;
            self.wake.notify_one();
        } else {
            self.next = revision + 1;
        }
    }
}

fn concerns(keys: &Interval, event: &Event) -> bool {
    event.kv.as_ref().is_some_and(|kv| keys.contains(&kv.key))
}

fn weight(events: &[Event]) -> usize {
    let bytes = |kv: &Option<proto::etcd::mvccpb::KeyValue>| {
        kv.as_ref().map_or(0, |kv| kv.key.len() + kv.value.len())
    };
    events.iter().map(|event| bytes(&event.kv) + bytes(&event.prev_kv) + OVERHEAD).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::etcd::mvccpb::KeyValue;

    fn event(key: &str, revision: Revision, bytes: usize) -> Event {
        let value = vec![0; bytes].into();
        let kv = KeyValue { key: key.to_owned().into(), value, mod_revision: revision, ..Default::default() };
        Event { kv: Some(kv), ..Default::default() }
    }

    fn revisions(told: Told) -> Vec<Revision> {
        match told {
            Told::Events(events) => events.iter().filter_map(|e| Some(e.kv.as_ref()?.mod_revision)).collect(),
            Told::Nothing => vec![],
            Told::Replay(from) => vec![-from],
        }
    }

    #[test]
    fn a_watcher_is_told_of_its_keys_in_order() {
        let hub = Hub::new(10, 0);
        let wake = Arc::new(Notify::new());
        let (now, at) = hub.watch(Interval::prefix("a"), 0, Arc::clone(&wake));
        let (future, _) = hub.watch(Interval::prefix("a"), 13, Arc::clone(&wake));
        assert_eq!(at, 10);
        hub.publish(11, vec![event("a", 11, 1), event("b", 11, 1)]);
        hub.publish(12, vec![event("b", 12, 1)]);
        assert_eq!(hub.settled([now]), None);
        assert_eq!(revisions(hub.tell(now)), [11]);
        assert_eq!((revisions(hub.tell(now)), hub.settled([now, future])), (vec![], Some(12)));
        hub.publish(13, vec![event("a", 13, 1)]);
        assert_eq!((revisions(hub.tell(now)), revisions(hub.tell(future))), (vec![13], vec![13]));
    }

    #[test]
    fn who_is_too_far_behind_replays_from_the_file() {
        let hub = Hub::new(10, 0);
        let wake = Arc::new(Notify::new());
        let (old, _) = hub.watch(Interval::prefix("a"), 3, Arc::clone(&wake));
        let (slow, _) = hub.watch(Interval::prefix("a"), 0, Arc::clone(&wake));
        assert_eq!(revisions(hub.tell(old)), [-3]);
        hub.publish(11, vec![event("a", 11, RECENT_BYTES / 2)]);
        hub.publish(12, vec![event("a", 12, RECENT_BYTES)]);
        assert_eq!(revisions(hub.tell(slow)), [-11]);
        hub.publish(13, vec![event("a", 13, 1)]);
        hub.replayed(slow, 13);
        assert_eq!(revisions(hub.tell(slow)), [13]);
        hub.replayed(old, 14);
        assert_eq!(hub.settled([old, slow]), Some(13));
    }
}
