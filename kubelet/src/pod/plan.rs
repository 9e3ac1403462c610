//! What must be done so that the runtime has what the pod asks for: values in, actions out.

use std::collections::BTreeMap;

use client::k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use jiff::Timestamp;

use super::backoff::{self, Backoff};
use super::observed::{Exit, Observed, Sandbox, Seen, State};
use super::{Member, Role, hash, is_host_network, long_name, members, spec};

/// All that a decision depends on.
#[derive(Debug)]
pub struct Input<'a> {
    pub pod: &'a Pod,
    pub observed: &'a Observed,
    pub probes: &'a BTreeMap<String, Health>,
    /// Restarts, by [`backoff_id`].
    pub backoff: &'a Backoff,
    /// Containers whose last start failed, and when they may be tried again.
    pub held: &'a BTreeMap<String, Timestamp>,
    pub now: Timestamp,
}

/// What the probes of a run say; absent where nothing is probed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Health {
    /// The run it speaks of.
    pub id: String,
    /// Whether the startup probe has succeeded.
    pub started: bool,
    /// Whether the readiness probe is content.
    pub ready: bool,
    /// The message of the probe that has given the run up.
    pub failed: Option<String>,
    /// The grace period that the failed probe asks for, in seconds.
    pub grace: Option<i64>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Stop all that is left of sandboxes that are no longer fit.
    Reset {
        sandboxes: Vec<String>,
        containers: Vec<String>,
    },
    CreateSandbox {
        attempt: u32,
    },
    Start {
        name: String,
        attempt: u32,
        /// When the run before it ended.
        failed: Option<Timestamp>,
    },
    Stop {
        id: String,
        name: String,
        message: String,
        grace: Option<i64>,
    },
    /// Forget a run that is over.
    Remove {
        id: String,
    },
    /// Forget a sandbox that is over.
    RemoveSandbox {
        id: String,
    },
}

/// What to do now, why containers wait, and when to look again.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    pub actions: Vec<Action>,
    /// The message of each container that waits in CrashLoopBackOff.
    pub crashing: BTreeMap<String, String>,
    pub wake: Option<Timestamp>,
}

/// Under what a container's restarts are counted.
pub fn backoff_id(container: &Container) -> String {
    format!("{}@{:x}", container.name, hash(container))
}

/// Whether a run that ended so is followed by another.
pub fn restarts(spec: &PodSpec, member: &Member<'_>, code: i32) -> bool {
    let rules = member.container.restart_policy_rules.iter().flatten();
    let by_rule =
        rules.filter_map(|rule| rule.exit_codes.as_ref().map(|codes| (rule, codes))).any(|(rule, codes)| {
            let listed = codes.values.iter().flatten().any(|value| *value == code);
            rule.action.starts_with("Restart") && listed == (codes.operator == "In")
        });
    let own = member.container.restart_policy.as_deref();
    let pods = spec.restart_policy.as_deref().unwrap_or("Always");
    by_rule
        || match member.role {
            Role::Ephemeral => false,
            Role::Sidecar => true,
            // An init container that succeeded is done, whatever the policy.
            Role::Init => code != 0 && own.unwrap_or(pods) != "Never",
            Role::Regular => match own.unwrap_or(pods) {
                "Never" => false,
                "OnFailure" => code != 0,
                _ => true,
            },
        }
}

/// Decides for a pod that shall run.
pub fn plan(input: &Input<'_>) -> Plan {
    let spec = spec(input.pod);
    let mut plan = Plan::default();
    forget_old_runs(input.observed, &mut plan);
    let fit = input.observed.sandbox().filter(|sandbox| is_host_network(&spec) || !sandbox.ips.is_empty());
    match fit {
        Some(sandbox) => Cycle { input, spec: &spec, sandbox, plan: &mut plan }.containers(),
        None => replace_sandbox(input, &spec, &mut plan),
    }
    plan
}

