//! The columns of pods: what state all their containers together are in.

use jiff::Timestamp;
use serde_json::Value;

use super::{AGE, Cell, Column, NAME, Table, show, text};
use crate::kind::fill;

pub(super) const TABLE: Table = &[("", "Pod", POD)];

const POD: &[Column] = &[
    NAME,
    text("Ready", Cell::Made(|pod| Summary::of(pod).readiness())),
    text("Status", Cell::Made(|pod| Summary::of(pod).reason)),
    text("Restarts", Cell::Timed(|pod, now| Summary::of(pod).restarted(now))),
    AGE,
    text("IP", Cell::Made(ip)).wide(),
    text("Node", Cell::TextOr("spec.nodeName", "<none>")).wide(),
    text("Nominated Node", Cell::TextOr("status.nominatedNodeName", "<none>")).wide(),
    text("Readiness Gates", Cell::Made(gates)).wide(),
];

fn ip(pod: &Value) -> String {
    show::or_none(show::each(pod, "status.podIPs", "ip").next().unwrap_or_default())
}

fn gates(pod: &Value) -> String {
    let gates = fill::list(pod, "spec.readinessGates");
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let is_open = |gate: &&Value| show::is_true(pod, "status.conditions", fill::text(gate, "conditionType"));
    format!("{}/{}", gates.iter().filter(is_open).count(), gates.len())
}

/// What a pod's containers come to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Summary {
    total: usize,
    ready: usize,
    reason: String,
    restarts: Restarts,
}

/// How often containers were started again, and when one last ended before that.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Restarts {
    count: i64,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, status: &Value) {
        self.count += fill::int(status, "restartCount").unwrap_or(0);
        let ended = fill::text(status, "lastState.terminated.finishedAt").parse().ok();
        self.last = self.last.max(ended);
    }
}

impl Summary {
    fn of(pod: &Value) -> Self {
        let mut summary = Self { reason: phase(pod), ..Self::default() };
        summary.total = fill::list(pod, "spec.containers").len()
            + fill::list(pod, "spec.initContainers").iter().filter(|init| is_sidecar(init)).count();
        let mut sidecars = Restarts::default();
        let initializing = summary.read_init(pod, &mut sidecars);
        if !initializing || show::is_true(pod, "status.conditions", "Initialized") {
            summary.restarts = sidecars;
            summary.read_containers(pod);
        }
        let lost = fill::text(pod, "status.reason") == "NodeLost";
        if show::is_going(pod) && lost {
            summary.reason = "Unknown".to_owned();
        } else if show::is_going(pod) && !matches!(fill::text(pod, "status.phase"), "Succeeded" | "Failed") {
            summary.reason = "Terminating".to_owned();
        }
        summary
    }

    /// Reads the init containers up to the one that is at work; says whether there is one.
    fn read_init(&mut self, pod: &Value, sidecars: &mut Restarts) -> bool {
        let specs = fill::list(pod, "spec.initContainers");
        for (at, status) in fill::list(pod, "status.initContainerStatuses").iter().enumerate() {
            self.restarts.add(status);
            let name = fill::text(status, "name");
            let sidecar = specs.iter().any(|spec| fill::text(spec, "name") == name && is_sidecar(spec));
            if sidecar {
                sidecars.add(status);
            }
            let ended = fill::find(status, "state.terminated");
            if ended.is_some_and(|state| fill::int(state, "exitCode").unwrap_or(0) == 0) {
                continue;
            }
            if sidecar && fill::flag(status, "started") {
                self.ready += usize::from(fill::flag(status, "ready"));
                continue;
            }
            let waiting = fill::text(status, "state.waiting.reason");
            self.reason = match ended {
                Some(state) => format!("Init:{}", how_ended(state)),
                None if !matches!(waiting, "" | "PodInitializing") => format!("Init:{waiting}"),
                None => format!("Init:{at}/{}", specs.len()),
            };
            return true;
        }
        false
    }

    /// Reads the containers; the first one that has something to say is heard last.
    fn read_containers(&mut self, pod: &Value) {
        let (mut running, mut failure) = (false, None);
        for status in fill::list(pod, "status.containerStatuses").iter().rev() {
            self.restarts.add(status);
            let waiting = fill::text(status, "state.waiting.reason");
            if !waiting.is_empty() {
                waiting.clone_into(&mut self.reason);
            } else if let Some(state) = fill::find(status, "state.terminated") {
                self.reason = how_ended(state);
                if fill::int(state, "exitCode").unwrap_or(0) != 0 {
                    failure = Some(self.reason.clone());
                }
            } else if fill::flag(status, "ready") && fill::find(status, "state.running").is_some() {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" {
            // One container is done; the pod is what the others are.
            if running && show::is_true(pod, "status.conditions", "Ready") {
                self.reason = "Running".to_owned();
            } else if let Some(failure) = failure {
                self.reason = failure;
            } else if running {
                self.reason = "NotReady".to_owned();
            }
        }
    }

    fn readiness(&self) -> String {
        format!("{}/{}", self.ready, self.total)
    }

    fn restarted(&self, now: Timestamp) -> String {
        match self.restarts {
            Restarts { count, last: Some(last) } if count != 0 => {
                let seconds = now.as_millisecond().saturating_sub(last.as_millisecond()) / 1000;
                format!("{count} ({} ago)", show::duration(seconds))
            }
            Restarts { count, .. } => count.to_string(),
        }
    }
}

/// The state of a pod before its containers are looked at.
fn phase(pod: &Value) -> String {
    let gated = fill::list(pod, "status.conditions").iter().any(|condition| {
        fill::text(condition, "type") == "PodScheduled"
            && fill::text(condition, "reason") == "SchedulingGated"
    });
    if gated {
        return "SchedulingGated".to_owned();
    }
    match fill::text(pod, "status.reason") {
        "" => fill::text(pod, "status.phase").to_owned(),
        reason => reason.to_owned(),
    }
}

fn is_sidecar(container: &Value) -> bool {
    fill::text(container, "restartPolicy") == "Always"
}

fn how_ended(state: &Value) -> String {
    match (fill::text(state, "reason"), fill::int(state, "signal").unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", fill::int(state, "exitCode").unwrap_or(0)),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}
