//! The one task of one pod: looks, decides by [`plan`](super::plan), acts, reports, and waits for the next reason.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::event::Severity;
use client::k8s_openapi::api::core::v1::{Pod, PodStatus};
use client::k8s_openapi::api::node::v1::RuntimeClass;
use client::kube::Api;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::downward::Facts;
use super::observed::{Observed, Seen};
use super::plan::{self, Action, Health, Plan};
use super::start::{self, Start};
use super::status::{self, Phase, Verdict, Waiting};
use super::{is_host_network, member, spec, uid};
use crate::agent::{Agent, Bell};
use crate::image::Pulls;
use crate::pleg::Exits;
use crate::probe::Probes;
use crate::reference::Needs;
use crate::rotate::rotated;
use crate::runtime::observe::observe;
use crate::runtime::sandbox;
use crate::volume::token::Tokens;
use crate::volume::{Mounted, Mounting};

mod ending;

/// What is wanted of a pod.
#[derive(Debug, Clone)]
pub enum Desired {
    /// It is in a source; it runs unless it is being deleted or is over.
    Present(Arc<Pod>),
    /// It is in no source any more: it ends, and leaves nothing behind.
    Gone(Arc<Pod>),
}

impl Desired {
    pub fn pod(&self) -> &Arc<Pod> {
        match self {
            Self::Present(pod) | Self::Gone(pod) => pod,
        }
    }

    /// Whether it must end.
    pub fn ends(&self) -> bool {
        matches!(self, Self::Gone(_)) || self.pod().metadata.deletion_timestamp.is_some()
    }
}

/// A start that failed for another reason than a crash is tried again after this, or when what it refers to changes.
const RETRY: SignedDuration = SignedDuration::from_secs(10);
/// A sandbox that could not be made is tried again after this: the pod network may be a moment late.
const SANDBOX_RETRY: SignedDuration = SignedDuration::from_secs(2);
/// The first pause after volumes could not be laid out; doubles.
const FIRST_MOUNT_RETRY: SignedDuration = SignedDuration::from_millis(500);
/// The longest of those pauses (upstream's figure).
const LONGEST_MOUNT_RETRY: SignedDuration = SignedDuration::from_secs(122);
/// The pause after the runtime could not be asked.
const RUNTIME_RETRY: SignedDuration = SignedDuration::from_secs(1);

/// When to look again.
#[derive(Debug, PartialEq)]
enum Next {
    /// At once: something was done.
    Now,
    /// When something happens, or at this time.
    Wait(Option<Timestamp>),
    /// Never: the pod has left.
    Leave,
}

/// The worker of one pod.
#[derive(Debug)]
pub struct Worker {
    agent: Arc<Agent>,
    uid: Arc<str>,
    desired: watch::Receiver<Desired>,
    bell: Arc<Bell>,
    probes: Probes,
    exits: Exits,
    observed: Observed,
    backoff: Backoff,
    pulls: Pulls,
    tokens: Tokens,
    /// Containers whose last start failed (the empty name stands for the sandbox), and when to try again.
    held: BTreeMap<String, Timestamp>,
    waiting: BTreeMap<String, Waiting>,
    volumes: Volumes,
    reported: Option<PodStatus>,
    verdict: Option<Verdict>,
    ending: Option<ending::Ending>,
}

/// How far the volumes are.
#[derive(Debug, Default)]
struct Volumes {
    mounted: Option<Mounted>,
    /// When to lay them out again: a token's renewal, or another try.
    due: Option<Timestamp>,
    failures: u32,
    /// The pod as they were laid out for it.
    laid_for: Option<Arc<Pod>>,
}

impl Worker {
    pub fn new(agent: Arc<Agent>, bell: Arc<Bell>, desired: watch::Receiver<Desired>) -> Self {
        let pod = Arc::clone(desired.borrow().pod());
        Self {
            exits: Exits::new(Arc::clone(&bell)),
            uid: uid(&pod),
            reported: pod.status.clone(),
            agent,
            desired,
            bell,
            probes: Probes::default(),
            observed: Observed::default(),
            backoff: Backoff::default(),
            pulls: Pulls::default(),
            tokens: Tokens::default(),
            held: BTreeMap::new(),
            waiting: BTreeMap::new(),
            volumes: Volumes::default(),
            verdict: None,
            ending: None,
        }
    }

