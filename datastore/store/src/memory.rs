//! A store in memory: what tests run on, and the plainest statement of what a store is.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::{Commit, Error, Event, Interval, KeyValue, LeaseId, Page, Revision, Store, Update, Updates};

mod history;

use history::{Change, History};

/// The largest value taken, in bytes: etcd's limit for a request, so that tests meet it too.
const LARGEST_VALUE: usize = 3 * 512 * 1024;

/// A store in memory. Clones are handles on the same store.
///
/// A watcher holds no events of its own, only its place in the one history. One that is slower than compaction
/// ends with [`Error::Compacted`].
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Told whenever a lease comes that [`Memory::expire`] does not know of.
    granted: Notify,
}

struct State {
    history: History,
    leases: HashMap<LeaseId, Instant>,
    next_lease: LeaseId,
    watchers: HashMap<u64, Watcher>,
    next_watcher: u64,
}

/// Where a watcher is in history.
struct Watcher {
    keys: Interval,
    /// The first revision it has not been told of.
    next: Revision,
    /// Whether history holds something for it.
    behind: bool,
    /// Whether it is to be told of its progress once it is not behind.
    progress: bool,
    wake: Arc<Notify>,
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").field("revision", &self.shared.state.lock().history.revision()).finish()
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// An empty store. Leases end only while somebody runs [`Memory::expire`].
    pub fn new() -> Self {
        let state = State {
            history: History::new(),
            leases: HashMap::new(),
            next_lease: 1,
            watchers: HashMap::new(),
            next_watcher: 0,
        };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), granted: Notify::new() }) }
    }

    /// Ends leases when their time has come, forever. Spawn it once, where leases matter.
    pub async fn expire(&self) -> Infallible {
        loop {
            let first = {
                let mut state = self.shared.state.lock();
                let now = Instant::now();
                let ended: Vec<LeaseId> =
                    state.leases.iter().filter(|(_, end)| **end <= now).map(|(id, _)| *id).collect();
                for lease in ended {
                    state.revoke(lease);
                }
                state.leases.values().min().copied()
            };
            let due = async {
                match first {
                    Some(end) => tokio::time::sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = self.shared.granted.notified() => {}
            }
        }
    }
}

impl State {
    fn commit(&mut self, changes: Vec<Change>) -> Revision {
        let events = self.history.commit(changes);
        for watcher in self.watchers.values_mut() {
            watcher.note(events);
        }
        self.history.revision()
    }

    fn revoke(&mut self, lease: LeaseId) -> bool {
        if self.leases.remove(&lease).is_none() {
            return false;
        }
        let attached = self.history.attached(lease).map(|key| Change::Delete { key }).collect();
        self.commit(attached);
        true
    }

    /// What the watcher is to be told next, if anything.
    fn tell(&mut self, watcher: u64) -> Option<Result<Update, Error>> {
        let revision = self.history.revision();
        let watcher = self.watchers.get_mut(&watcher)?;
        if watcher.behind {
            let (events, next) = match self.history.since(&watcher.keys, watcher.next) {
                Ok(found) => found,
                Err(error) => return Some(Err(error)),
            };
            watcher.next = next;
            watcher.behind = next <= revision;
            if !events.is_empty() {
                return Some(Ok(Update::Events(events)));
            }
        }
        if !watcher.behind && std::mem::take(&mut watcher.progress) {
            return Some(Ok(Update::Progress(revision)));
        }
        None
    }
}

impl Watcher {
    /// Takes note of a commit's events.
    fn note(&mut self, events: &[Event]) {
        let Some(revision) = events.first().map(|event| event.now.mod_revision) else { return };
        if self.behind || revision < self.next {
            return;
        }
        if events.iter().any(|event| self.keys.contains(&event.now.key)) {
            self.behind = true;
            self.wake.notify_one();
        } else {
            self.next = revision + 1;
        }
    }
}

/// Ends the watch when the stream is dropped.
struct Registration {
    shared: Arc<Shared>,
    watcher: u64,
    wake: Arc<Notify>,
    failed: bool,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.shared.state.lock().watchers.remove(&self.watcher);
    }
}

impl Registration {
    async fn next(mut self) -> Option<(Result<Update, Error>, Self)> {
        if self.failed {
            return None;
        }
        loop {
            let told = self.shared.state.lock().tell(self.watcher);
            match told {
                Some(update) => {
                    self.failed = update.is_err();
                    return Some((update, self));
                }
                None => self.wake.notified().await,
            }
        }
    }
}

