//! What a running daemon holds: its name, its readiness, its drain and its tasks.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::Mutex;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::drain::{self, Drain, Trigger};
use crate::ready::{self, Gate, Gates};

/// How long a daemon may take to finish what it has begun: below systemd's 90 s, above a slow client's request.
const PATIENCE: Duration = Duration::from_secs(20);

/// Failures of tasks waiting to be noticed; only the first matters, the rest are logged as they happen.
const FAILURES: usize = 4;

/// A cheap handle on the running process, given to `run` and passed to whoever starts tasks.
#[derive(Clone)]
pub struct Context {
    inner: Arc<Inner>,
}

struct Inner {
    name: &'static str,
    // Taken out by `wind_down`, so that the context itself does not hold up its own drain.
    drain: Mutex<Option<Drain>>,
    gates: Gates,
    tasks: Mutex<JoinSet<()>>,
    failure: mpsc::Sender<anyhow::Error>,
    failures: tokio::sync::Mutex<mpsc::Receiver<anyhow::Error>>,
    trigger: Mutex<Option<Trigger>>,
    metrics: Mutex<Vec<MetricSource>>,
}

type MetricSource = Box<dyn Fn(&mut String) + Send + Sync>;

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("name", &self.inner.name).finish_non_exhaustive()
    }
}

impl Context {
    /// A context and the trigger that ends it. [`crate::main`] makes the one of a process; tests make their own.
    pub fn new(name: &'static str) -> (Self, Trigger) {
        let (trigger, drain) = drain::new();
        let (failure, failures) = mpsc::channel(FAILURES);
        let inner = Inner {
            name,
            drain: Mutex::new(Some(drain)),
            gates: Gates::default(),
            tasks: Mutex::new(JoinSet::new()),
            failure,
            failures: tokio::sync::Mutex::new(failures),
            trigger: Mutex::new(None),
            metrics: Mutex::default(),
        };
        (Self { inner: Arc::new(inner) }, trigger)
    }

