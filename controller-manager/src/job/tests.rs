//! Jobs as stories, played against a cluster that is a list of pods.

use serde_json::{Value, json};

use super::plan::{Plan, plan};
use super::*;

struct Cluster {
    job: Job,
    pods: Vec<Arc<Pod>>,
    now: jiff::Timestamp,
    made: usize,
    told: Vec<String>,
}

impl Cluster {
    fn new(spec: Value) -> Self {
        let mut all =
            json!({"template": {"spec": {"containers": [], "restartPolicy": "Never"}}, "backoffLimit": 6});
        for (name, value) in spec.as_object().unwrap() {
            all[name] = value.clone();
        }
        let job = json!({"metadata": {"namespace": "d", "name": "j", "uid": "j"}, "spec": all});
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        Self { job: serde_json::from_value(job).unwrap(), pods: vec![], now, made: 0, told: vec![] }
    }

    fn plan(&self) -> Plan {
        plan(&self.job, &self.pods, true, self.now)
    }

    /// Syncs until nothing changes; returns the delay asked for.
    fn settle(&mut self) -> Option<std::time::Duration> {
        for _ in 0..50 {
            let plan = self.plan();
            let quiet = plan.release.is_empty() && plan.stop.is_empty() && plan.start.is_empty();
            if quiet && self.job.status.as_ref() == Some(&plan.status) {
                return plan.next;
            }
            self.told.extend(plan.news.iter().map(|news| news.reason.clone()));
            self.job.status = Some(plan.status);
            let has =
                |pods: &[Arc<Pod>], pod: &Pod| pods.iter().any(|has| has.metadata.uid == pod.metadata.uid);
            for pod in &mut self.pods {
                if has(&plan.release, pod) {
                    Arc::make_mut(pod).metadata.finalizers = None;
                }
                if has(&plan.stop, pod) {
                    Arc::make_mut(pod).metadata.deletion_timestamp =
                        Some(client::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(self.now));
                }
            }
            // A stopped pod is gone once nothing keeps it.
            self.pods.retain(|pod| !(pod::is_leaving(pod) && pod.metadata.finalizers.is_none()));
            for index in plan.start {
                self.made += 1;
                let mut pod = new_pod(&self.job, index);
                pod.metadata.uid = Some(self.made.to_string());
                self.pods.push(Arc::new(pod));
            }
        }
        panic!("the job never settles: {:?}", self.job.status);
    }

    /// Ends the first active pod.
    fn end(&mut self, phase: &str) {
        self.now = self.now.saturating_add(jiff::SignedDuration::from_secs(1)).unwrap();
        let pod = self.pods.iter_mut().find(|pod| pod::is_active(pod)).expect("a pod runs");
        Arc::make_mut(pod).status = serde_json::from_value(json!({"phase": phase, "conditions": [
            {"type": "Ready", "status": "False", "lastTransitionTime": self.now.to_string()}]}))
        .unwrap();
    }

    fn wait(&mut self, delay: std::time::Duration) {
        self.now = self.now.saturating_add(delay).unwrap();
    }

    fn active(&self) -> usize {
        self.pods.iter().filter(|pod| pod::is_active(pod)).count()
    }

    fn counts(&self) -> (i32, i32) {
        let status = self.job.status.as_ref().unwrap();
        (status.succeeded.unwrap_or(0), status.failed.unwrap_or(0))
    }

    fn conditions(&self) -> Vec<(String, String)> {
        let conditions = self.job.status.as_ref().unwrap().conditions.iter().flatten();
        conditions.map(|condition| (condition.type_.clone(), condition.reason.clone().unwrap())).collect()
    }
}

fn said(conditions: &[(&str, &str)]) -> Vec<(String, String)> {
    conditions.iter().map(|(kind, reason)| (kind.to_string(), reason.to_string())).collect()
}

#[test]
fn runs_to_completion_and_counts_every_pod_once() {
    let mut cluster = Cluster::new(json!({"completions": 3, "parallelism": 2}));
    cluster.settle();
    assert_eq!(cluster.active(), 2);
    for ended in 1..=3 {
        cluster.end("Succeeded");
        cluster.settle();
        assert_eq!(cluster.counts(), (ended, 0));
    }
    assert_eq!((cluster.active(), cluster.made), (0, 3));
    let expected = said(&[("SuccessCriteriaMet", "CompletionsReached"), ("Complete", "CompletionsReached")]);
    assert_eq!(cluster.conditions(), expected);
    assert_eq!(cluster.told, ["Completed"]);
    assert!(cluster.job.status.as_ref().unwrap().completion_time.is_some());
}

