//! Shutting down by dropping: work holds a [`Drain`], the [`Trigger`] waits until all are gone.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

/// No value of this type exists; a channel of it carries nothing but its own end.
#[derive(Debug)]
enum Never {}

/// Starts a drain and waits for its end. There is one, and it is not `Clone`.
#[derive(Debug)]
pub struct Trigger {
    started: watch::Sender<bool>,
    released: mpsc::Receiver<Never>,
}

/// A claim on the process: it does not exit, short of its deadline, while one of these lives.
#[derive(Debug, Clone)]
pub struct Drain {
    started: watch::Receiver<bool>,
    _held: mpsc::Sender<Never>,
}

/// A trigger and the first drain that listens to it.
pub fn new() -> (Trigger, Drain) {
    let (started_tx, started) = watch::channel(false);
    let (held, released) = mpsc::channel(1);
    (Trigger { started: started_tx, released }, Drain { started, _held: held })
}

impl Trigger {
    /// Tells every [`Drain`] to finish, then waits until all of them are dropped or `patience` is over.
    ///
    /// Returns whether everything finished in time.
    pub async fn drain(mut self, patience: Duration) -> bool {
        self.start();
        tokio::time::timeout(patience, async { while self.released.recv().await.is_some() {} }).await.is_ok()
    }

    /// Tells every [`Drain`] to finish without waiting.
    pub fn start(&self) {
        self.started.send_replace(true);
    }
}

impl Drain {
    /// Returns once the process has been asked to finish.
    pub async fn signaled(&self) {
        let mut started = self.started.clone();
        // An error means the trigger is gone, and with it the process's will to live.
        drop(started.wait_for(|started| *started).await);
    }

    /// Whether the process has been asked to finish.
    pub fn is_signaled(&self) -> bool {
        *self.started.borrow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_for_the_last_holder() {
        let (trigger, drain) = new();
        let worker = async move {
            drain.signaled().await;
            tokio::time::sleep(Duration::from_secs(20)).await;
        };
        let (finished, ()) = tokio::join!(trigger.drain(Duration::from_secs(30)), worker);
        assert!(finished);
    }

    #[tokio::test(start_paused = true)]
    async fn gives_up_at_the_deadline() {
        let (trigger, _drain) = new();
        assert!(!trigger.drain(Duration::from_secs(5)).await);
    }
}
