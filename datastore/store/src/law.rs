//! The laws of a store: one suite that every implementation must pass.
//!
//! A law writes below a prefix of its own, so laws can share one store; it judges by what it wrote and by relations
//! between revisions, never by a revision's number. [`check_all`] is the one loop over the one table.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;

use crate::{Commit, Error, Event, Interval, KeyValue, Revision, Store, Update, Updates};

mod lease;
mod load;
mod range;
mod revision;
mod watch;

/// How long a law may take: far more than any needs, so that a store that hangs is named and not waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a watch may keep silent about what has happened before it counts as broken.
const SILENCE: Duration = Duration::from_secs(20);

/// How a law was broken.
#[derive(Debug)]
pub struct Broken(String);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self(format!("the store failed: {error}"))
    }
}

type Verdict = Result<(), Broken>;
type Judging = Pin<Box<dyn Future<Output = Verdict> + Send>>;

/// A law: what must hold, in one sentence, and how to see whether it does.
struct Law {
    name: &'static str,
    judge: fn(Subject) -> Judging,
}

macro_rules! laws {
    ($($judge:path: $name:literal,)*) => {
        &[$(Law { name: $name, judge: |subject| Box::pin($judge(subject)) },)*]
    };
}

/// Every law there is.
const LAWS: &[Law] = laws! {
    revision::grow: "every commit has a revision of its own and they only grow",
    revision::lineage: "a key remembers when it came to be and counts its changes",
    revision::creates_once: "a key that exists is not created again; the refusal shows it",
    revision::put_compares: "a put with a stale revision changes nothing; the refusal shows what is there",
    revision::delete_compares: "a delete with a stale revision changes nothing; the refusal shows what is there",
    revision::refusals_are_free: "a refused change uses up no revision",
    revision::bytes_are_bytes: "keys and values are any bytes, also none",
    revision::big_values: "a value of a mebibyte comes back whole; one beyond the limit is refused and harms nothing",
    range::order: "a range is half-open and ordered by key",
    range::limit: "a limit cuts the items, never the count",
    range::past: "a range at a past revision shows that revision",
    range::pages: "pages read at one revision are one snapshot, whatever is written meanwhile",
    range::future: "a revision that has not happened cannot be read",
    range::compacted: "what compaction left can be read, what it took cannot",
    range::compacts_forward: "compaction goes forward and never into the future",
    watch::replays: "a watch from a revision replays every change since, in order",
    watch::misses_nothing: "a watch that is established misses no later commit",
    watch::shows_before: "an event carries the value before it; a deletion carries its own revision",
    watch::keeps_to_its_keys: "a watch tells of its interval and of nothing else",
    watch::waits_for_the_future: "a watch from a future revision tells of nothing earlier",
    watch::compacted: "a watch from a compacted revision ends with that error",
    watch::survives_compaction: "a watch that is up to date outlives compaction",
    watch::progress: "progress is reported on request, once everything before it is delivered",
    watch::many: "all watchers of a key see the same events",
    lease::must_exist: "a put with an unknown lease is refused",
    lease::revoke: "the end of a lease deletes its keys in one revision, and only those still attached",
    lease::expire: "a lease that is not kept alive ends by itself",
    load::no_lost_update: "concurrent writers that compare lose no update",
    load::one_creator: "of concurrent creators one wins",
    load::watch_is_the_history: "what a watch tells under concurrent writes is the history, each revision once",
    load::list_then_watch: "a list and a watch from its revision together miss nothing and repeat nothing",
};

/// Checks every law, each on a store that `make` returns (a new one, or another handle on the same), and describes
/// those that are broken, one line each.
///
/// `excused` names laws that the subject is known to break; an excuse for a law that does not exist counts as one more.
pub async fn check_all<F, Fut>(make: F, excused: &[&str]) -> Vec<String>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Store>>,
{
    let mut broken: Vec<String> = excused
        .iter()
        .filter(|excuse| LAWS.iter().all(|law| law.name != **excuse))
        .map(|excuse| format!("{excuse}: there is no such law"))
        .collect();
    for (number, law) in LAWS.iter().enumerate() {
        if excused.contains(&law.name) {
            continue;
        }
        let subject = Subject { store: make().await, prefix: format!("/law/{number:02}/") };
        match tokio::time::timeout(PATIENCE, (law.judge)(subject)).await {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => broken.push(format!("{}: {reason}", law.name)),
            Err(_) => broken.push(format!("{}: no verdict within {} s", law.name, PATIENCE.as_secs())),
        }
    }
    broken
}

