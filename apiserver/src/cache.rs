//! The watch cache: every object once, as encoded bytes with what is selected on beside them, and recent history.
//!
//! One watch on the store feeds all resources ([`Feed`], the one writer). Readers take lists as shared entries;
//! watchers hold no events of their own, only their place in history ([`Cache::after`]), so a slow one costs nothing
//! and ends with "too old" when history has moved on. History is bounded by bytes over all resources together.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use serde_json::Value;
use store::Revision;
use tokio::sync::watch;

mod feed;

pub use feed::Feed;

/// One object, as it was at one revision. Cheap to share, never changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The namespace, or empty.
    pub namespace: Box<str>,
    /// The name.
    pub name: Box<str>,
    /// Its revision, which is its `metadata.resourceVersion`.
    pub revision: Revision,
    /// Its labels, by key.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// The values of the kind's selectable fields, in the order of `Behavior::selectable_fields`.
    pub fields: Box<[Box<str>]>,
    /// The whole object as JSON, in its stored version, `resourceVersion` included; begins with `Resource::head`.
    pub json: Bytes,
}

impl Entry {
    /// The object as a value.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.json).unwrap_or_default()
    }

    /// The object as any type that reads JSON; narrow structs with only the fields wanted are cheapest.
    ///
    /// # Errors
    /// Where the object does not have the type's shape.
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.json)
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(k, _)| &**k == key).map(|(_, value)| &**value)
    }
}

/// One step in the life of an object.
#[derive(Debug, Clone)]
pub struct Change {
    /// The revision at which it happened.
    pub revision: Revision,
    /// The object after it; after a deletion its last state, with the revision of the deletion.
    pub now: Arc<Entry>,
    /// The object before it, if it existed.
    pub before: Option<Arc<Entry>>,
    /// Whether the object is gone.
    pub deleted: bool,
}

/// The place in history asked for is no longer known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooOld {
    /// The oldest revision from which changes are known.
    pub oldest: Revision,
}

/// All objects of all resources.
#[derive(Debug)]
pub struct Cache {
    parts: Vec<Part>,
    revision: watch::Sender<Revision>,
}

#[derive(Debug)]
struct Part {
    state: RwLock<State>,
    /// Told of the revision of each change of this resource.
    changed: watch::Sender<Revision>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<Box<str>, Arc<Entry>>,
    history: VecDeque<Change>,
    /// History holds every change after this revision.
    since: Revision,
}

/// A list out of the cache.
#[derive(Debug)]
pub struct Listing {
    /// The entries, by key.
    pub entries: Vec<Arc<Entry>>,
    /// The revision at which they are all current.
    pub revision: Revision,
}

impl Cache {
    /// An empty one with room for so many resources.
    pub fn new(resources: usize) -> Self {
        let part = || Part { state: RwLock::default(), changed: watch::channel(0).0 };
        Self { parts: (0..resources).map(|_| part()).collect(), revision: watch::channel(0).0 }
    }

    /// Up to which revision everything is known.
    pub fn revision(&self) -> Revision {
        *self.revision.borrow()
    }

    /// A view of [`Cache::revision`] to wait on.
    pub fn revisions(&self) -> watch::Receiver<Revision> {
        self.revision.subscribe()
    }

    /// The object at a path.
    pub fn get(&self, resource: usize, path: &str) -> Option<Arc<Entry>> {
        self.parts.get(resource)?.state.read().objects.get(path).cloned()
    }

    /// The objects whose paths begin with `prefix` and come after `after` (empty: from the first on).
    pub fn list(&self, resource: usize, prefix: &str, after: &str) -> Listing {
        let Some(part) = self.parts.get(resource) else {
            return Listing { entries: Vec::new(), revision: self.revision() };
        };
        let state = part.state.read();
        // Read under the lock: the writer raises it only after it has let go of this part.
        let revision = self.revision().max(state.history.back().map_or(0, |change| change.revision));
        let start = match after {
            "" => Bound::Included(prefix),
            after => Bound::Excluded(after),
        };
        let entries = state
            .objects
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(path, _)| path.starts_with(prefix))
            .map(|(_, entry)| Arc::clone(entry))
            .collect();
        Listing { entries, revision }
    }

    /// About `most` changes of a resource after a revision, in order, whole revisions only.
    ///
    /// # Errors
    /// Where history does not reach back that far.
    pub fn after(&self, resource: usize, revision: Revision, most: usize) -> Result<Vec<Change>, TooOld> {
        let Some(part) = self.parts.get(resource) else { return Ok(Vec::new()) };
        let state = part.state.read();
        if revision < state.since {
            return Err(TooOld { oldest: state.since });
        }
        let first = state.history.partition_point(|change| change.revision <= revision);
        let mut taken: Vec<Change> = Vec::new();
        for change in state.history.range(first..) {
            // A revision is never split: the reader goes on after the last revision it was given.
            if taken.len() >= most && taken.last().is_some_and(|last| last.revision < change.revision) {
                break;
            }
            taken.push(change.clone());
        }
        Ok(taken)
    }

    /// A view of the revision of a resource's latest change, to wait on.
    pub fn changes(&self, resource: usize) -> Option<watch::Receiver<Revision>> {
        self.parts.get(resource).map(|part| part.changed.subscribe())
    }

    /// The revision of a resource's latest change that is known.
    pub fn changed_at(&self, resource: usize) -> Revision {
        self.parts.get(resource).map_or(0, |part| *part.changed.borrow())
    }

    /// How many objects a resource has.
    pub fn len(&self, resource: usize) -> usize {
        self.parts.get(resource).map_or(0, |part| part.state.read().objects.len())
    }
}