    /// Works until the pod has left.
    pub async fn run(mut self) -> anyhow::Result<()> {
        loop {
            let wake = match Box::pin(self.cycle()).await {
                Next::Now => continue,
                Next::Leave => return Ok(()),
                Next::Wait(wake) => wake,
            };
            let timer = async {
                match wake {
                    Some(at) => tokio::time::sleep(until(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = self.desired.changed() => changed?,
                () = self.bell.heard() => {}
                () = timer => {}
            }
        }
    }

    async fn cycle(&mut self) -> Next {
        let desired = self.desired.borrow_and_update().clone();
        let pod = Arc::clone(desired.pod());
        match observe(&self.agent.runtime, &self.uid, &self.observed).await {
            Ok(observed) => self.observed = observed,
            Err(failure) => {
                tracing::warn!(pod = %super::long_name(&pod), "could not ask the runtime: {failure}");
                return Next::Wait(after(RUNTIME_RETRY));
            }
        }
        self.exits.watch(&self.observed);
        if desired.ends() || self.is_over(&pod) {
            return self.end(&desired).await;
        }
        if self.bell.news() {
            self.held.clear();
            self.volumes.due = Some(Timestamp::UNIX_EPOCH);
        }
        self.probes.sync(&self.agent, &self.bell, &pod, &self.observed);
        let health = self.probes.health();
        let plan = self.plan(&pod, &health);
        self.note(&pod, &plan);
        self.report(&pod, &health);
        if self.reported.as_ref().is_some_and(|status| Phase::of(status).is_final()) {
            return Next::Now;
        }
        self.carry_out(&pod, plan).await
    }

    fn plan(&self, pod: &Pod, health: &BTreeMap<String, Health>) -> Plan {
        plan::plan(&plan::Input {
            pod,
            observed: &self.observed,
            probes: health,
            backoff: &self.backoff,
            held: &self.held,
            now: Timestamp::now(),
        })
    }

    /// Whether the pod has come to its end by itself.
    fn is_over(&mut self, pod: &Pod) -> bool {
        let spec = spec(pod);
        let started = self.reported.as_ref().and_then(|status| status.start_time.as_ref());
        let age = started.map(|started| Timestamp::now().duration_since(started.0).as_secs());
        if let (Some(limit), Some(age)) = (spec.active_deadline_seconds, age)
            && age >= limit
            && self.verdict.is_none()
        {
            let message = "Pod was active on the node longer than the specified deadline".to_owned();
            self.agent.tell(pod, Severity::Normal, "DeadlineExceeded", message.clone());
            self.verdict = Some(Verdict { reason: "DeadlineExceeded", message });
        }
        self.verdict.is_some() || self.reported.as_ref().is_some_and(|status| Phase::of(status).is_final())
    }

    /// When the pod has used up its time.
    fn deadline(&self, pod: &Pod) -> Option<Timestamp> {
        let limit = SignedDuration::from_secs(spec(pod).active_deadline_seconds?);
        let started = self.reported.as_ref()?.start_time.as_ref()?;
        started.0.saturating_add(limit).ok()
    }

    /// Takes over why containers wait, and tells of those that are backed off from.
    fn note(&mut self, pod: &Pod, plan: &Plan) {
        const REASON: &str = "CrashLoopBackOff";
        let spec = spec(pod);
        for (name, message) in &plan.crashing {
            let waiting = Waiting { reason: REASON.to_owned(), message: message.clone() };
            let before = self.waiting.insert(name.clone(), waiting);
            let is_new = before.is_none_or(|before| before.reason != REASON);
            if let Some(member) = member(&spec, name).filter(|_| is_new) {
                let place = super::long_name(pod);
                let message = format!("Back-off restarting failed container {name} in pod {place}");
                self.agent.tell_of(pod, &member, Severity::Warning, "BackOff", message);
            }
        }
        let runs = |name: &String| self.observed.latest(name).is_some_and(Seen::is_running);
        self.waiting.retain(|name, waiting| {
            !runs(name) && (waiting.reason != REASON || plan.crashing.contains_key(name))
        });
    }

    /// Reports what is, where it differs from what was reported.
    fn report(&mut self, pod: &Arc<Pod>, health: &BTreeMap<String, Health>) {
        let before = self.before(pod);
        let status = status::status(&status::Input {
            pod,
            before: before.as_ref(),
            observed: &self.observed,
            probes: health,
            waiting: &self.waiting,
            verdict: self.verdict.as_ref(),
            ending: self.ending.is_some(),
            runtime: &self.agent.runtime_name,
            host_ips: &self.agent.host_ips,
            now: Timestamp::now(),
        });
        self.agent.reports.put(&self.uid, pod, &status);
        self.reported = Some(status);
    }

    /// The last report, with the conditions that others have set since.
    fn before(&self, pod: &Pod) -> Option<PodStatus> {
        let mut before = self.reported.clone().or_else(|| pod.status.clone())?;
        let is_ours = |type_: &str| status::owned_conditions(type_);
        let others = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let others: Vec<_> = others.filter(|condition| !is_ours(&condition.type_)).cloned().collect();
        let conditions = before.conditions.get_or_insert_default();
        conditions.retain(|condition| is_ours(&condition.type_));
        conditions.extend(others);
        Some(before)
    }

    async fn carry_out(&mut self, pod: &Arc<Pod>, plan: Plan) -> Next {
        if let Err(wake) = self.lay_out(pod, &plan).await {
            return Next::Wait(Some(wake));
        }
        let deadline = self.deadline(pod);
        let wake = [plan.wake, self.volumes.due, deadline].into_iter().flatten().min();
        if plan.actions.is_empty() {
            return Next::Wait(wake);
        }
        let mut desired = self.desired.clone();
        let order = async {
            // An error means that nobody is left to want anything.
            drop(desired.wait_for(Desired::ends).await);
        };
        tokio::select! {
            () = self.act_all(pod, plan.actions) => Next::Now,
            () = order => Next::Now,
        }
    }

    async fn act_all(&mut self, pod: &Arc<Pod>, actions: Vec<Action>) {
        for action in actions {
            if let Err(error) = Box::pin(self.act(pod, action)).await {
                tracing::warn!(pod = %super::long_name(pod), "{error:#}");
                break;
            }
        }
    }

    /// Sees to folders, references and volumes; an error is the time of the next try.
    async fn lay_out(&mut self, pod: &Arc<Pod>, plan: &Plan) -> Result<(), Timestamp> {
        let now = Timestamp::now();
        let changed = self.volumes.laid_for.as_ref().is_none_or(|before| !is_same_wish(before, pod));
        let starts = plan
            .actions
            .iter()
            .any(|action| matches!(action, Action::Start { .. } | Action::CreateSandbox { .. }));
        let due = self.volumes.due.is_some_and(|due| due <= now);
        if !due && !changed && (self.volumes.mounted.is_some() || !starts) {
            return Ok(());
        }
        if self.volumes.failures > 0 && !due {
            return self.volumes.due.map_or(Ok(()), Err);
        }
        self.agent.references.hold(&self.uid, super::namespace(pod), &Needs::of(pod));
        if let Err(error) = start::prepare(&self.agent, pod) {
            tracing::warn!(pod = %super::long_name(pod), "could not make the pod's folders: {error}");
        }
        let facts = self.facts(pod);
        let mut mounting = Mounting { agent: &self.agent, pod, facts: &facts, tokens: &mut self.tokens };
        match mounting.all().await {
            Ok((mounted, renewal)) => {
                self.volumes = Volumes {
                    mounted: Some(mounted),
                    due: renewal,
                    failures: 0,
                    laid_for: Some(Arc::clone(pod)),
                };
                Ok(())
            }
            Err(error) => {
                tracing::debug!(pod = %super::long_name(pod), "{error}");
                let pause = FIRST_MOUNT_RETRY
                    .saturating_mul(1 << self.volumes.failures.min(8))
                    .min(LONGEST_MOUNT_RETRY);
                self.volumes.failures += 1;
                let again = now.saturating_add(pause).unwrap_or(now);
                self.volumes.due = Some(again);
                // What was laid out before stays in use.
                if self.volumes.mounted.is_some() { Ok(()) } else { Err(again) }
            }
        }
    }

    fn facts(&self, pod: &Pod) -> Facts {
        let host = is_host_network(&spec(pod));
        let own = self.observed.sandbox().map(|sandbox| sandbox.ips.clone()).unwrap_or_default();
        Facts {
            node: self.agent.node.clone(),
            host_ips: self.agent.host_ips.clone(),
            pod_ips: if host { self.agent.host_ips.clone() } else { own },
            allocatable: self.agent.allocatable.clone(),
        }
    }

    async fn act(&mut self, pod: &Arc<Pod>, action: Action) -> anyhow::Result<()> {
        let runtime = self.agent.runtime.clone();
        match action {
            Action::Reset { sandboxes, containers } => {
                let message = "Pod sandbox changed, it will be killed and re-created.";
                self.agent.tell(pod, Severity::Normal, "SandboxChanged", message);
                for id in containers {
                    runtime.stop_container(&id, super::stop::grace(pod)).await?;
                }
                for id in sandboxes {
                    runtime.stop_sandbox(&id).await?;
                }
            }
            Action::CreateSandbox { attempt } => self.create_sandbox(pod, attempt).await,
            Action::Start { name, attempt, failed } => {
                Box::pin(self.start(pod, &name, attempt, failed)).await
            }
            Action::Stop { id, name, message, grace } => {
                let spec = spec(pod);
                let Some(member) = member(&spec, &name) else { return Ok(()) };
                let grace = grace.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
                let grace = grace.unwrap_or_else(|| super::stop::grace(pod));
                self.agent.tell_of(pod, &member, Severity::Normal, "Killing", message);
                let ip = self.facts(pod).pod_ips.first().copied();
                super::stop::stop(&self.agent, pod, &id, &member, ip, grace, true).await;
            }
            Action::Remove { id } => {
                let log =
                    self.observed.containers.iter().find(|seen| seen.id == id).map(|seen| seen.log.clone());
                runtime.remove_container(&id).await?;
                for file in log.iter().flat_map(|log| rotated(log.as_ref()).into_iter().chain([log.into()])) {
                    // Missing already is as good as removed.
                    drop(std::fs::remove_file(file));
                }
            }
            Action::RemoveSandbox { id } => runtime.remove_sandbox(&id).await?,
        }
        Ok(())
    }

    async fn create_sandbox(&mut self, pod: &Arc<Pod>, attempt: u32) {
        let config = self.sandbox_config(pod, attempt);
        let outcome = match self.handler(pod).await {
            Ok(handler) => {
                self.agent.runtime.run_sandbox(config, &handler).await.map_err(|failure| failure.message)
            }
            Err(message) => Err(message),
        };
        self.held.remove("");
        if let Err(message) = outcome {
            let message = format!("Failed to create pod sandbox: {message}");
            self.agent.tell(pod, Severity::Warning, "FailedCreatePodSandBox", message);
            self.held.extend(after(SANDBOX_RETRY).map(|at| (String::new(), at)));
        }
    }

    /// The runtime's own name for the class of runtime that the pod asks for.
    async fn handler(&self, pod: &Pod) -> Result<String, String> {
        let (Some(class), Some(client)) = (spec(pod).runtime_class_name.clone(), self.agent.client.clone())
        else {
            return Ok(String::new());
        };
        let classes: Api<RuntimeClass> = Api::all(client);
        match classes.get(&class).await {
            Ok(class) => Ok(class.handler),
            Err(error) => Err(format!("failed to get RuntimeClass \"{class}\": {error}")),
        }
    }

    fn sandbox_config(&self, pod: &Pod, attempt: u32) -> proto::cri::v1::PodSandboxConfig {
        sandbox::config(pod, &self.agent.around, &self.agent.layout.pod_logs(pod), attempt)
    }

    async fn start(&mut self, pod: &Arc<Pod>, name: &str, attempt: u32, failed: Option<Timestamp>) {
        let spec = spec(pod);
        let facts = self.facts(pod);
        let (Some(member), Some(sandbox), Some(mounted)) =
            (member(&spec, name), self.observed.sandbox().cloned(), self.volumes.mounted.clone())
        else {
            return;
        };
        let now = Timestamp::now();
        if let Some(failed) = failed {
            self.backoff.grow(&plan::backoff_id(&member.container), failed, now);
        }
        let sandbox_config = self.sandbox_config(pod, sandbox.attempt);
        let start = Start {
            agent: &self.agent,
            pod,
            member: &member,
            observed: &self.observed,
            sandbox: &sandbox,
            sandbox_config: &sandbox_config,
            mounted: &mounted,
            facts: &facts,
            attempt,
        };
        let outcome = Box::pin(start.run(&mut self.pulls)).await;
        self.held.remove(name);
        self.waiting.remove(name);
        if let Err(waiting) = outcome {
            let image = member.container.image.as_deref().unwrap_or_default();
            let now = Timestamp::now();
            let retry = now.saturating_add(RETRY).unwrap_or(now);
            let again = match (waiting.reason.as_str(), self.pulls.retry(image, now)) {
                // Soon enough to say that it is being backed off from, before it is tried again.
                ("ErrImagePull", Some(until)) => until.min(now + until.duration_since(now) / 2),
                ("ImagePullBackOff", Some(until)) => until,
                // These leave a run behind whose end the restart policy judges.
                ("RunContainerError" | "PostStartHookError", _) => now,
                _ => retry,
            };
            self.held.insert(name.to_owned(), again);
            self.waiting.insert(name.to_owned(), waiting);
        }
    }
}

/// Whether two versions of a pod ask for the same volumes with the same content; its status is not part of it.
fn is_same_wish(one: &Pod, other: &Pod) -> bool {
    let facts = |pod: &Pod| (pod.metadata.labels.clone(), pod.metadata.annotations.clone());
    one.spec == other.spec && facts(one) == facts(other)
}

fn after(pause: SignedDuration) -> Option<Timestamp> {
    Timestamp::now().saturating_add(pause).ok()
}

/// How long it is until a time of the clock on the wall.
fn until(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO)
}