/// Keeps the latest two runs of each container (the last one's log is what `--previous` shows) and no sandbox without
/// runs but the latest.
fn forget_old_runs(observed: &Observed, plan: &mut Plan) {
    const KEPT: usize = 2;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for seen in &observed.containers {
        let count = counts.entry(&seen.name).or_insert(0);
        *count += 1;
        if *count > KEPT && seen.exit().is_some() {
            plan.actions.push(Action::Remove { id: seen.id.clone() });
        }
    }
    for sandbox in observed.sandboxes.iter().skip(1).filter(|sandbox| !sandbox.ready) {
        if !observed.containers.iter().any(|seen| seen.sandbox == sandbox.id) {
            plan.actions.push(Action::RemoveSandbox { id: sandbox.id.clone() });
        }
    }
}

fn replace_sandbox(input: &Input<'_>, spec: &PodSpec, plan: &mut Plan) {
    let observed = input.observed;
    let attempt = observed.sandboxes.iter().map(|sandbox| sandbox.attempt + 1).max().unwrap_or(0);
    let lives_on = members(spec).filter(|member| member.role == Role::Regular).any(|member| {
        match observed.latest(member.name()).map(|seen| &seen.state) {
            Some(State::Exited(exit)) => restarts(spec, &member, exit.code),
            // It ran in a sandbox that is gone, so it ends with it.
            Some(State::Running { .. } | State::Unknown) => spec.restart_policy.as_deref() != Some("Never"),
            Some(State::Created) | None => true,
        }
    });
    if !lives_on {
        return;
    }
    let held = input.held.get("").copied().filter(|until| *until > input.now);
    if attempt > 0 {
        let sandboxes: Vec<String> = observed
            .sandboxes
            .iter()
            .filter(|sandbox| sandbox.ready)
            .map(|sandbox| sandbox.id.clone())
            .collect();
        let containers: Vec<String> = observed.running().map(|seen| seen.id.clone()).collect();
        if !sandboxes.is_empty() || !containers.is_empty() {
            plan.actions.push(Action::Reset { sandboxes, containers });
        }
    }
    match held {
        Some(until) => plan.wake = earlier(plan.wake, until),
        None => plan.actions.push(Action::CreateSandbox { attempt }),
    }
}

fn earlier(wake: Option<Timestamp>, at: Timestamp) -> Option<Timestamp> {
    Some(wake.map_or(at, |wake| wake.min(at)))
}

/// How a container stands after a look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It runs and its startup probe, if any, has succeeded.
    Up,
    /// It will be up or done, but is not yet.
    Coming,
    /// It ended well and stays so.
    Done,
    /// It ended badly and stays so.
    Failed,
}

struct Cycle<'a> {
    input: &'a Input<'a>,
    spec: &'a PodSpec,
    sandbox: &'a Sandbox,
    plan: &'a mut Plan,
}

