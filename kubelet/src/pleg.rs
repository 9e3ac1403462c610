//! Notices what happens to containers behind the kubelet's back, and rings the bells of their pods.
//!
//! A runtime with an event stream (CRI's GetContainerEvents; containerd has it since 1.7) tells by itself. Without it
//! the kernel tells of each first process's end through a pidfd, so that an exit is noticed at once and nothing is
//! asked meanwhile; a slow relist, only while there are pods, covers what no process tells: containers that somebody
//! else removed, a runtime that came back.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use proto::cri::v1::ContainerEventResponse;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::task::{AbortHandle, JoinSet};
use tonic::{Code, Streaming};

use crate::agent::{Agent, Bell};
use crate::pod::name;
use crate::pod::observed::Observed;
use crate::runtime::Runtime;

/// How long after the kernel the runtime may learn of an exit: it is asked again this soon, doubling.
const FIRST_LAG: Duration = Duration::from_millis(10);
/// The most often that a run with no process to watch is asked about (upstream's relist period).
const LONGEST_LAG: Duration = Duration::from_secs(1);
/// How often the runtime is asked for everything where it does not tell by itself.
const RELIST: Duration = Duration::from_secs(15);

/// The watches on the processes of one pod; they end with it.
#[derive(Debug)]
pub struct Exits {
    bell: Arc<Bell>,
    tasks: JoinSet<()>,
    watched: BTreeMap<String, AbortHandle>,
}

impl Exits {
    pub fn new(bell: Arc<Bell>) -> Self {
        Self { bell, tasks: JoinSet::new(), watched: BTreeMap::new() }
    }

    /// Watches the processes of what runs, and no others.
    pub fn watch(&mut self, observed: &Observed) {
        while self.tasks.try_join_next().is_some() {}
        let running: Vec<_> = observed.containers.iter().filter(|seen| seen.is_running()).collect();
        self.watched.retain(|id, task| {
            let runs = running.iter().any(|seen| seen.id == *id);
            if !runs {
                task.abort();
            }
            runs
        });
        for seen in running {
            if !self.watched.contains_key(&seen.id) {
                let task = self.tasks.spawn(watch_one(seen.pid, Arc::clone(&self.bell)));
                self.watched.insert(seen.id.clone(), task);
            }
        }
    }
}

/// Rings once the process has ended, and on until the watch is taken off because the runtime has noticed, too.
async fn watch_one(pid: Option<i32>, bell: Arc<Bell>) {
    let mut lag = if exited(pid).await { FIRST_LAG } else { LONGEST_LAG };
    loop {
        tokio::time::sleep(lag).await;
        bell.ring();
        lag = (lag * 2).min(LONGEST_LAG);
    }
}

/// Returns once the process has ended; false at once where there is none to watch.
pub async fn exited(pid: Option<i32>) -> bool {
    let Some(pid) = pid else { return false };
    if let Some(process) = open(pid) {
        // An error of the descriptor is as good as an end: the runtime is asked.
        drop(process.readable().await);
    }
    // A process that is gone already has ended, too.
    true
}

fn open(pid: i32) -> Option<AsyncFd<OwnedFd>> {
    let process = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::NONBLOCK).ok()?;
    crate::sys::readable(process).ok()
}

/// Rings bells as the runtime tells of changes, or after a relist where it does not.
///
/// # Errors
/// None; the type fits what spawns it.
pub async fn run(agent: Arc<Agent>) -> anyhow::Result<()> {
    loop {
        match agent.runtime.events().await {
            Ok(events) => listen(&agent, events).await,
            Err(failure) if failure.code == Code::Unimplemented => return relist(&agent).await,
            Err(_) => tokio::time::sleep(LONGEST_LAG).await,
        }
    }
}

/// Rings as the runtime tells, until it stops telling.
async fn listen(agent: &Agent, mut events: Streaming<ContainerEventResponse>) {
    // Whatever happened while nobody listened.
    agent.bells.ring_all();
    while let Some(Ok(event)) = events.next().await {
        let labels = event.pod_sandbox_status.map(|status| status.labels).unwrap_or_default();
        match labels.get(name::POD_UID) {
            Some(uid) => agent.bells.ring(uid),
            None => agent.bells.ring_all(),
        }
    }
}

async fn relist(agent: &Agent) -> anyhow::Result<()> {
    let mut before = Snapshot::new();
    loop {
        tokio::time::sleep(RELIST).await;
        if agent.bells.is_empty() {
            continue;
        }
        if let Some(now) = snapshot(&agent.runtime).await {
            changed(&before, &now).for_each(|uid| agent.bells.ring(uid));
            before = now;
        }
    }
}

/// What the runtime has of each pod: ids and states.
type Snapshot = BTreeMap<String, Vec<(String, i32)>>;

async fn snapshot(runtime: &Runtime) -> Option<Snapshot> {
    let (sandboxes, containers) = tokio::try_join!(runtime.sandboxes(None), runtime.containers(None)).ok()?;
    let mut out = Snapshot::new();
    let sandboxes = sandboxes.into_iter().map(|sandbox| (sandbox.labels, sandbox.id, sandbox.state));
    let containers =
        containers.into_iter().map(|container| (container.labels, container.id, container.state));
    for (labels, id, state) in sandboxes.chain(containers) {
        if let Some(uid) = labels.get(name::POD_UID) {
            out.entry(uid.clone()).or_default().push((id, state));
        }
    }
    for things in out.values_mut() {
        things.sort();
    }
    Some(out)
}

/// The pods of which two snapshots differ.
fn changed<'a>(before: &'a Snapshot, now: &'a Snapshot) -> impl Iterator<Item = &'a str> {
    let gone = before.keys().filter(|uid| !now.contains_key(*uid));
    let new = now.iter().filter(|(uid, things)| before.get(*uid) != Some(things)).map(|(uid, _)| uid);
    gone.chain(new).map(String::as_str)
}
