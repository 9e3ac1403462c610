//! What a Job does next: which pods it starts and stops, what it counts, and when it is over.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use client::k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus, UncountedTerminatedPods};
use client::k8s_openapi::api::core::v1::Pod;
use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use jiff::{SignedDuration, Timestamp};

use super::index;
use super::policy::{Verdict, judge};
use crate::pod::{self, annotation};

/// Kept on a pod until its end is counted in the Job's status.
pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
/// Which part of an Indexed Job a pod does.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// The most pods started or stopped, and ends counted, in one sync (upstream's figure).
const BURST: usize = 500;

/// The pause before the second pod after a failure; doubles with each further one (upstream's figure).
const FIRST_BACKOFF: SignedDuration = SignedDuration::from_secs(10);

/// The longest pause between failures (upstream's figure).
const LONGEST_BACKOFF: SignedDuration = SignedDuration::from_mins(10);

/// Everything a sync does, in this order.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) status: JobStatus,
    /// Pods whose end is counted, or need not be; they may go.
    pub(super) release: Vec<Arc<Pod>>,
    pub(super) stop: Vec<Arc<Pod>>,
    /// Pods to start; of an Indexed Job with their indexes.
    pub(super) start: Vec<Option<i32>>,
    pub(super) news: Vec<News>,
    pub(super) next: Option<Duration>,
}

/// What people are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct News {
    pub(super) warning: bool,
    pub(super) reason: String,
    pub(super) message: String,
}

pub(super) fn has_finalizer(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

fn condition<'a>(status: &'a JobStatus, kind: &str) -> Option<&'a JobCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind && condition.status == "True")
}

/// Whether the Job is over, and since when.
pub(crate) fn finished_at(job: &Job) -> Option<Timestamp> {
    let status = job.status.as_ref()?;
    let over = condition(status, "Complete").or_else(|| condition(status, "Failed"))?;
    over.last_transition_time.as_ref().map(|time| time.0)
}

/// Whether the Job is over.
pub(super) fn is_finished(job: &Job) -> bool {
    let over =
        |status: &JobStatus| condition(status, "Complete").or_else(|| condition(status, "Failed")).is_some();
    job.status.as_ref().is_some_and(over)
}

/// The end that was decided on: the condition that says so now, and the final one.
#[derive(Debug, Clone)]
struct End {
    target: &'static str,
    last: &'static str,
    reason: String,
    message: String,
}

struct Sync<'a> {
    job: &'a Job,
    spec: JobSpec,
    pods: &'a [Arc<Pod>],
    status: JobStatus,
    uncounted: UncountedTerminatedPods,
    indexed: bool,
    /// The indexes that are done, the counted ones and those being counted.
    done: BTreeSet<i32>,
    now: Timestamp,
    news: Vec<News>,
    next: Option<Duration>,
}

/// Plans one sync of a Job that is not over. `settled`: the caches show all that was started and stopped before.
pub(super) fn plan(job: &Job, pods: &[Arc<Pod>], settled: bool, now: Timestamp) -> Plan {
    let spec = job.spec.clone().unwrap_or_default();
    let mut status = job.status.clone().unwrap_or_default();
    let indexed = spec.completion_mode.as_deref() == Some("Indexed");
    let done =
        index::parse(status.completed_indexes.as_deref().unwrap_or_default(), spec.completions.unwrap_or(0));
    let uncounted = status.uncounted_terminated_pods.take().unwrap_or_default();
    let sync = Sync { job, spec, pods, status, uncounted, indexed, done, now, news: Vec::new(), next: None };
    if is_finished(job) {
        return sync.over();
    }
    sync.run(settled)
}

