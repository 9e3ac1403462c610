//! Asks containers how they are: startup, readiness and liveness probes by command, HTTP, TCP or gRPC.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use client::event::Severity;
use client::k8s_openapi::api::core::v1::{Container, Pod, Probe};
use client::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::agent::{Agent, Bell};
use crate::pod::observed::{Observed, State};
use crate::pod::plan::Health;
use crate::pod::{self, members};

pub mod grpc;
pub mod http;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Startup,
    Readiness,
    Liveness,
}

impl Kind {
    const fn text(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        }
    }
}

/// Answers of one probe in a row.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    last: Option<bool>,
    row: i32,
}

impl Tally {
    /// Counts an answer; tells once enough of one kind came in a row.
    fn count(&mut self, success: bool, probe: &Probe) -> Option<bool> {
        self.row = if self.last == Some(success) { self.row.saturating_add(1) } else { 1 };
        self.last = Some(success);
        let enough =
            if success { probe.success_threshold.unwrap_or(1) } else { probe.failure_threshold.unwrap_or(3) };
        (self.row >= enough.max(1)).then_some(success)
    }
}

type Board = Arc<Mutex<BTreeMap<String, Health>>>;

/// The probes of one pod; they end with it.
#[derive(Debug, Default)]
pub struct Probes {
    tasks: JoinSet<()>,
    running: BTreeMap<String, (String, AbortHandle)>,
    board: Board,
}

impl Probes {
    /// What the probes say.
    pub fn health(&self) -> BTreeMap<String, Health> {
        self.board.lock().clone()
    }

    /// Starts the probes of new runs and stops those of ended ones.
    pub fn sync(&mut self, agent: &Arc<Agent>, bell: &Arc<Bell>, pod: &Arc<Pod>, observed: &Observed) {
        while self.tasks.try_join_next().is_some() {}
        let spec = pod::spec(pod);
        let ips = observed.sandbox().map(|sandbox| sandbox.ips.clone()).unwrap_or_default();
        let host = pod::is_host_network(&spec);
        let ip = if host { agent.host_ips.first() } else { ips.first() }.copied();
        for member in members(&spec) {
            let container = &member.container;
            if container.startup_probe.is_none()
                && container.readiness_probe.is_none()
                && container.liveness_probe.is_none()
            {
                continue;
            }
            let name = member.name().to_owned();
            let run = observed.latest(&name).and_then(|seen| match seen.state {
                State::Running { started } => Some((seen.id.clone(), started)),
                _ => None,
            });
            let known = self.running.get(&name).map(|(id, _)| id);
            if known == run.as_ref().map(|(id, _)| id) {
                continue;
            }
            if let Some((_, task)) = self.running.remove(&name) {
                task.abort();
                self.board.lock().remove(&name);
            }
            let Some((id, started)) = run else { continue };
            let health = first_impression(pod, container, &id);
            self.board.lock().insert(name.clone(), health);
            let run = Run {
                agent: Arc::clone(agent),
                bell: Arc::clone(bell),
                pod: Arc::clone(pod),
                name: name.clone(),
                id: id.clone(),
                started,
                ip,
                board: Arc::clone(&self.board),
            };
            let task = self.tasks.spawn(run.probe());
            self.running.insert(name, (id, task));
        }
    }
}

/// What holds before the first answer. A run that was ready when an earlier kubelet looked is not unready now.
fn first_impression(pod: &Pod, container: &Container, id: &str) -> Health {
    let reported = pod.status.iter().flat_map(|status| {
        status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten())
    });
    let mut same = reported
        .filter(|status| status.container_id.as_deref().and_then(|full| full.rsplit('/').next()) == Some(id));
    let before = same.next();
    Health {
        id: id.to_owned(),
        started: container.startup_probe.is_none()
            || before.is_some_and(|status| status.started == Some(true)),
        ready: container.readiness_probe.is_none() || before.is_some_and(|status| status.ready),
        failed: None,
        grace: None,
    }
}

/// The number of a port given by number or by name.
pub fn port_number(container: &Container, port: &IntOrString) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => container
            .ports
            .iter()
            .flatten()
            .find(|port| port.name.as_ref() == Some(name))
            .map(|port| port.container_port)
            .or_else(|| name.parse().ok()),
    };
    let number = number.and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0);
    number.ok_or_else(|| format!("couldn't find port: {port:?} in pod"))
}

/// The probing of one run of a container.
struct Run {
    agent: Arc<Agent>,
    bell: Arc<Bell>,
    pod: Arc<Pod>,
    name: String,
    id: String,
    started: Timestamp,
    ip: Option<IpAddr>,
    board: Board,
}

