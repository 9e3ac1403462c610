//! The one writer of the cache: takes over what the store holds, then every change, and trims history.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use store::{Event, KeyValue, Revision};

use super::{Cache, Change, Entry};
use crate::resource::{Resource, Resources};
use crate::storage;

/// How much history is kept over all resources together, in bytes of encoded objects. A watch that was cut off
/// resumes if it comes back within this many bytes of changes: minutes on the machines we are made for.
const HISTORY_BYTES: usize = 8 * 1024 * 1024;

/// What a change costs besides its object's bytes: headers, labels, two queue places.
const CHANGE_OVERHEAD: usize = 256;

/// The one writer of a [`Cache`].
#[derive(Debug)]
pub struct Feed {
    cache: Arc<Cache>,
    resources: Arc<Resources>,
    /// Which resource each change in history belongs to, and its cost, oldest first.
    order: VecDeque<(usize, usize)>,
    bytes: usize,
}

impl Feed {
    /// A writer for an empty cache.
    pub fn new(cache: Arc<Cache>, resources: Arc<Resources>) -> Self {
        Self { cache, resources, order: VecDeque::new(), bytes: 0 }
    }

    /// Takes over all that the store holds at a revision; forgets what it does not hold, and all history.
    pub fn replace(&mut self, items: &[KeyValue], revision: Revision) {
        let mut seen: HashSet<(usize, &str)> = HashSet::with_capacity(items.len());
        let mut fresh: Vec<Vec<(Box<str>, Arc<Entry>)>> =
            self.resources.all().iter().map(|_| Vec::new()).collect();
        for item in items {
            let Some((resource, path)) = self.resources.of_key(&item.key) else { continue };
            let Some(entry) = entry(resource, path, item) else { continue };
            if seen.insert((resource.index, path)) {
                fresh[resource.index].push((path.into(), Arc::new(entry)));
            }
        }
        for (part, objects) in self.cache.parts.iter().zip(fresh) {
            let mut state = part.state.write();
            state.objects = objects.into_iter().collect();
            state.history.clear();
            state.since = revision;
            drop(state);
            part.changed.send_replace(revision);
        }
        self.order.clear();
        self.bytes = 0;
        self.cache.revision.send_replace(revision);
    }

    /// Takes over the changes of one or more whole revisions.
    pub fn apply(&mut self, events: &[Event]) {
        let resources = Arc::clone(&self.resources);
        let mut latest = 0;
        for event in events {
            latest = latest.max(event.now.mod_revision);
            if let Some((resource, path)) = resources.of_key(&event.now.key) {
                self.change(resource, path, event);
            }
        }
        self.progress(latest);
    }

    /// Notes that everything up to a revision is known.
    pub fn progress(&self, revision: Revision) {
        self.cache.revision.send_if_modified(|known| {
            let newer = revision > *known;
            *known = revision.max(*known);
            newer
        });
    }

    fn change(&mut self, resource: &Resource, path: &str, event: &Event) {
        let Some(part) = self.cache.parts.get(resource.index) else { return };
        let revision = event.now.mod_revision;
        let mut state = part.state.write();
        let change = if event.deleted {
            let Some(before) = state.objects.remove(path) else { return };
            let mut last = before.value();
            storage::set_revision(&mut last, revision);
            // The object was in the cache, so it has its kind's shape.
            let Ok(now) = storage::entry(resource, path, revision, &last).map(Arc::new) else { return };
            Change { revision, now, before: Some(before), deleted: true }
        } else {
            let Some(now) = entry(resource, path, &event.now).map(Arc::new) else { return };
            let before = state.objects.insert(path.into(), Arc::clone(&now));
            Change { revision, now, before, deleted: false }
        };
        let cost = change.now.json.len() + CHANGE_OVERHEAD;
        state.history.push_back(change);
        drop(state);
        part.changed.send_replace(revision);
        self.order.push_back((resource.index, cost));
        self.bytes += cost;
        self.trim();
    }

    fn trim(&mut self) {
        while self.bytes > HISTORY_BYTES
            && let Some((index, cost)) = self.order.pop_front()
        {
            self.bytes -= cost;
            if let Some(part) = self.cache.parts.get(index) {
                let mut state = part.state.write();
                if let Some(gone) = state.history.pop_front() {
                    state.since = gone.revision;
                }
            }
        }
    }
}

/// The entry of a stored value; a value that cannot be read is told of and left out.
fn entry(resource: &Resource, path: &str, item: &KeyValue) -> Option<Entry> {
    let read = storage::decode(resource, item)
        .and_then(|object| storage::entry(resource, path, item.mod_revision, &object));
    match read {
        Ok(entry) => Some(entry),
        Err(fault) => {
            tracing::error!(key = %String::from_utf8_lossy(&item.key), "could not read a stored object: {fault}");
            None
        }
    }
}