impl Sync<'_> {
    /// The Job is over: its pods need not be kept.
    fn over(mut self) -> Plan {
        self.status.uncounted_terminated_pods =
            self.job.status.as_ref().and_then(|s| s.uncounted_terminated_pods.clone());
        let release = self.pods.iter().filter(|pod| has_finalizer(pod)).cloned().collect();
        Plan { status: self.status, release, stop: vec![], start: vec![], news: vec![], next: None }
    }

    fn run(mut self, settled: bool) -> Plan {
        self.suspend_or_resume();
        self.count_released();
        let failed_now = self.failed_total();
        let end = self.decided().or_else(|| self.failure(failed_now)).or_else(|| self.success());
        let mut release = self.take_in(end.as_ref());
        let active: Vec<_> = self.pods.iter().filter(|pod| pod::is_active(pod)).cloned().collect();
        let (mut stop, mut start) = (Vec::new(), Vec::new());
        if end.is_some() {
            stop.clone_from(&active);
        } else if settled && self.job.metadata.deletion_timestamp.is_none() {
            (stop, start) = self.balance(&active);
            // What is merely one too many has not failed: it goes uncounted.
            release.extend(stop.iter().filter(|pod| has_finalizer(pod)).cloned());
        }
        stop.truncate(BURST);
        self.describe(&active);
        if let Some(end) = end {
            self.conclude(end, active.is_empty());
        }
        let some = |uids: Option<Vec<String>>| uids.filter(|uids| !uids.is_empty());
        self.status.uncounted_terminated_pods = Some(UncountedTerminatedPods {
            succeeded: some(self.uncounted.succeeded),
            failed: some(self.uncounted.failed),
        });
        Plan { status: self.status, release, stop, start, news: self.news, next: self.next }
    }

    fn is_suspended(&self) -> bool {
        self.spec.suspend.unwrap_or(false)
    }

    fn suspend_or_resume(&mut self) {
        let was = condition(&self.status, "Suspended").is_some();
        match (was, self.is_suspended()) {
            (false, true) => {
                self.put("Suspended", true, "JobSuspended", "Job suspended");
                self.tell(false, "Suspended", "Job suspended");
                self.status.start_time = None;
            }
            (true, false) => {
                self.put("Suspended", false, "JobResumed", "Job resumed");
                self.tell(false, "Resumed", "Job resumed");
            }
            _ => {}
        }
        if !self.is_suspended() && self.status.start_time.is_none() {
            self.status.start_time = Some(Time(self.now));
        }
    }

    fn tell(&mut self, warning: bool, reason: &str, message: &str) {
        self.news.push(News { warning, reason: reason.to_owned(), message: message.to_owned() });
    }

    fn put(&mut self, kind: &str, holds: bool, reason: &str, message: &str) {
        let conditions = self.status.conditions.get_or_insert_default();
        conditions.retain(|condition| condition.type_ != kind);
        conditions.push(JobCondition {
            type_: kind.to_owned(),
            status: if holds { "True" } else { "False" }.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_probe_time: Some(Time(self.now)),
            last_transition_time: Some(Time(self.now)),
        });
    }

    /// Moves the pods that the finalizer no longer keeps from the list of uids to the counts.
    fn count_released(&mut self) {
        let kept: BTreeSet<&str> = self
            .pods
            .iter()
            .filter(|pod| has_finalizer(pod))
            .filter_map(|pod| pod.metadata.uid.as_deref())
            .collect();
        let settle = |uids: &mut Option<Vec<String>>, count: &mut Option<i32>| {
            let Some(uids) = uids else { return };
            let before = uids.len();
            uids.retain(|uid| kept.contains(uid.as_str()));
            let more = i32::try_from(before - uids.len()).unwrap_or(i32::MAX);
            if more > 0 {
                *count = Some(count.unwrap_or(0).saturating_add(more));
            }
        };
        settle(&mut self.uncounted.succeeded, &mut self.status.succeeded);
        settle(&mut self.uncounted.failed, &mut self.status.failed);
    }

    fn replaces_only_failed(&self) -> bool {
        self.spec.pod_replacement_policy.as_deref() == Some("Failed")
            || self.spec.pod_failure_policy.is_some()
    }

    /// A pod that is deleted before it ends has failed, unless only an end that was reached counts.
    fn has_failed(&self, pod: &Pod) -> bool {
        pod::phase(pod) == "Failed"
            || (!self.replaces_only_failed() && pod::is_leaving(pod) && pod::phase(pod) != "Succeeded")
    }

    fn is_known(&self, pod: &Pod) -> bool {
        let uid = pod.metadata.uid.as_ref();
        let has =
            |uids: &Option<Vec<String>>| uid.is_some_and(|uid| uids.iter().flatten().any(|has| has == uid));
        has(&self.uncounted.succeeded) || has(&self.uncounted.failed)
    }

    fn fresh(&self, fits: impl Fn(&Self, &Pod) -> bool) -> usize {
        self.pods.iter().filter(|pod| has_finalizer(pod) && !self.is_known(pod) && fits(self, pod)).count()
    }

    fn verdict(&self, pod: &Pod) -> Verdict {
        judge(self.spec.pod_failure_policy.as_ref(), pod)
    }

    fn counts_as_failed(&self, pod: &Pod) -> bool {
        self.has_failed(pod) && self.verdict(pod) != Verdict::Ignore
    }

    fn failed_total(&self) -> usize {
        usize::try_from(self.status.failed.unwrap_or(0)).unwrap_or(0)
            + self.uncounted.failed.as_ref().map_or(0, Vec::len)
            + self.fresh(Self::counts_as_failed)
    }

    fn succeeded_total(&self) -> usize {
        if self.indexed {
            let mut done = self.done.clone();
            done.extend(self.succeeded_indexes());
            return done.len();
        }
        usize::try_from(self.status.succeeded.unwrap_or(0)).unwrap_or(0)
            + self.uncounted.succeeded.as_ref().map_or(0, Vec::len)
            + self.fresh(|_, pod| pod::phase(pod) == "Succeeded")
    }

    fn succeeded_indexes(&self) -> BTreeSet<i32> {
        let done = self.pods.iter().filter(|pod| pod::phase(pod) == "Succeeded");
        done.filter_map(|pod| self.index_of(pod)).collect()
    }

    fn index_of(&self, pod: &Pod) -> Option<i32> {
        let index = annotation(&pod.metadata, INDEX)?.parse().ok()?;
        (0..self.spec.completions.unwrap_or(0)).contains(&index).then_some(index)
    }

    /// The end that an earlier sync decided on.
    fn decided(&self) -> Option<End> {
        let end = |target, last| {
            let had = condition(&self.status, target)?;
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            Some(End { target, last, reason: text(&had.reason), message: text(&had.message) })
        };
        end("FailureTarget", "Failed").or_else(|| end("SuccessCriteriaMet", "Complete"))
    }

    fn failure(&mut self, failed: usize) -> Option<End> {
        let end = |reason: &str, message: &str| {
            let (reason, message) = (reason.to_owned(), message.to_owned());
            Some(End { target: "FailureTarget", last: "Failed", reason, message })
        };
        let failed_pods = self.pods.iter().filter(|pod| has_finalizer(pod) && self.has_failed(pod));
        let fatal = failed_pods.map(|pod| self.verdict(pod)).find_map(|verdict| match verdict {
            Verdict::FailJob(why) => Some(why),
            Verdict::Count | Verdict::Ignore => None,
        });
        if let Some(why) = fatal {
            return end("PodFailurePolicy", &why);
        }
        let limit = usize::try_from(self.spec.backoff_limit.unwrap_or(6)).unwrap_or(usize::MAX);
        if failed > limit || self.restarts_exceed(limit) {
            return end("BackoffLimitExceeded", "Job has reached the specified backoff limit");
        }
        if !self.is_suspended()
            && let (Some(seconds), Some(start)) = (self.spec.active_deadline_seconds, &self.status.start_time)
        {
            let left = SignedDuration::from_secs(seconds) - self.now.duration_since(start.0);
            match Duration::try_from(left) {
                Ok(left) if !left.is_zero() => self.wake_in(left),
                _ => return end("DeadlineExceeded", "Job was active longer than specified deadline"),
            }
        }
        None
    }

    fn wake_in(&mut self, delay: Duration) {
        self.next = Some(self.next.map_or(delay, |next| next.min(delay)));
    }

    /// Where failed containers are restarted in their pod, restarts count as failures.
    fn restarts_exceed(&self, limit: usize) -> bool {
        let policy = self.spec.template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
        if policy != Some("OnFailure") {
            return false;
        }
        let restarts: i32 = self
            .pods
            .iter()
            .filter(|pod| matches!(pod::phase(pod), "Running" | "Pending"))
            .filter_map(|pod| pod.status.as_ref())
            .flat_map(|status| {
                status.container_statuses.iter().chain(&status.init_container_statuses).flatten()
            })
            .map(|container| container.restart_count)
            .sum();
        let restarts = usize::try_from(restarts).unwrap_or(0);
        if limit == 0 { restarts > 0 } else { restarts >= limit }
    }

    fn success(&self) -> Option<End> {
        let succeeded = self.succeeded_total();
        let active = self.pods.iter().any(|pod| pod::is_active(pod));
        let enough = match self.spec.completions {
            None => succeeded > 0 && !active,
            Some(completions) => succeeded >= usize::try_from(completions).unwrap_or(0),
        };
        enough.then(|| End {
            target: "SuccessCriteriaMet",
            last: "Complete",
            reason: "CompletionsReached".to_owned(),
            message: "Reached expected number of succeeded pods".to_owned(),
        })
    }

    /// Notes the ends that are not counted yet, and returns the pods that may go once that is written.
    fn take_in(&mut self, end: Option<&End>) -> Vec<Arc<Pod>> {
        let mut release = Vec::new();
        let failing = end.is_some_and(|end| end.last == "Failed");
        for pod in self.pods.iter().filter(|pod| has_finalizer(pod)) {
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            let (succeeded, failed) = (pod::phase(pod) == "Succeeded", self.has_failed(pod));
            // What still runs when the Job ends has no part in it; in a failed Job it has failed too.
            let unfinished = end.is_some() && !succeeded && !failed && pod::is_leaving(pod);
            let leaving = self.job.metadata.deletion_timestamp.is_some();
            if !(succeeded || failed || unfinished || leaving) {
                continue;
            }
            if release.len() >= BURST {
                // The rest comes with the next sync, which the released pods wake.
                break;
            }
            release.push(Arc::clone(pod));
            if self.is_known(pod) {
                continue;
            }
            if succeeded && self.indexed {
                self.done.extend(self.index_of(pod));
            } else if succeeded {
                self.uncounted.succeeded.get_or_insert_default().push(uid);
            } else if (failed && self.verdict(pod) != Verdict::Ignore) || (unfinished && failing) {
                self.uncounted.failed.get_or_insert_default().push(uid);
            }
        }
        if self.indexed {
            self.status.completed_indexes = Some(index::format(&self.done)).filter(|text| !text.is_empty());
            self.status.succeeded = i32::try_from(self.done.len()).ok().filter(|count| *count > 0);
        }
        release
    }

    fn balance(&mut self, active: &[Arc<Pod>]) -> (Vec<Arc<Pod>>, Vec<Option<i32>>) {
        let number = |value: i32| usize::try_from(value).unwrap_or(0);
        let parallelism = number(self.spec.parallelism.unwrap_or(1));
        let wanted = match self.spec.completions {
            _ if self.is_suspended() => 0,
            None if self.succeeded_total() > 0 => active.len().min(parallelism),
            None => parallelism,
            Some(completions) => parallelism.min(number(completions).saturating_sub(self.succeeded_total())),
        };
        if active.len() > wanted {
            return (self.surplus(active, active.len() - wanted), Vec::new());
        }
        let leaving = self.pods.iter().filter(|pod| pod::is_leaving(pod) && !pod::is_finished(pod)).count();
        let there = active.len() + if self.replaces_only_failed() { leaving } else { 0 };
        let missing = wanted.saturating_sub(there).min(BURST);
        if missing == 0 {
            return (Vec::new(), Vec::new());
        }
        if let Some(pause) = self.backoff() {
            self.wake_in(pause);
            return (Vec::new(), Vec::new());
        }
        if !self.indexed {
            return (Vec::new(), vec![None; missing]);
        }
        let mut taken = self.done.clone();
        taken.extend(active.iter().filter_map(|pod| self.index_of(pod)));
        taken.extend(self.succeeded_indexes());
        let free = (0..self.spec.completions.unwrap_or(0)).filter(|index| !taken.contains(index));
        (Vec::new(), free.take(missing).map(Some).collect())
    }

    /// Of too many pods those that have done least.
    fn surplus(&self, active: &[Arc<Pod>], count: usize) -> Vec<Arc<Pod>> {
        let mut pods = active.to_vec();
        pods.sort_by_key(|pod| {
            let running = pod::phase(pod) == "Running";
            let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
            (running, pod::is_ready(pod), std::cmp::Reverse(created), std::cmp::Reverse(self.index_of(pod)))
        });
        pods.truncate(count);
        pods
    }

    /// How long to wait after failures in a row before the next pod.
    fn backoff(&self) -> Option<Duration> {
        let mut ends: Vec<(Timestamp, bool)> = self
            .pods
            .iter()
            .filter(|pod| self.has_failed(pod) || pod::phase(pod) == "Succeeded")
            .map(|pod| (ended_at(pod).unwrap_or(self.now), self.has_failed(pod)))
            .collect();
        ends.sort();
        let failures = ends.iter().rev().take_while(|(_, failed)| *failed).count();
        let (last, _) = ends.last().filter(|_| failures > 0)?;
        let doublings = u32::try_from(failures - 1).unwrap_or(u32::MAX).min(16);
        let pause = (FIRST_BACKOFF * (1 << doublings)).min(LONGEST_BACKOFF);
        let left = pause - self.now.duration_since(*last);
        Duration::try_from(left).ok().filter(|left| !left.is_zero())
    }

    fn describe(&mut self, active: &[Arc<Pod>]) {
        let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        self.status.active = Some(count(active.len())).filter(|active| *active > 0);
        self.status.ready = Some(count(active.iter().filter(|pod| pod::is_ready(pod)).count()));
        let leaving = |pod: &&Arc<Pod>| pod::is_leaving(pod) && !pod::is_finished(pod);
        self.status.terminating = Some(count(self.pods.iter().filter(leaving).count()));
    }

    /// Says what end was decided on and, once every pod has ended and is counted, that it is reached.
    fn conclude(&mut self, end: End, idle: bool) {
        if condition(&self.status, end.target).is_none() {
            self.put(end.target, true, &end.reason, &end.message);
        }
        let uncounted = &self.uncounted;
        let counted = [&uncounted.succeeded, &uncounted.failed]
            .iter()
            .all(|uids| uids.as_ref().is_none_or(Vec::is_empty));
        let kept = self.pods.iter().any(|pod| has_finalizer(pod));
        if !idle || !counted || kept || self.status.terminating != Some(0) {
            return;
        }
        self.put(end.last, true, &end.reason, &end.message);
        if end.last == "Complete" {
            self.status.completion_time = Some(Time(self.now));
            self.tell(false, "Completed", "Job completed");
        } else {
            self.tell(true, &end.reason, &end.message);
        }
    }
}

/// When a pod's last container ended, as far as it is known.
fn ended_at(pod: &Pod) -> Option<Timestamp> {
    let status = pod.status.as_ref();
    let containers = status.and_then(|status| status.container_statuses.as_ref()).into_iter().flatten();
    let ended = containers
        .filter_map(|container| container.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref());
    let stamps = [
        ended.map(|time| time.0).max(),
        pod.metadata.deletion_timestamp.as_ref().map(|time| time.0),
        pod::condition(pod, "Ready").and_then(|ready| ready.last_transition_time.as_ref()).map(|time| time.0),
    ];
    stamps.into_iter().flatten().next()
}