impl Cycle<'_> {
    fn containers(&mut self) {
        let spec = self.spec;
        let begun = |member: &Member<'_>| {
            member.role == Role::Regular
                && self.input.observed.latest_in(&self.sandbox.id, member.name()).is_some()
        };
        let initialized = members(spec).any(|member| begun(&member));
        for member in members(spec).filter(|member| member.role == Role::Ephemeral) {
            if self.input.observed.latest_in(&self.sandbox.id, member.name()).is_none() {
                self.start(&member, None);
            }
        }
        for member in members(spec) {
            let standing = match member.role {
                Role::Regular => {
                    self.look(&member);
                    continue;
                }
                Role::Ephemeral => continue,
                Role::Init if initialized => continue,
                Role::Init | Role::Sidecar => self.look(&member),
            };
            match (member.role, standing) {
                (Role::Init, Standing::Done) | (Role::Sidecar, Standing::Up) => {}
                // A sidecar that must come back holds nobody up once the pod is under way.
                (Role::Sidecar, _) if initialized => {}
                _ => return,
            }
        }
    }

    /// Looks at one container, notes what it needs, and says how it stands.
    fn look(&mut self, member: &Member<'_>) -> Standing {
        let Some(seen) = self.input.observed.latest_in(&self.sandbox.id, member.name()) else {
            let before = self.input.observed.latest(member.name());
            if let Some(exit) = before.and_then(Seen::exit)
                && member.role == Role::Regular
                && !restarts(self.spec, member, exit.code)
            {
                // It ended in an earlier sandbox, for good.
                return if exit.code == 0 { Standing::Done } else { Standing::Failed };
            }
            self.start(member, None);
            return Standing::Coming;
        };
        match &seen.state {
            State::Running { .. } => self.look_at_running(member, seen),
            State::Exited(exit) => self.look_at_ended(member, seen, exit),
            State::Created => {
                // Made but never started, as by a kubelet that died in between: make it anew under its number.
                self.plan.actions.push(Action::Remove { id: seen.id.clone() });
                self.start_as(member, seen.attempt, None);
                Standing::Coming
            }
            State::Unknown => {
                let message =
                    format!("Container {} is in unknown state, try killing it before restart", seen.name);
                self.stop(seen, message, None);
                Standing::Coming
            }
        }
    }

    fn look_at_running(&mut self, member: &Member<'_>, seen: &Seen) -> Standing {
        let name = member.name();
        if seen.hash.is_some_and(|old| old != hash(&member.container)) {
            self.stop(seen, format!("Container {name} definition changed, will be restarted"), None);
            return Standing::Coming;
        }
        let health = self.input.probes.get(name).filter(|health| health.id == seen.id);
        if let Some((message, grace)) = health.and_then(|health| Some((health.failed.clone()?, health.grace)))
        {
            self.stop(seen, message, grace);
            return Standing::Coming;
        }
        let probed = member.container.startup_probe.is_some();
        if !probed || health.is_some_and(|health| health.started) { Standing::Up } else { Standing::Coming }
    }

    fn look_at_ended(&mut self, member: &Member<'_>, seen: &Seen, exit: &Exit) -> Standing {
        let changed = seen.hash.is_some_and(|old| old != hash(&member.container));
        if !changed && !restarts(self.spec, member, exit.code) {
            return if exit.code == 0 { Standing::Done } else { Standing::Failed };
        }
        let id = backoff_id(&member.container);
        match self.input.backoff.pause(&id, exit.finished, self.input.now) {
            Some((pause, until)) => {
                let message = format!(
                    "back-off {} restarting failed container={} pod={}",
                    backoff::text(pause),
                    member.name(),
                    long_name(self.input.pod)
                );
                self.plan.crashing.insert(member.name().to_owned(), message);
                self.plan.wake = earlier(self.plan.wake, until);
            }
            None => self.start(member, Some(exit.finished)),
        }
        Standing::Coming
    }

    fn start(&mut self, member: &Member<'_>, failed: Option<Timestamp>) {
        let runs = self.input.observed.containers.iter().filter(|seen| seen.name == member.name());
        let attempt = runs.map(|seen| seen.attempt + 1).max().unwrap_or(0);
        self.start_as(member, attempt, failed);
    }

    fn start_as(&mut self, member: &Member<'_>, attempt: u32, failed: Option<Timestamp>) {
        match self.input.held.get(member.name()).copied().filter(|until| *until > self.input.now) {
            Some(until) => self.plan.wake = earlier(self.plan.wake, until),
            None => {
                let name = member.name().to_owned();
                self.plan.actions.push(Action::Start { name, attempt, failed });
            }
        }
    }

    fn stop(&mut self, seen: &Seen, message: String, grace: Option<i64>) {
        self.plan.actions.push(Action::Stop { id: seen.id.clone(), name: seen.name.clone(), message, grace });
    }
}

/// Which runs of a pod that shall end are to be stopped now, all together: the regular containers first, then the
/// sidecars from the last to the first, so that each outlives whom it serves.
pub fn farewell(spec: &PodSpec, observed: &Observed) -> Vec<String> {
    let sidecars: Vec<String> = members(spec)
        .filter(|member| member.role == Role::Sidecar)
        .map(|member| member.name().to_owned())
        .collect();
    let others: Vec<String> = observed
        .running()
        .filter(|seen| !sidecars.contains(&seen.name))
        .map(|seen| seen.id.clone())
        .collect();
    if !others.is_empty() {
        return others;
    }
    let last = sidecars.iter().rev().find_map(|name| observed.running().find(|seen| seen.name == *name));
    last.map(|seen| seen.id.clone()).into_iter().collect()
}

#[cfg(test)]
mod tests;