/// A store and the part of its keys that one law has to itself.
struct Subject {
    store: Arc<dyn Store>,
    prefix: String,
}

impl Subject {
    fn key(&self, name: &str) -> Vec<u8> {
        format!("{}{name}", self.prefix).into_bytes()
    }

    fn all(&self) -> Interval {
        Interval::prefix(self.prefix.clone())
    }

    async fn get(&self, name: &str) -> Result<Option<KeyValue>, Error> {
        Ok(self.store.get(&self.key(name)).await?.0)
    }

    /// Puts a value whatever is there, and returns the revision.
    async fn put(&self, name: &str, value: &str) -> Result<Revision, Broken> {
        let expected = self.get(name).await?.map_or(0, |current| current.mod_revision);
        made(self.store.put(&self.key(name), Bytes::from(value.to_owned()), expected, 0).await?)
    }

    /// Deletes a key that exists, and returns the revision.
    async fn delete(&self, name: &str) -> Result<Revision, Broken> {
        let expected = self.get(name).await?.map_or(0, |current| current.mod_revision);
        made(self.store.delete(&self.key(name), expected).await?)
    }

    async fn watch(&self, from: Revision) -> Result<Tail, Error> {
        Ok(Tail { updates: self.store.watch(self.all(), from).await? })
    }

    /// The names and values at a revision.
    async fn list(&self, at: Revision) -> Result<Vec<(String, String)>, Error> {
        let page = self.store.range(self.all(), 0, at).await?;
        Ok(page.items.iter().map(|item| (self.name(&item.key), text(&item.value))).collect())
    }

    fn name(&self, key: &[u8]) -> String {
        text(&key[self.prefix.len().min(key.len())..])
    }

    /// Each event as `revision name=value` or `revision name deleted`.
    fn tell(&self, events: &[Event]) -> Vec<String> {
        let tell = |event: &Event| match event.deleted {
            true => format!("{} {} deleted", event.now.mod_revision, self.name(&event.now.key)),
            false => {
                format!("{} {}={}", event.now.mod_revision, self.name(&event.now.key), text(&event.now.value))
            }
        };
        events.iter().map(tell).collect()
    }
}

/// The receiving end of a watch.
struct Tail {
    updates: Updates,
}

impl Tail {
    async fn next(&mut self) -> Result<Update, Broken> {
        match tokio::time::timeout(SILENCE, self.updates.next()).await {
            Ok(Some(update)) => Ok(update?),
            Ok(None) => Err(Broken("the watch ended without an error".to_owned())),
            Err(_) => Err(Broken(format!("the watch kept silent for {} s", SILENCE.as_secs()))),
        }
    }

    /// Reads until `count` events have come, and checks on the way that each update holds whole revisions in order.
    async fn events(&mut self, count: usize) -> Result<Vec<Event>, Broken> {
        let mut events: Vec<Event> = Vec::new();
        while events.len() < count {
            if let Update::Events(more) = self.next().await? {
                let last = events.last().map_or(0, |event| event.now.mod_revision);
                let first = more.first().map_or(0, |event| event.now.mod_revision);
                ensure(first > last, || format!("an update began with {first} after one that held {last}"))?;
                ensure(more.is_sorted_by_key(|event| event.now.mod_revision), || {
                    "events out of order".into()
                })?;
                events.extend(more);
            }
        }
        Ok(events)
    }
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Broken(otherwise())) }
}

fn same<T: PartialEq + std::fmt::Debug>(found: T, expected: T) -> Verdict {
    if found == expected { Ok(()) } else { Err(Broken(format!("found {found:?}, expected {expected:?}"))) }
}

fn made(commit: Commit) -> Result<Revision, Broken> {
    match commit {
        Commit::Made(revision) => Ok(revision),
        Commit::Refused(current) => Err(Broken(format!("a change was refused in view of {current:?}"))),
    }
}

fn refused(commit: Commit) -> Result<Option<KeyValue>, Broken> {
    match commit {
        Commit::Made(revision) => {
            Err(Broken(format!("a change was made at {revision} that must be refused")))
        }
        Commit::Refused(current) => Ok(current),
    }
}

fn failed<T>(result: Result<T, Error>) -> Result<Error, Broken> {
    match result {
        Ok(_) => Err(Broken("the store did what it must refuse".to_owned())),
        Err(error) => Ok(error),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
