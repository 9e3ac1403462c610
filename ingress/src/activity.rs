//! Whether anything moves on a connection or in a transfer, for those who wait until nothing does.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// How many requests run, and when something moved last.
#[derive(Debug, Clone)]
pub struct Activity {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// The connection's place among all there may be: free again when nothing uses the connection.
    _place: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
struct State {
    running: usize,
    moved: Instant,
}

/// Counts as one running request until dropped.
#[derive(Debug)]
pub struct Busy {
    activity: Activity,
}

impl Activity {
    /// Nothing runs, and all has just moved.
    pub fn new() -> Self {
        Self::with(None)
    }

    /// That of a connection which has a place among all there may be.
    pub fn in_place(place: OwnedSemaphorePermit) -> Self {
        Self::with(Some(place))
    }

    fn with(place: Option<OwnedSemaphorePermit>) -> Self {
        let state = Mutex::new(State { running: 0, moved: Instant::now() });
        Self { inner: Arc::new(Inner { state, _place: place }) }
    }

    /// Notes a request that runs.
    pub fn begin(&self) -> Busy {
        self.inner.state.lock().running += 1;
        Busy { activity: self.clone() }
    }

    /// Notes that something moved.
    pub fn touch(&self) {
        self.inner.state.lock().moved = Instant::now();
    }

    /// Returns once nothing has run or moved for this long.
    pub async fn quiet(&self, patience: Duration) {
        loop {
            let (running, moved) = {
                let state = self.inner.state.lock();
                (state.running, state.moved)
            };
            // While something runs, the end of it counts as a move, so another whole wait is due at least.
            let since = if running > 0 { Instant::now() } else { moved };
            if since.elapsed() >= patience {
                return;
            }
            tokio::time::sleep_until(since + patience).await;
        }
    }
}

impl Default for Activity {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.activity.inner.state.lock();
        state.running -= 1;
        state.moved = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn quiet_only_when_nothing_runs_or_moves() {
        let (activity, second) = (Activity::new(), Duration::from_secs(1));
        let begun = Instant::now();
        let busy = activity.begin();
        let ends = async {
            tokio::time::sleep(second * 15).await;
            drop(busy);
            tokio::time::sleep(second * 5).await;
            activity.touch();
        };
        tokio::join!(ends, activity.quiet(second * 10));
        assert_eq!(begun.elapsed(), second * 30);
    }
}
