//! What a store promises: revisions, compare-and-swap, watch, compaction, leases, as etcd v3 has them.
//!
//! The API server is written against [`Store`] alone. Behind it stand a store in memory for tests, and one that
//! speaks etcd v3 gRPC to our datastore or to etcd. One suite of laws holds for all of them.
#![deny(missing_docs)]

pub mod law;
pub mod memory;
pub mod remote;

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;

/// A point in the one history of a store. Every committed change has its own; they only grow.
pub type Revision = i64;

/// Names a lease; keys attached to it vanish when it ends.
pub type LeaseId = i64;

/// A key with its value and history, at some revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// The revision at which the key came to be.
    pub create_revision: Revision,
    /// The revision of its last change.
    pub mod_revision: Revision,
    /// How many changes it has had since it came to be, from 1.
    pub version: i64,
    /// The lease it is attached to, or 0.
    pub lease: LeaseId,
}

/// A half-open interval of keys, `start <= key < end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interval {
    /// The first key.
    pub start: Bytes,
    /// The first key beyond; empty means there is no end.
    pub end: Bytes,
}

impl Interval {
    /// All keys that begin with `prefix`.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start: Bytes = prefix.into();
        let mut end = start.to_vec();
        while let Some(last) = end.pop() {
            if last < u8::MAX {
                end.push(last + 1);
                break;
            }
        }
        Self { start, end: end.into() }
    }

    /// Whether a key is in the interval.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start <= key && (self.end.is_empty() || key < &self.end[..])
    }
}

/// Part of a range, and the revision it was read at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The keys and values, by key.
    pub items: Vec<KeyValue>,
    /// How many keys of the interval exist at that revision, those of `items` included.
    pub count: i64,
    /// The store's revision when it answered.
    pub revision: Revision,
}

/// What became of a conditional change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Commit {
    /// It was made, at this revision.
    Made(Revision),
    /// The condition did not hold; nothing changed. Here is the key as it is, if it exists.
    Refused(Option<KeyValue>),
}

/// One change, as a watch tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The key after the change. For a deletion only `key` and `mod_revision` (that of the deletion) are set.
    pub now: KeyValue,
    /// The key before the change, if it existed and history still has it.
    pub before: Option<KeyValue>,
    /// Whether the key was deleted.
    pub deleted: bool,
}

/// What a watch delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// Changes in order of revision, whole revisions only: all changes of one revision are in one `Events`.
    Events(Vec<Event>),
    /// Everything up to and including this revision has been delivered.
    Progress(Revision),
}

/// An endless stream of updates; an error is its last item.
pub type Updates = Pin<Box<dyn Stream<Item = Result<Update, Error>> + Send>>;

/// Why a store could not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The revision asked for is older than what compaction left.
    #[error("revision {asked} has been compacted; the oldest one left is {oldest}")]
    Compacted {
        /// The revision asked for.
        asked: Revision,
        /// The oldest one that can be read, or 0 where the store did not say.
        oldest: Revision,
    },
    /// The revision asked for has not happened yet.
    #[error("revision {asked} is in the future")]
    Future {
        /// The revision asked for.
        asked: Revision,
    },
    /// No such lease.
    #[error("lease {0} does not exist")]
    NoLease(LeaseId),
    /// The request is larger than the store takes.
    #[error("the request is larger than the datastore accepts")]
    TooLarge,
    /// The store cannot be reached or cannot write; trying again may help.
    #[error("the datastore is unavailable: {0}")]
    Unavailable(String),
}

/// A store. Every call is atomic; a returned [`Commit::Made`] survives a power cut where the store is durable.
#[async_trait::async_trait]
pub trait Store: Send + Sync + 'static {
    /// The value of a key now, and the store's revision.
    async fn get(&self, key: &[u8]) -> Result<(Option<KeyValue>, Revision), Error>;

    /// Up to `limit` keys (0: all) of an interval, as they were at revision `at` (0: now).
    async fn range(&self, keys: Interval, limit: usize, at: Revision) -> Result<Page, Error>;

    /// Puts a value if the key's `mod_revision` is `expected` (0: the key must not exist).
    async fn put(
        &self,
        key: &[u8],
        value: Bytes,
        expected: Revision,
        lease: LeaseId,
    ) -> Result<Commit, Error>;

    /// Deletes a key if its `mod_revision` is `expected`.
    async fn delete(&self, key: &[u8], expected: Revision) -> Result<Commit, Error>;

    /// Every change of the interval's keys from revision `from` on (0: from the next one on), with the values before.
    ///
    /// The call returns when the watch is established: no change that is committed later is missed.
    async fn watch(&self, keys: Interval, from: Revision) -> Result<Updates, Error>;

    /// Asks for an [`Update::Progress`] on every open watch, as soon as it has delivered all that is committed now.
    async fn request_progress(&self) -> Result<(), Error>;

    /// Forgets history before `revision`; values current at it stay readable at it.
    async fn compact(&self, revision: Revision) -> Result<(), Error>;

    /// Makes a lease that ends after `ttl` unless kept alive.
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, Error>;

    /// Ends a lease and deletes its keys.
    async fn revoke(&self, lease: LeaseId) -> Result<(), Error>;
}