    /// The daemon's name, such as `scheduler`.
    pub fn name(&self) -> &'static str {
        self.inner.name
    }

    /// Holds readiness back until the gate is dropped.
    pub fn gate(&self, what: &'static str) -> Gate {
        self.inner.gates.gate(what)
    }

    /// The gates of this process.
    pub fn gates(&self) -> &Gates {
        &self.inner.gates
    }

    /// A drain to listen to and to hold; after the drain has ended, one that is signaled already.
    pub fn drain(&self) -> Drain {
        self.inner.drain.lock().clone().unwrap_or_else(|| {
            let (trigger, drain) = drain::new();
            trigger.start();
            drain
        })
    }

    /// Runs `work` until it ends or the process drains, whichever is first. Its error or panic stops the daemon.
    pub fn spawn<F>(&self, name: &'static str, work: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let drain = self.drain();
        // Boxed here and below: each layer around a future would otherwise hold it twice, for as long as the task lives.
        let work = Box::pin(work);
        self.spawn_draining(name, async move {
            tokio::select! {
                result = work => result,
                () = drain.signaled() => Ok(()),
            }
        });
    }

    /// Runs `work` to its own end, which it must reach soon after its [`Drain`] is signaled; the process waits
    /// for it. Its error or panic stops the daemon.
    pub fn spawn_draining<F>(&self, name: &'static str, work: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let failure = self.inner.failure.clone();
        let held = self.drain();
        let work = Box::pin(work);
        self.start(async move {
            // A panic unwinds through this guard, which reports it in the task's stead.
            let mut guard = Watchdog { name, failure: Some(failure) };
            let result = work.await;
            if let Some(failure) = guard.failure.take()
                && let Err(error) = result
            {
                let error = error.context(format!("task {name} failed"));
                if let Err(unsent) = failure.try_send(error) {
                    tracing::error!(task = name, "{:#}", unsent.into_inner());
                }
            }
            drop(held);
        });
    }

    /// Runs `work` (one connection, one request, one pod) until it ends or the process drains. Its error or
    /// panic is logged and touches nobody else.
    pub fn spawn_isolated<F>(&self, name: &'static str, work: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let drain = self.drain();
        let work = Box::pin(work);
        self.start(async move {
            tokio::select! {
                result = work => {
                    if let Err(error) = result {
                        tracing::debug!(task = name, "{error:#}");
                    }
                }
                () = drain.signaled() => {}
            }
        });
    }

    fn start(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.inner.tasks.lock();
        // Finished tasks are collected as new ones come, so the set is as large as what runs.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(work);
    }

    /// Adds text in the Prometheus exposition format to what `/metrics` answers.
    pub fn metrics(&self, source: impl Fn(&mut String) + Send + Sync + 'static) {
        self.inner.metrics.lock().push(Box::new(source));
    }

    pub(crate) fn exposition(&self) -> String {
        let mut out = String::new();
        for source in self.inner.metrics.lock().iter() {
            source(&mut out);
        }
        out
    }

    /// Serves `/livez`, `/readyz`, `/healthz` and `/metrics` over plain HTTP on `address`.
    ///
    /// # Errors
    /// Where the address cannot be bound; the message names it.
    pub async fn serve_admin(&self, address: SocketAddr) -> anyhow::Result<SocketAddr> {
        crate::admin::serve(self, address).await
    }

    /// Tells the supervisor once ready, then returns when the process is asked to finish, or with the error of
    /// the first task that failed.
    ///
    /// # Errors
    /// The failure of a task, with the task's name.
    pub async fn finished(&self) -> anyhow::Result<()> {
        let drain = self.drain();
        let announce = async {
            self.inner.gates.gate("start").release();
            self.inner.gates.ready().await;
            tracing::info!("isopod-{} is ready", self.inner.name);
            ready::notify("READY=1").context("could not tell the supervisor (NOTIFY_SOCKET) of readiness")?;
            std::future::pending::<anyhow::Result<()>>().await
        };
        let mut failures = self.inner.failures.lock().await;
        tokio::select! {
            result = announce => result,
            Some(error) = failures.recv() => Err(error),
            () = drain.signaled() => Ok(()),
        }
    }

    pub(crate) fn drain_on_signals(&self, trigger: Trigger) {
        let context = self.clone();
        *self.inner.trigger.lock() = Some(trigger);
        self.start(async move {
            let (Ok(mut term), Ok(mut int)) =
                (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
            else {
                tracing::error!("could not listen to signals; the process will not drain");
                return;
            };
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            tracing::info!("isopod-{} drains", context.inner.name);
            if let Some(trigger) = context.inner.trigger.lock().as_ref() {
                trigger.start();
            }
        });
    }

    /// Waits for what holds a [`Drain`], as long as [`PATIENCE`] allows; a further signal ends the wait.
    pub(crate) async fn wind_down(&self) {
        let trigger = self.inner.trigger.lock().take();
        drop(self.inner.drain.lock().take());
        let Some(trigger) = trigger else { return };
        let again = async {
            match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
                (Ok(mut term), Ok(mut int)) => tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} },
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            finished = trigger.drain(PATIENCE) => {
                if !finished {
                    tracing::warn!("some work did not finish within {} s and was cut off", PATIENCE.as_secs());
                }
            }
            () = again => tracing::warn!("a second signal: exiting at once"),
        }
    }
}

struct Watchdog {
    name: &'static str,
    failure: Option<mpsc::Sender<anyhow::Error>>,
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        if let Some(failure) = self.failure.take()
            && std::thread::panicking()
        {
            // A full channel holds an earlier failure, which stops the daemon just as well.
            drop(failure.try_send(anyhow::anyhow!("task {} panicked", self.name)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failing_task_stops_the_daemon_by_name() {
        let (context, _trigger) = Context::new("test");
        context.spawn("sums", async { anyhow::bail!("two and two are five") });
        let error = context.finished().await.unwrap_err();
        assert_eq!(format!("{error:#}"), "task sums failed: two and two are five");
    }

    #[tokio::test]
    async fn a_panicking_task_stops_the_daemon_by_name() {
        let (context, _trigger) = Context::new("test");
        context.spawn("sums", async { panic!("no") });
        let error = context.finished().await.unwrap_err();
        assert_eq!(format!("{error:#}"), "task sums panicked");
    }

    #[tokio::test]
    async fn a_drain_ends_it() {
        let (context, trigger) = Context::new("test");
        context.spawn("forever", std::future::pending());
        trigger.start();
        context.finished().await.unwrap();
    }
}
