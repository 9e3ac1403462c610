//! The end of a pod: its containers in their order, its sandbox, its volumes, its trace in the API.

use super::*;
use crate::pod::plan::farewell;
use crate::pod::stop;
use crate::quantity;

/// An end under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    /// When the grace period is over.
    kill: Instant,
    /// The sandbox is stopped, volumes and cgroup are gone.
    cleared: bool,
    /// A shorter grace period cut the stops short: hooks have had their turn.
    hurried: bool,
}

/// Returns once the pod is to be gone before `kill`, or nobody has a wish for it any more.
async fn hurry(desired: &mut watch::Receiver<Desired>, kill: Instant) {
    while desired.changed().await.is_ok() {
        let grace = stop::grace(desired.borrow_and_update().pod());
        if Instant::now() + grace < kill {
            return;
        }
    }
}

/// The pause after something could not be cleared away.
const CLEAR_RETRY: SignedDuration = SignedDuration::from_secs(2);

impl Worker {
    /// Brings the pod one step further to its end.
    pub(super) async fn end(&mut self, desired: &Desired) -> Next {
        let pod = desired.pod();
        let grace = stop::grace(pod);
        let now = Instant::now();
        let ending = match self.ending {
            // A later, shorter grace period counts.
            Some(ending) => Ending { kill: ending.kill.min(now + grace), ..ending },
            None => Ending { kill: now + grace, cleared: false, hurried: false },
        };
        self.ending = Some(ending);
        let health = self.probes.health();
        self.report(pod, &health);
        let spec = spec(pod);
        let batch = farewell(&spec, &self.observed);
        if !batch.is_empty() {
            return self.stop_batch(pod, batch, ending).await;
        }
        if !ending.cleared {
            if let Err(error) = self.clear(pod).await {
                tracing::warn!(pod = %crate::pod::long_name(pod), "could not clear a pod away: {error:#}");
                return Next::Wait(after(CLEAR_RETRY));
            }
            self.ending = Some(Ending { cleared: true, ..ending });
        }
        match desired {
            Desired::Present(_) if pod.metadata.deletion_timestamp.is_none() => Next::Wait(None),
            Desired::Present(_) => {
                if let Err(failure) = self.remove_runs().await {
                    tracing::warn!(pod = %crate::pod::long_name(pod), "could not remove containers: {failure}");
                    return Next::Wait(after(CLEAR_RETRY));
                }
                self.agent.reports.end(&self.uid, pod);
                Next::Wait(None)
            }
            Desired::Gone(_) => self.leave(pod).await,
        }
    }

    /// Stops containers side by side; only a shorter grace period interrupts. Whatever else changes of the pod must not:
    /// a hook would begin again, and a runtime is left with a command that nobody waits for.
    async fn stop_batch(&mut self, pod: &Arc<Pod>, ids: Vec<String>, ending: Ending) -> Next {
        let spec = spec(pod);
        let ip = self.facts(pod).pod_ips.first().copied();
        let left = ending.kill.saturating_duration_since(Instant::now());
        let hooks = !ending.hurried;
        let agent = &self.agent;
        let stops = ids.iter().map(|id| {
            let name =
                self.observed.containers.iter().find(|seen| seen.id == *id).map(|seen| seen.name.clone());
            let member = name.and_then(|name| member(&spec, &name));
            async move {
                match member {
                    Some(member) => {
                        let message = format!("Stopping container {}", member.name());
                        agent.tell_of(pod, &member, Severity::Normal, "Killing", message);
                        stop::stop(agent, pod, id, &member, ip, left, hooks).await;
                    }
                    // Of a pod of which only the runtime knows.
                    None => drop(agent.runtime.stop_container(id, left).await),
                }
            }
        });
        let mut desired = self.desired.clone();
        let hurried = tokio::select! {
            _ = futures::future::join_all(stops) => false,
            () = hurry(&mut desired, ending.kill) => true,
        };
        if hurried {
            self.ending = Some(Ending { hurried, ..ending });
        }
        Next::Now
    }

    /// Stops sandboxes and takes away volumes and cgroup.
    async fn clear(&mut self, pod: &Arc<Pod>) -> anyhow::Result<()> {
        for sandbox in self.observed.sandboxes.iter().filter(|sandbox| sandbox.ready) {
            self.agent.runtime.stop_sandbox(&sandbox.id).await?;
        }
        crate::volume::unmount(&self.agent, &self.uid)?;
        crate::cgroup::remove(&self.agent.around, quantity::qos(&spec(pod)), &self.uid);
        self.agent.references.release(&self.uid);
        self.volumes = Volumes::default();
        Ok(())
    }

    async fn remove_runs(&self) -> Result<(), crate::runtime::Failure> {
        for seen in &self.observed.containers {
            self.agent.runtime.remove_container(&seen.id).await?;
        }
        for sandbox in &self.observed.sandboxes {
            self.agent.runtime.remove_sandbox(&sandbox.id).await?;
        }
        Ok(())
    }

    /// Takes away the last of the pod.
    async fn leave(&self, pod: &Arc<Pod>) -> Next {
        let removed = async {
            self.remove_runs().await?;
            crate::volume::remove(&self.agent.layout.pod(&self.uid))?;
            match std::fs::remove_dir_all(self.agent.layout.pod_logs(pod)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
                _ => anyhow::Ok(()),
            }
        };
        match removed.await {
            Ok(()) => Next::Leave,
            Err(error) => {
                tracing::warn!(pod = %crate::pod::long_name(pod), "could not remove what a pod left: {error:#}");
                Next::Wait(after(CLEAR_RETRY))
            }
        }
    }
}