impl Run {
    async fn probe(self) {
        let Some(member) =
            pod::member(&pod::spec(&self.pod), &self.name).map(|member| member.container.into_owned())
        else {
            return;
        };
        let is_started = self.board.lock().get(&self.name).is_some_and(|health| health.started);
        if let Some(probe) = member.startup_probe.as_ref().filter(|_| !is_started) {
            self.repeat(&member, Kind::Startup, probe).await;
            if self.board.lock().get(&self.name).is_none_or(|health| health.failed.is_some()) {
                return;
            }
        }
        let readiness = async {
            if let Some(probe) = &member.readiness_probe {
                self.repeat(&member, Kind::Readiness, probe).await;
            }
        };
        let liveness = async {
            if let Some(probe) = &member.liveness_probe {
                self.repeat(&member, Kind::Liveness, probe).await;
            }
        };
        tokio::join!(readiness, liveness);
    }

    /// Asks again and again, until the startup is over or the run is given up.
    async fn repeat(&self, container: &Container, kind: Kind, probe: &Probe) {
        let seconds = |value: Option<i32>, otherwise: u64| {
            Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(otherwise))
        };
        let age = Timestamp::now().duration_since(self.started).unsigned_abs();
        tokio::time::sleep(seconds(probe.initial_delay_seconds, 0).saturating_sub(age)).await;
        let period = seconds(probe.period_seconds, 10).max(Duration::from_secs(1));
        let timeout = seconds(probe.timeout_seconds, 1).max(Duration::from_secs(1));
        let mut ticks = tokio::time::interval_at(Instant::now(), period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut tally = Tally::default();
        loop {
            ticks.tick().await;
            let answer = self.ask(container, probe, timeout).await;
            if let Err(message) = &answer {
                let message = format!("{} probe failed: {message}", kind.text());
                let spec = pod::spec(&self.pod);
                if let Some(member) = pod::member(&spec, &self.name) {
                    self.agent.tell_of(&self.pod, &member, Severity::Warning, "Unhealthy", message);
                }
            }
            if let Some(verdict) = tally.count(answer.is_ok(), probe)
                && self.settle(kind, probe, verdict)
            {
                return;
            }
        }
    }

    /// Writes a verdict to the board; true where there is nothing more to ask.
    fn settle(&self, kind: Kind, probe: &Probe, good: bool) -> bool {
        let mut board = self.board.lock();
        let Some(health) = board.get_mut(&self.name).filter(|health| health.id == self.id) else {
            return true;
        };
        let before = health.clone();
        let over = match (kind, good) {
            (Kind::Readiness, good) => {
                health.ready = good;
                false
            }
            (Kind::Startup, true) => {
                health.started = true;
                true
            }
            (Kind::Liveness, true) => false,
            (Kind::Startup | Kind::Liveness, false) => {
                let what = kind.text().to_lowercase();
                health.failed =
                    Some(format!("Container {} failed {what} probe, will be restarted", self.name));
                health.grace = probe.termination_grace_period_seconds;
                true
            }
        };
        let changed = *health != before;
        drop(board);
        if changed {
            self.bell.ring();
        }
        over
    }

    async fn ask(&self, container: &Container, probe: &Probe, timeout: Duration) -> Result<(), String> {
        if let Some(exec) = &probe.exec {
            return self.exec(exec.command.clone().unwrap_or_default(), timeout).await;
        }
        let ip = self.ip.ok_or("the pod has no address")?;
        if let Some(get) = &probe.http_get {
            let own = ip.to_string();
            let host = get.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(&own);
            let status = http::get(get, host, port_number(container, &get.port)?, timeout).await?;
            if !(200..400).contains(&status) {
                return Err(format!("HTTP probe failed with statuscode: {status}"));
            }
        } else if let Some(tcp) = &probe.tcp_socket {
            let own = ip.to_string();
            let host = tcp.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(&own);
            let port = port_number(container, &tcp.port)?;
            http::dial(host, port, timeout).await.map(drop)?;
        } else if let Some(grpc) = &probe.grpc {
            let port = u16::try_from(grpc.port).map_err(|_| format!("port {} is out of range", grpc.port))?;
            grpc::check(ip, port, grpc.service.as_deref().unwrap_or_default(), timeout).await?;
        }
        Ok(())
    }

    async fn exec(&self, command: Vec<String>, timeout: Duration) -> Result<(), String> {
        let words = format!("{command:?}");
        match self.agent.runtime.exec_sync(&self.id, command, timeout).await {
            Ok(answer) if answer.exit_code == 0 => Ok(()),
            Ok(answer) => {
                Err(String::from_utf8_lossy(&[&answer.stdout[..], &answer.stderr[..]].concat()).into_owned())
            }
            Err(failure) if failure.code == tonic::Code::DeadlineExceeded => {
                Err(format!("command timed out: {words} timed out after {}s", timeout.as_secs()))
            }
            Err(failure) => Err(failure.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_need_answers_in_a_row() {
        let probe = Probe { success_threshold: Some(2), failure_threshold: Some(3), ..Probe::default() };
        let mut tally = Tally::default();
        let answers = [true, true, false, false, true, false, false, false, false];
        let verdicts = answers.map(|answer| tally.count(answer, &probe));
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(verdicts, [None, yes, None, None, None, None, None, no, no]);
    }
}
