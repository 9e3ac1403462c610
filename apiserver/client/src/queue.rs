//! A queue of keys to reconcile: each waits at most once, is worked on by one worker, may be delayed or backed off.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The first delay after a failure; doubles with each further one (client-go's figure).
const FIRST_DELAY: Duration = Duration::from_millis(5);

/// The longest delay between two tries of a failing key; client-go allows 1000 s, which no user waits for.
const LONGEST_DELAY: Duration = Duration::from_secs(120);

/// What a reconcile wants next for its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing until something changes.
    Wait,
    /// Another look after this long, whatever happens.
    After(Duration),
}

/// A deduplicating, delaying, rate limiting queue. Its size is bounded by the number of distinct items.
#[derive(Debug)]
pub struct Queue<T> {
    inner: Arc<Inner<T>>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

#[derive(Debug)]
struct Inner<T> {
    state: Mutex<State<T>>,
    wake: Notify,
}

#[derive(Debug)]
struct State<T> {
    ready: VecDeque<T>,
    // Everything in `ready`, and what was added while it was being worked on.
    dirty: HashSet<T>,
    working: HashSet<T>,
    delayed: BTreeMap<(Instant, u64), T>,
    due: HashMap<T, (Instant, u64)>,
    failures: HashMap<T, u32>,
    sequence: u64,
}

impl<T: Clone + Eq + Hash> Default for Queue<T> {
    fn default() -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            working: HashSet::new(),
            delayed: BTreeMap::new(),
            due: HashMap::new(),
            failures: HashMap::new(),
            sequence: 0,
        };
        Self { inner: Arc::new(Inner { state: Mutex::new(state), wake: Notify::new() }) }
    }
}

impl<T: Clone + Eq + Hash> Queue<T> {
    /// Adds an item; one that waits already stays where it is, one being worked on comes again afterwards.
    pub fn add(&self, item: T) {
        self.inner.state.lock().add(item);
        self.inner.wake.notify_one();
    }

    /// Adds an item after a delay; of several pending delays of an item the shortest counts.
    pub fn add_after(&self, item: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(item);
        }
        self.inner.state.lock().delay(item, Instant::now() + delay);
        self.inner.wake.notify_one();
    }

    /// Adds an item after a delay that doubles with each failure since the last [`Queue::forget`].
    pub fn add_failed(&self, item: T) {
        let delay = {
            let mut state = self.inner.state.lock();
            let failures = state.failures.entry(item.clone()).or_insert(0);
            let delay = FIRST_DELAY.saturating_mul(1 << (*failures).min(20));
            *failures = failures.saturating_add(1);
            delay.min(LONGEST_DELAY)
        };
        self.add_after(item, delay);
    }

    /// Forgets an item's failures.
    pub fn forget(&self, item: &T) {
        self.inner.state.lock().failures.remove(item);
    }

    /// How many items are ready to be worked on.
    pub fn len(&self) -> usize {
        self.inner.state.lock().ready.len()
    }

    /// Whether nothing is ready to be worked on.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits for the next item. [`Queue::done`] must follow for it.
    pub async fn next(&self) -> T {
        loop {
            let wake = self.inner.wake.notified();
            let due = {
                let mut state = self.inner.state.lock();
                state.mature(Instant::now());
                if let Some(item) = state.take() {
                    // Another worker may sleep while more is ready.
                    if !state.ready.is_empty() || !state.delayed.is_empty() {
                        self.inner.wake.notify_one();
                    }
                    return item;
                }
                state.delayed.keys().next().map(|(due, _)| *due)
            };
            match due {
                Some(due) => tokio::select! {
                    () = wake => {}
                    () = tokio::time::sleep_until(due) => {}
                },
                None => wake.await,
            }
        }
    }

    /// Says that the work on an item from [`Queue::next`] is over.
    pub fn done(&self, item: &T) {
        let mut state = self.inner.state.lock();
        state.working.remove(item);
        if state.dirty.contains(item) {
            state.ready.push_back(item.clone());
            drop(state);
            self.inner.wake.notify_one();
        }
    }
}

impl<T: Clone + Eq + Hash> State<T> {
    fn add(&mut self, item: T) {
        if let Some(due) = self.due.remove(&item) {
            self.delayed.remove(&due);
        }
        if self.dirty.insert(item.clone()) && !self.working.contains(&item) {
            self.ready.push_back(item);
        }
    }

    fn delay(&mut self, item: T, due: Instant) {
        if self.dirty.contains(&item) && !self.working.contains(&item) {
            return;
        }
        if let Some(earlier) = self.due.get(&item).copied() {
            if earlier.0 <= due {
                return;
            }
            self.delayed.remove(&earlier);
        }
        self.sequence += 1;
        let at = (due, self.sequence);
        self.due.insert(item.clone(), at);
        self.delayed.insert(at, item);
    }

    fn mature(&mut self, now: Instant) {
        while let Some(entry) = self.delayed.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let item = entry.remove();
            self.due.remove(&item);
            self.add(item);
        }
    }

    fn take(&mut self) -> Option<T> {
        let item = self.ready.pop_front()?;
        self.dirty.remove(&item);
        self.working.insert(item.clone());
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_item_waits_once_and_comes_again_when_added_during_work() {
        let queue = Queue::default();
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.next().await, "a");
        assert!(queue.is_empty());
        queue.add("a");
        assert!(queue.is_empty());
        queue.done(&"a");
        assert_eq!(queue.next().await, "a");
    }

    #[tokio::test(start_paused = true)]
    async fn the_shortest_delay_counts() {
        let queue = Queue::default();
        let begun = Instant::now();
        queue.add_after("a", Duration::from_secs(9));
        queue.add_after("a", Duration::from_secs(3));
        queue.add_after("a", Duration::from_secs(6));
        assert_eq!(queue.next().await, "a");
        assert_eq!(begun.elapsed().as_secs(), 3);
        queue.done(&"a");
        assert!(tokio::time::timeout(Duration::from_secs(60), queue.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_back_off_until_forgotten() {
        let queue = Queue::default();
        let mut waits = Vec::new();
        for round in 0..4 {
            if round == 3 {
                queue.forget(&"a");
            }
            let begun = Instant::now();
            queue.add_failed("a");
            assert_eq!(queue.next().await, "a");
            queue.done(&"a");
            waits.push(begun.elapsed().as_millis());
        }
        assert_eq!(waits, [5, 10, 20, 5]);
    }
}
