//! Tables of which nodes fit, and rollouts played against a cluster that is a list of nodes and pods.

use serde_json::{Value, json};

use super::eligibility::{Eligible, eligible, node_of};
use super::*;

fn node(name: &str, labels: Value, taints: Value) -> Arc<Node> {
    let node = json!({"metadata": {"name": name, "labels": labels}, "spec": {"taints": taints}});
    Arc::new(serde_json::from_value(node).unwrap())
}

fn set(pod: Value, strategy: Value) -> DaemonSet {
    let mut spec = json!({"containers": [{"name": "c", "image": "one"}]});
    for (name, value) in pod.as_object().unwrap() {
        spec[name] = value.clone();
    }
    serde_json::from_value(json!({"metadata": {"namespace": "d", "name": "ds", "uid": "u", "generation": 1},
        "spec": {"selector": {"matchLabels": {"app": "ds"}}, "updateStrategy": strategy,
            "template": {"metadata": {"labels": {"app": "ds"}}, "spec": spec}}}))
    .unwrap()
}

#[test]
fn which_nodes_fit() {
    let yes = Eligible { start: true, stay: true };
    let no = Eligible { start: false, stay: false };
    let only_stay = Eligible { start: false, stay: true };
    let taint = |key: &str, effect: &str| json!([{"key": key, "effect": effect}]);
    let affinity = |operator: &str, values: Value| {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "size", "operator": operator, "values": values}]}]}}}})
    };
    let cases = [
        (json!({}), json!([]), yes),
        (json!({"nodeSelector": {"disk": "ssd"}}), json!([]), yes),
        (json!({"nodeSelector": {"disk": "hdd"}}), json!([]), no),
        (json!({"nodeName": "other"}), json!([]), no),
        (affinity("Gt", json!(["3"])), json!([]), yes),
        (affinity("Lt", json!(["3"])), json!([]), no),
        (affinity("NotIn", json!(["4"])), json!([]), no),
        (json!({}), taint("k", "NoSchedule"), only_stay),
        (json!({}), taint("k", "NoExecute"), no),
        (json!({}), taint("k", "PreferNoSchedule"), yes),
        (json!({"tolerations": [{"operator": "Exists"}]}), taint("k", "NoExecute"), yes),
        (json!({}), taint("node.kubernetes.io/unschedulable", "NoSchedule"), yes),
        (json!({}), taint("node.kubernetes.io/unreachable", "NoExecute"), yes),
        (json!({}), taint("node.kubernetes.io/network-unavailable", "NoSchedule"), only_stay),
        (json!({"hostNetwork": true}), taint("node.kubernetes.io/network-unavailable", "NoSchedule"), yes),
    ];
    for (pod, taints, expected) in cases {
        let node = node("n", json!({"disk": "ssd", "size": "4"}), taints.clone());
        assert_eq!(eligible(&set(pod.clone(), json!({})), &node), expected, "{pod} {taints}");
    }
}

struct Cluster {
    set: DaemonSet,
    nodes: Vec<Arc<Node>>,
    pods: Vec<Arc<Pod>>,
    revisions: Vec<Arc<ControllerRevision>>,
    made: usize,
}

impl Cluster {
    fn new(nodes: usize, strategy: Value) -> Self {
        let nodes = (0..nodes).map(|number| node(&format!("n{number}"), json!({}), json!([]))).collect();
        Self { set: set(json!({}), strategy), nodes, pods: vec![], revisions: vec![], made: 0 }
    }

    fn set_image(&mut self, image: &str) {
        let spec = self.set.spec.as_mut().unwrap().template.spec.as_mut().unwrap();
        spec.containers[0].image = Some(image.to_owned());
    }

    fn image(pod: &Pod) -> &str {
        pod.spec.as_ref().unwrap().containers[0].image.as_deref().unwrap()
    }