#[test]
fn failures_pause_longer_each_time_and_end_it_at_the_limit() {
    let mut cluster = Cluster::new(json!({"completions": 1, "parallelism": 1, "backoffLimit": 2}));
    cluster.settle();
    for (failures, pause) in [(1, 10), (2, 20)] {
        cluster.end("Failed");
        let next = cluster.settle().expect("the next pod is started later");
        assert_eq!((cluster.counts(), cluster.active(), next.as_secs()), ((0, failures), 0, pause));
        cluster.wait(next);
        cluster.settle();
        assert_eq!(cluster.active(), 1);
    }
    cluster.end("Failed");
    assert_eq!(cluster.settle(), None);
    let reason = "BackoffLimitExceeded";
    assert_eq!(cluster.conditions(), said(&[("FailureTarget", reason), ("Failed", reason)]));
    assert_eq!((cluster.counts(), cluster.told), ((0, 3), vec![reason.to_owned()]));
}

#[test]
fn the_deadline_stops_what_runs() {
    let mut cluster = Cluster::new(json!({"completions": 2, "parallelism": 2, "activeDeadlineSeconds": 30}));
    let next = cluster.settle().expect("the deadline wakes it");
    cluster.wait(next);
    cluster.settle();
    assert_eq!(
        cluster.conditions(),
        said(&[("FailureTarget", "DeadlineExceeded"), ("Failed", "DeadlineExceeded")])
    );
    assert_eq!((cluster.active(), cluster.counts()), (0, (0, 2)));
}

#[test]
fn without_completions_one_success_is_enough() {
    let mut cluster = Cluster::new(json!({"parallelism": 3}));
    cluster.settle();
    assert_eq!(cluster.active(), 3);
    for _ in 0..3 {
        cluster.end("Succeeded");
        cluster.settle();
    }
    assert_eq!((cluster.counts(), cluster.made), ((3, 0), 3));
    assert_eq!(cluster.conditions().last().unwrap().0, "Complete");
}

#[test]
fn every_index_is_done() {
    let spec = json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed"});
    let mut cluster = Cluster::new(spec);
    cluster.settle();
    let indexes = |cluster: &Cluster| -> Vec<String> {
        cluster.pods.iter().map(|pod| pod::annotation(&pod.metadata, INDEX).unwrap().to_owned()).collect()
    };
    assert_eq!(indexes(&cluster), ["0", "1", "2"]);
    cluster.end("Failed");
    let next = cluster.settle().unwrap();
    cluster.wait(next);
    cluster.settle();
    assert_eq!(indexes(&cluster).last().unwrap(), "0");
    for _ in 0..3 {
        cluster.end("Succeeded");
        cluster.settle();
    }
    assert_eq!((cluster.counts(), cluster.made), ((3, 1), 4));
    assert_eq!(cluster.job.status.as_ref().unwrap().completed_indexes.as_deref(), Some("0-2"));
}

#[test]
fn suspended_and_resumed() {
    let mut cluster = Cluster::new(json!({"completions": 2, "parallelism": 2, "suspend": true}));
    cluster.settle();
    assert_eq!((cluster.active(), cluster.job.status.as_ref().unwrap().start_time.clone()), (0, None));
    cluster.job.spec.as_mut().unwrap().suspend = Some(false);
    cluster.settle();
    assert_eq!(cluster.active(), 2);
    assert_eq!(cluster.told, ["Suspended", "Resumed"]);
    cluster.job.spec.as_mut().unwrap().suspend = Some(true);
    cluster.settle();
    assert_eq!(cluster.active(), 0);
}

#[test]
fn the_failure_policy_ends_it_or_looks_away() {
    for (action, reason, failed) in [("FailJob", Some("PodFailurePolicy"), 1), ("Ignore", None, 0)] {
        let rules = json!([{"action": action, "onPodConditions": [{"type": "Ready", "status": "False"}]}]);
        let mut cluster = Cluster::new(json!({"completions": 1, "backoffLimit": 0,
            "podFailurePolicy": {"rules": rules}}));
        cluster.settle();
        cluster.end("Failed");
        cluster.settle();
        let reasons: Vec<_> = cluster.conditions().into_iter().map(|(_, reason)| reason).collect();
        assert_eq!(reasons, reason.map_or(vec![], |reason| vec![reason; 2]), "{action}");
        assert_eq!(cluster.counts(), (0, failed), "{action}");
    }
}
