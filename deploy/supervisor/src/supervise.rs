//! Runs units: each once what it needs is ready, again when it ends, and none when the node stops.

use std::collections::BTreeMap;
use std::time::Duration;

use daemon::Context;
use daemon::ready::Gate;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::plan::{Ready, Unit};
use crate::process::{Launcher, News, Running, ending};
use crate::{journal, leftover};

/// The wait before a unit that ended again soon is started again, at first. One that ended for the first time is
/// started at once: whoever asks it meanwhile hardly notices.
const SHORTEST: Duration = Duration::from_secs(1);

/// The longest wait: what can be mended from outside is taken up within half a minute.
const LONGEST: Duration = Duration::from_secs(30);

/// A unit that ran so long was well, and what ended it is no reason to wait long.
const STEADY: Duration = Duration::from_secs(60);

/// With this exit status a daemon says that its command line is wrong: sysexits(3).
const USAGE: i32 = 64;

/// How much of a log says why a daemon did not start. Lines.
const TAIL: usize = 3;

/// The waits between starts.
#[derive(Debug, Default)]
struct Backoff {
    last: Option<Duration>,
}

impl Backoff {
    /// How long to wait after a run of this length.
    fn after(&mut self, run: Duration) -> Duration {
        let wait = match self.last {
            Some(last) if run < STEADY => (last * 2).clamp(SHORTEST, LONGEST),
            _ => Duration::ZERO,
        };
        self.last = Some(wait);
        wait
    }
}

/// The units of a node, kept alive.
#[derive(Debug, Default)]
pub struct Crew {
    ready: BTreeMap<&'static str, watch::Receiver<bool>>,
    kept: Vec<Kept>,
}

/// A unit that is kept alive, as the others see it.
#[derive(Debug)]
struct Kept {
    stop: watch::Sender<bool>,
    gone: oneshot::Receiver<()>,
}

/// What one unit's keeper works with.
struct Keeper {
    unit: Unit,
    launcher: Launcher,
    needs: Vec<watch::Receiver<bool>>,
    ready: watch::Sender<bool>,
    stop: watch::Receiver<bool>,
    /// Held until the unit is ready for the first time.
    gate: Option<Gate>,
}

/// What follows the end of a process.
enum Outcome {
    /// It is started again.
    Again,
    /// It has done what it was for.
    Done,
}

/// Ends the processes that an earlier supervisor left, in the reverse order of their start.
///
/// # Errors
/// Where one does not end.
pub async fn clear(units: &[Unit], launcher: &Launcher) -> anyhow::Result<()> {
    for unit in units.iter().rev() {
        leftover::stop(&launcher.layout().pid_file(unit.name)).await?;
    }
    Ok(())
}

impl Crew {
    /// Starts to keep units, each of which comes after what it needs.
    pub fn start(units: Vec<Unit>, launcher: &Launcher, context: &Context) -> Self {
        let mut crew = Self::default();
        context.spawn("logs", journal::keep(launcher.layout().logs()));
        for unit in units {
            let (is_ready, readiness) = watch::channel(false);
            let (stop, stopping) = watch::channel(false);
            let (going, gone) = oneshot::channel();
            let needs = unit.needs.iter().filter_map(|need| crew.readiness(need)).collect();
            crew.ready.insert(unit.name, readiness);
            crew.kept.push(Kept { stop, gone });
            let (name, gate) = (unit.name, Some(context.gate(unit.name)));
            let launcher = launcher.clone();
            let keeper = Keeper { unit, launcher, needs, ready: is_ready, stop: stopping, gate };
            context.spawn_draining(name, async move {
                let result = keeper.keep().await;
                // Nobody waits any more where the driver has failed.
                going.send(()).unwrap_or(());
                result
            });
        }
        crew
    }

    /// Tells once a unit has been ready for the first time.
    pub fn readiness(&self, unit: &str) -> Option<watch::Receiver<bool>> {
        self.ready.get(unit).cloned()
    }

    /// Returns when the process is asked to finish, or with the error of a unit that cannot ever run; all units are
    /// stopped by then, in the reverse order of their start.
    ///
    /// # Errors
    /// The failure of a task or a unit, with its name.
    pub async fn finished(self, context: &Context) -> anyhow::Result<()> {
        let outcome = context.finished().await;
        for Kept { stop, gone } in self.kept.into_iter().rev() {
            stop.send_replace(true);
            // An error means that the keeper is gone, and with it the process.
            drop(gone.await);
        }
        outcome
    }
}

impl Keeper {
    async fn keep(mut self) -> anyhow::Result<()> {
        let mut stop = self.stop.clone();
        let stopped = async move { drop(stop.wait_for(|stop| *stop).await) };
        tokio::pin!(stopped);
        let needs = std::mem::take(&mut self.needs);
        let fulfilled = async {
            for mut need in needs {
                drop(need.wait_for(|ready| *ready).await);
            }
        };
        tokio::select! {
            () = fulfilled => {}
            () = &mut stopped => return Ok(()),
        }
        let mut backoff = Backoff::default();
        loop {
            let started = Instant::now();
            let name = self.unit.name;
            match self.launcher.start(&self.unit) {
                Ok(mut running) => tokio::select! {
                    result = self.follow(&mut running) => match result? {
                        Outcome::Again => {}
                        Outcome::Done => return Ok(()),
                    },
                    () = &mut stopped => return running.stop(name).await,
                },
                Err(error) => tracing::error!("{name}: {error:#}"),
            }
            let wait = backoff.after(started.elapsed());
            if !wait.is_zero() {
                tracing::info!("{name} is started again in {} s", wait.as_secs());
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = &mut stopped => return Ok(()),
            }
        }
    }

    /// Follows a process to its end.
    async fn follow(&mut self, running: &mut Running) -> anyhow::Result<Outcome> {
        let name = self.unit.name;
        let started = Instant::now();
        let status = match running.news().await? {
            News::Ended(status) => status,
            News::Ready => {
                tracing::info!("{name} is ready after {} ms", started.elapsed().as_millis());
                self.ready.send_replace(true);
                self.gate = None;
                running.ended().await?
            }
        };
        if self.unit.ready == Ready::Ended && status.success() {
            tracing::info!("{name} is done after {} ms", started.elapsed().as_millis());
            self.ready.send_replace(true);
            return Ok(Outcome::Done);
        }
        let log = self.launcher.layout().log(name);
        if self.gate.is_some() && status.code() == Some(USAGE) {
            anyhow::bail!("{name} refuses its command line; its log {} ends: {}", log.display(), tail(&log));
        }
        tracing::warn!("{name} {}; its log is {}", ending(status), log.display());
        Ok(Outcome::Again)
    }
}

/// The last lines of a log.
fn tail(log: &std::path::Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_cap_and_start_over_after_a_steady_run() {
        let runs = [(0, 0), (1, 1), (1, 2), (2, 4), (0, 8), (0, 16), (0, 30), (59, 30), (60, 0), (0, 1)];
        let mut backoff = Backoff::default();
        for (run, wait) in runs {
            assert_eq!(backoff.after(Duration::from_secs(run)).as_secs(), wait, "after {run} s");
        }
    }
}