#[async_trait::async_trait]
impl Store for Memory {
    async fn get(&self, key: &[u8]) -> Result<(Option<KeyValue>, Revision), Error> {
        let state = self.shared.state.lock();
        Ok((state.history.get(key).cloned(), state.history.revision()))
    }

    async fn range(&self, keys: Interval, limit: usize, at: Revision) -> Result<Page, Error> {
        self.shared.state.lock().history.range(&keys, limit, at)
    }

    async fn put(
        &self,
        key: &[u8],
        value: Bytes,
        expected: Revision,
        lease: LeaseId,
    ) -> Result<Commit, Error> {
        if value.len() > LARGEST_VALUE {
            return Err(Error::TooLarge);
        }
        let mut state = self.shared.state.lock();
        let current = state.history.get(key);
        if current.map_or(0, |current| current.mod_revision) != expected {
            return Ok(Commit::Refused(current.cloned()));
        }
        if lease != 0 && !state.leases.contains_key(&lease) {
            return Err(Error::NoLease(lease));
        }
        let key = Bytes::copy_from_slice(key);
        Ok(Commit::Made(state.commit(vec![Change::Put { key, value, lease }])))
    }

    async fn delete(&self, key: &[u8], expected: Revision) -> Result<Commit, Error> {
        let mut state = self.shared.state.lock();
        match state.history.get(key) {
            Some(current) if current.mod_revision == expected => {
                let key = current.key.clone();
                Ok(Commit::Made(state.commit(vec![Change::Delete { key }])))
            }
            current => Ok(Commit::Refused(current.cloned())),
        }
    }

    async fn watch(&self, keys: Interval, from: Revision) -> Result<Updates, Error> {
        let mut state = self.shared.state.lock();
        let revision = state.history.revision();
        let next = if from == 0 { revision + 1 } else { from };
        let behind = next <= revision;
        if behind {
            state.history.since(&keys, next)?;
        }
        let wake = Arc::new(Notify::new());
        let watcher = state.next_watcher;
        state.next_watcher += 1;
        let place = Watcher { keys, next, behind, progress: false, wake: Arc::clone(&wake) };
        state.watchers.insert(watcher, place);
        let registration = Registration { shared: Arc::clone(&self.shared), watcher, wake, failed: false };
        Ok(Box::pin(futures::stream::unfold(registration, Registration::next)))
    }

    async fn request_progress(&self) -> Result<(), Error> {
        for watcher in self.shared.state.lock().watchers.values_mut() {
            watcher.progress = true;
            watcher.wake.notify_one();
        }
        Ok(())
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.shared.state.lock().history.compact(revision)
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, Error> {
        let mut state = self.shared.state.lock();
        let lease = state.next_lease;
        state.next_lease += 1;
        state.leases.insert(lease, Instant::now() + ttl);
        self.shared.granted.notify_one();
        Ok(lease)
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), Error> {
        if self.shared.state.lock().revoke(lease) { Ok(()) } else { Err(Error::NoLease(lease)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law;

    #[tokio::test]
    async fn it_obeys_the_laws() {
        let store = Memory::new();
        let laws = law::check_all(|| async { Arc::new(store.clone()) as Arc<dyn Store> }, &[]);
        tokio::select! {
            never = store.expire() => match never {},
            broken = laws => assert!(broken.is_empty(), "{}", broken.join("\n")),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn leases_end_in_their_time() {
        let store = Memory::new();
        let ends = async {
            let long = store.grant(Duration::from_secs(60)).await.unwrap();
            let short = store.grant(Duration::from_secs(10)).await.unwrap();
            store.put(b"long", "v".into(), 0, long).await.unwrap();
            store.put(b"short", "v".into(), 0, short).await.unwrap();
            tokio::time::sleep(Duration::from_secs(11)).await;
            assert_eq!(store.get(b"short").await.unwrap().0, None);
            assert!(store.get(b"long").await.unwrap().0.is_some());
            tokio::time::sleep(Duration::from_secs(50)).await;
            assert_eq!(store.get(b"long").await.unwrap().0, None);
        };
        tokio::select! {
            never = store.expire() => match never {},
            () = ends => {}
        }
    }
}
