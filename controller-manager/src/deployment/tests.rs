//! Rollouts as tables, played against a cluster that is a list of ReplicaSets.

use client::k8s_openapi::api::apps::v1::ReplicaSetStatus;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::plan::{Plan, plan};
use super::*;

/// A cluster in which every pod is ready one round after it was made, unless its image is `broken`.
struct Cluster {
    deployment: Deployment,
    sets: Vec<Arc<ReplicaSet>>,
    now: Timestamp,
    made: usize,
}

fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().unwrap().replicas.unwrap()
}

fn image(set: &ReplicaSet) -> String {
    let template = set.spec.as_ref().unwrap().template.as_ref().unwrap();
    template.spec.as_ref().unwrap().containers[0].image.clone().unwrap()
}

fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

impl Cluster {
    fn new(count: i32, strategy: Value) -> Self {
        let deployment = serde_json::from_value(json!({
            "metadata": {"namespace": "d", "name": "web", "uid": "d", "generation": 1},
            "spec": {"replicas": count, "strategy": strategy, "progressDeadlineSeconds": 600,
                "revisionHistoryLimit": 2, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "c", "image": "one"}]}}},
        }))
        .unwrap();
        Self { deployment, sets: Vec::new(), now: "2026-01-01T00:00:00Z".parse().unwrap(), made: 0 }
    }

    fn edit(&mut self, edit: impl FnOnce(&mut client::k8s_openapi::api::apps::v1::DeploymentSpec)) {
        edit(self.deployment.spec.as_mut().unwrap());
        *self.deployment.metadata.generation.as_mut().unwrap() += 1;
    }

    fn set_image(&mut self, image: &str) {
        self.edit(|spec| spec.template.spec.as_mut().unwrap().containers[0].image = Some(image.to_owned()));
    }

    fn sync(&self) -> Plan {
        let running = |set: &&Arc<ReplicaSet>| set.status.as_ref().is_some_and(|status| status.replicas > 0);
        let occupied = self.sets.iter().filter(running).filter_map(|set| set.metadata.uid.clone()).collect();
        plan(&self.deployment, &self.sets, &occupied, self.now)
    }

    fn change(&mut self, set: &ReplicaSet, change: impl FnOnce(&mut ReplicaSet)) {
        let at = self.sets.iter().position(|has| has.metadata.uid == set.metadata.uid).unwrap();
        change(Arc::make_mut(&mut self.sets[at]));
    }

    fn apply(&mut self, plan: Plan) {
        for action in plan.actions {
            match action {
                Action::Create(mut set) => {
                    self.made += 1;
                    set.metadata.uid = Some(self.made.to_string());
                    set.metadata.creation_timestamp =
                        Some(client::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(self.now));
                    self.sets.push(Arc::from(set));
                }
                Action::Annotate { set, annotations, .. } => self.change(&set, |set| {
                    set.metadata.annotations.get_or_insert_default().extend(annotations);
                }),
                Action::Scale { set, to } => {
                    let bounds = rolling::Bounds::of(&self.deployment);
                    let sizes = revision::sizes(bounds.desired, bounds.maximum());
                    self.change(&set, |set| {
                        set.spec.as_mut().unwrap().replicas = Some(to);
                        set.metadata.annotations.get_or_insert_default().extend(sizes);
                    });
                }
                Action::Delete(set) => self.sets.retain(|has| has.metadata.uid != set.metadata.uid),
                Action::Revision(number) => {
                    let annotations = self.deployment.metadata.annotations.get_or_insert_default();
                    annotations.insert(revision::REVISION.to_owned(), number);
                }
            }
        }
        self.deployment.status = Some(plan.status);
    }

    /// Pods come and go as the ReplicaSets ask.
    fn live(&mut self) {
        self.now = self.now.saturating_add(jiff::SignedDuration::from_secs(1)).unwrap();
        for set in &mut self.sets {
            let (count, broken) = (replicas(set), image(set) == "broken");
            let ready = Some(if broken { 0 } else { count }).filter(|count| *count > 0);
            Arc::make_mut(set).status = Some(ReplicaSetStatus {
                replicas: count,
                ready_replicas: ready,
                available_replicas: ready,
                ..ReplicaSetStatus::default()
            });
        }
    }

    fn settle(&mut self, least: i32, most: i32) {
        for _ in 0..100 {
            let plan = self.sync();
            let quiet = plan.actions.is_empty() && self.deployment.status.as_ref() == Some(&plan.status);
            self.apply(plan);
            let total: i32 = self.sets.iter().map(|set| replicas(set)).sum();
            let up: i32 = self.sets.iter().map(|set| available(set).min(replicas(set))).sum();
            assert!(total <= most, "{total} pods are more than {most}");
            assert!(up >= least, "{up} available pods are fewer than {least}");
            self.live();
            if quiet {
                return;
            }
        }
        panic!("the rollout never ends");
    }

    fn sizes(&self) -> Vec<(String, i32)> {
        self.sets.iter().map(|set| (image(set), replicas(set))).collect()
    }

    fn condition(&self, kind: &str) -> (String, String) {
        let conditions = self.deployment.status.as_ref().unwrap().conditions.as_ref().unwrap();
        let condition = conditions.iter().find(|condition| condition.type_ == kind).unwrap();
        (condition.status.clone(), condition.reason.clone().unwrap())
    }

    fn revision(&self) -> i64 {
        revision::number(&self.deployment.metadata)
    }
}