    /// Syncs until nothing changes; between syncs stopped pods vanish and started ones become ready.
    fn settle(&mut self, least: usize, most: usize) {
        for _ in 0..60 {
            let in_use: Vec<_> =
                self.pods.iter().filter_map(|pod| pod::label(&pod.metadata, plan::HASH)).collect();
            let history = revision::history(&self.set, &self.revisions, &in_use);
            let now = "2026-01-01T00:00:00Z".parse().unwrap();
            let mut plan = plan::plan(&self.set, &self.nodes, &self.pods, &history.hash, true, now);
            self.revisions.extend(history.create.map(Arc::new));
            if let Some((revision, number)) = history.renumber {
                let at = self.revisions.iter().position(|has| Arc::ptr_eq(has, &revision)).unwrap();
                Arc::make_mut(&mut self.revisions[at]).revision = number;
            }
            plan.stop.extend(plan.ended.into_iter().map(|(_, pod)| pod));
            if plan.start.is_empty() && plan.stop.is_empty() {
                self.set.status = Some(plan.status);
                return;
            }
            self.pods.retain(|pod| !plan.stop.iter().any(|gone| gone.metadata.uid == pod.metadata.uid));
            let up = self.pods.iter().filter(|pod| pod::is_ready(pod)).count();
            assert!(up >= least, "{up} ready pods are fewer than {least}");
            for name in plan.start {
                self.made += 1;
                let mut pod = new_pod(&self.set, &history.hash, &name);
                assert_eq!(node_of(&pod), Some(name.as_str()));
                pod.metadata.uid = Some(self.made.to_string());
                self.pods.push(Arc::new(pod));
            }
            assert!(self.pods.len() <= most, "{} pods are more than {most}", self.pods.len());
            for pod in self.pods.iter_mut().filter(|pod| Self::image(pod) != "broken") {
                Arc::make_mut(pod).status = serde_json::from_value(json!({"phase": "Running",
                    "conditions": [{"type": "Ready", "status": "True"}]}))
                .unwrap();
            }
        }
        panic!("the rollout never ends");
    }

    fn images(&self) -> Vec<&str> {
        let mut images: Vec<_> = self.pods.iter().map(|pod| Self::image(pod)).collect();
        images.sort_unstable();
        images
    }
}

fn rolling(unavailable: Value, surge: Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}})
}

#[test]
fn pods_follow_the_nodes() {
    let mut cluster = Cluster::new(2, rolling(json!(1), json!(0)));
    cluster.settle(0, 2);
    cluster.nodes.push(node("n2", json!({}), json!([])));
    cluster.settle(0, 3);
    assert_eq!(cluster.pods.len(), 3);
    cluster.nodes[0] = node("n0", json!({}), json!([{"key": "k", "effect": "NoExecute"}]));
    cluster.settle(0, 3);
    assert_eq!(cluster.pods.len(), 2);
    let status = cluster.set.status.clone().unwrap();
    assert_eq!(
        serde_json::to_value(status).unwrap(),
        json!({"currentNumberScheduled": 2, "desiredNumberScheduled": 2, "numberMisscheduled": 0, "numberReady": 2,
            "numberAvailable": 2, "updatedNumberScheduled": 2, "observedGeneration": 1})
    );
}

#[test]
fn rollouts_stay_within_their_bounds() {
    let cases = [
        (4, rolling(json!(1), json!(0)), 3, 4),
        (4, rolling(json!("50%"), json!(0)), 2, 4),
        (4, rolling(json!(0), json!(1)), 4, 5),
    ];
    for (nodes, strategy, least, most) in cases {
        let mut cluster = Cluster::new(nodes, strategy.clone());
        cluster.settle(0, most);
        cluster.set_image("two");
        cluster.settle(least, most);
        assert_eq!(cluster.images(), ["two"; 4], "{strategy}");
        cluster.set_image("broken");
        cluster.settle(least, most);
        assert!(cluster.images().iter().filter(|image| **image == "two").count() >= least, "{strategy}");
        cluster.set_image("one");
        cluster.settle(least, most);
        assert_eq!(cluster.images(), ["one"; 4], "{strategy}");
        let mut numbers: Vec<_> = cluster.revisions.iter().map(|revision| revision.revision).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [2, 3, 4], "the first revision came again as the fourth");
    }
}

#[test]
fn on_delete_replaces_nothing_by_itself() {
    let mut cluster = Cluster::new(2, json!({"type": "OnDelete"}));
    cluster.settle(0, 2);
    cluster.set_image("two");
    cluster.settle(2, 2);
    assert_eq!(cluster.images(), ["one", "one"]);
    cluster.pods.remove(0);
    cluster.settle(0, 2);
    assert_eq!(cluster.images(), ["one", "two"]);
}