fn rolling_by(surge: Value, unavailable: Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

fn said(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[test]
fn rollouts_stay_within_their_bounds() {
    // Size, strategy, the least that must be available, the most that may exist.
    let cases = [
        (4, rolling_by(json!("25%"), json!("25%")), 3, 5),
        (10, rolling_by(json!(3), json!(0)), 10, 13),
        (10, rolling_by(json!(0), json!(2)), 8, 10),
        (3, rolling_by(json!(0), json!(0)), 2, 3),
        (1, rolling_by(json!("25%"), json!("25%")), 1, 2),
        (5, json!({"type": "Recreate"}), 0, 5),
    ];
    for (size, strategy, least, most) in cases {
        let mut cluster = Cluster::new(size, strategy.clone());
        cluster.settle(0, most);
        assert_eq!(cluster.sizes(), [("one".to_owned(), size)], "{strategy}");
        cluster.set_image("two");
        cluster.settle(least, most);
        assert_eq!(cluster.sizes(), [("one".to_owned(), 0), ("two".to_owned(), size)], "{strategy}");
        assert_eq!(cluster.condition("Progressing"), said("True", "NewReplicaSetAvailable"));
        assert_eq!(cluster.condition("Available"), said("True", "MinimumReplicasAvailable"));
        assert_eq!(cluster.revision(), 2);
    }
}

#[test]
fn undo_takes_the_former_set_and_a_new_number() {
    let mut cluster = Cluster::new(2, rolling_by(json!(1), json!(0)));
    cluster.settle(0, 3);
    cluster.set_image("two");
    cluster.settle(2, 3);
    cluster.set_image("one");
    cluster.settle(2, 3);
    assert_eq!(cluster.sizes(), [("one".to_owned(), 2), ("two".to_owned(), 0)]);
    assert_eq!(cluster.revision(), 3);
    let annotations = cluster.sets[0].metadata.annotations.clone().unwrap();
    assert_eq!(annotations["deployment.kubernetes.io/revision-history"], "1");
    assert_eq!(annotations["deployment.kubernetes.io/desired-replicas"], "2");
    assert_eq!(annotations["deployment.kubernetes.io/max-replicas"], "3");
}

#[test]
fn a_broken_image_stops_at_the_bound_and_times_out() {
    let mut cluster = Cluster::new(4, rolling_by(json!("25%"), json!("25%")));
    cluster.settle(0, 5);
    cluster.set_image("broken");
    cluster.settle(3, 5);
    assert_eq!(cluster.sizes(), [("one".to_owned(), 3), ("broken".to_owned(), 2)]);
    assert_eq!(cluster.condition("Progressing"), said("True", "ReplicaSetUpdated"));
    let next = cluster.sync().next.expect("the deadline wakes it");
    cluster.now = cluster.now.saturating_add(next).unwrap();
    cluster.settle(3, 5);
    assert_eq!(cluster.condition("Progressing"), said("False", "ProgressDeadlineExceeded"));
    assert_eq!(cluster.sync().next, None);
    cluster.set_image("three");
    cluster.settle(3, 5);
    assert_eq!(cluster.condition("Progressing"), said("True", "NewReplicaSetAvailable"));
}

#[test]
fn a_paused_rollout_scales_in_proportion_and_goes_on() {
    let mut cluster = Cluster::new(10, rolling_by(json!(3), json!(2)));
    cluster.settle(0, 13);
    cluster.set_image("broken");
    cluster.settle(8, 13);
    assert_eq!(cluster.sizes(), [("one".to_owned(), 8), ("broken".to_owned(), 5)]);
    cluster.edit(|spec| (spec.paused, spec.replicas) = (Some(true), Some(15)));
    cluster.settle(8, 18);
    assert_eq!(cluster.sizes(), [("one".to_owned(), 11), ("broken".to_owned(), 7)]);
    assert_eq!(cluster.condition("Progressing").1, "DeploymentPaused");
    cluster.set_image("two");
    cluster.settle(8, 18);
    assert_eq!(cluster.sets.len(), 2, "nothing is made while paused");
    cluster.edit(|spec| spec.paused = Some(false));
    cluster.settle(11, 18);
    assert_eq!(cluster.sizes().last(), Some(&("two".to_owned(), 15)));
    assert_eq!(cluster.condition("Progressing"), said("True", "NewReplicaSetAvailable"));
}

#[test]
fn scaling_alone_makes_no_revision() {
    let mut cluster = Cluster::new(2, rolling_by(json!("25%"), json!("25%")));
    cluster.settle(0, 3);
    for size in [5, 0, 3] {
        cluster.edit(|spec| spec.replicas = Some(size));
        cluster.settle(0, 7);
        assert_eq!((cluster.sizes(), cluster.revision()), (vec![("one".to_owned(), size)], 1));
        let noted = revision::sizes(size, rolling::Bounds::of(&cluster.deployment).maximum())[0].1.clone();
        if size > 0 {
            assert_eq!(cluster.sets[0].metadata.annotations.as_ref().unwrap()[revision::DESIRED], noted);
        }
    }
}

#[test]
fn old_sets_beyond_the_history_go() {
    let mut cluster = Cluster::new(1, rolling_by(json!(1), json!(0)));
    for image in ["one", "two", "three", "four", "five"] {
        cluster.set_image(image);
        cluster.settle(0, 2);
    }
    let images: Vec<_> = cluster.sizes().into_iter().map(|(image, _)| image).collect();
    assert_eq!(images, ["three", "four", "five"]);
}

#[test]
fn percentages_round_away_from_harm() {
    use client::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    for (text, total, up, expected) in
        [("25%", 10, true, 3), ("25%", 10, false, 2), ("0%", 5, true, 0), ("x", 5, true, 0)]
    {
        assert_eq!(
            rolling::resolve(&IntOrString::String(text.to_owned()), total, up),
            expected,
            "{text} {total}"
        );
    }
}
