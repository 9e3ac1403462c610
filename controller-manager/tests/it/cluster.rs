//! A cluster with controllers, and what tests do to it.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use client::k8s_openapi::NamespaceResourceScope;
use client::k8s_openapi::api::core::v1::{Node, Pod};
use client::kube::api::{ListParams, Patch, PatchParams, PostParams};
use client::kube::{Api, Client, Resource};
use client::object::found;
use controller_manager::Settings;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The namespace tests work in.
pub(crate) const NAMESPACE: &str = "default";

/// How long a condition may take to come true before the test fails; far longer than it takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) struct Cluster {
    api: testkit::Cluster,
    pub(crate) client: Client,
}

/// A cluster in which these controllers run; further flags may be given.
pub(crate) async fn start(controllers: &str, flags: &[&str]) -> Cluster {
    // Shown by the test runner where the test fails.
    daemon::log::start(4);
    let api = testkit::start().await;
    let mut line = vec!["--kubeconfig=unused".to_owned(), format!("--controllers={controllers}")];
    line.extend(flags.iter().map(|flag| (*flag).to_owned()));
    let (settings, _, _) = daemon::flag::parse::<Settings>(&line).expect("usable flags");
    let (client, context) = (api.client(), api.context.clone());
    api.context.spawn("controller-manager", controller_manager::run_with(settings, context, api.client()));
    Cluster { api, client }
}

impl Cluster {
    pub(crate) fn of<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    pub(crate) fn all<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    pub(crate) async fn make<K>(&self, object: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Serialize
            + DeserializeOwned
            + Clone
            + Debug,
    {
        let object: K = serde_json::from_value(object).expect("an object of this kind");
        self.of::<K>().create(&PostParams::default(), &object).await.expect("it can be made")
    }

    pub(crate) async fn patch<K>(&self, name: &str, patch: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
    {
        self.of::<K>()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .expect("it can be changed")
    }

    /// Makes a node that is ready.
    pub(crate) async fn node(&self, name: &str) {
        let node: Node = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        self.all::<Node>().create(&PostParams::default(), &node).await.expect("a node");
        self.heartbeat(name).await;
    }

    pub(crate) async fn heartbeat(&self, name: &str) {
        let now = jiff::Timestamp::now().to_string();
        let status = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady",
            "lastHeartbeatTime": now, "lastTransitionTime": now}]}});
        let patch = Patch::Merge(status);
        self.all::<Node>().patch_status(name, &PatchParams::default(), &patch).await.expect("a status");
    }

    pub(crate) async fn pods(&self) -> Vec<Pod> {
        self.of::<Pod>().list(&ListParams::default()).await.expect("pods").items
    }

    /// Plays a kubelet for one pod.
    pub(crate) async fn report(&self, pod: &Pod, phase: &str, number: usize) {
        let ready = if phase == "Running" { "True" } else { "False" };
        let now = jiff::Timestamp::now().to_string();
        let status = json!({"status": {"phase": phase, "podIP": format!("10.42.0.{number}"),
            "podIPs": [{"ip": format!("10.42.0.{number}")}], "startTime": now,
            "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": now}]}});
        let name = pod.metadata.name.as_deref().unwrap();
        // The pod may be gone by now.
        found(self.of::<Pod>().patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await)
            .expect("a status");
    }

    /// Plays the kubelet for all pods: those that are asked to go are ended, those that wait run.
    pub(crate) async fn tend(&self) {
        for (number, pod) in self.pods().await.into_iter().enumerate() {
            let name = pod.metadata.name.as_deref().unwrap();
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            if pod.metadata.deletion_timestamp.is_some() {
                let now =
                    client::kube::api::DeleteParams { grace_period_seconds: Some(0), ..Default::default() };
                drop(self.of::<Pod>().delete(name, &now).await);
            } else if phase.is_none_or(|phase| phase == "Pending") {
                self.report(&pod, "Running", number + 1).await;
            }
        }
    }

    /// Plays the kubelet until a condition holds.
    pub(crate) async fn tend_until<F, Fut>(&self, what: &str, holds: F)
    where
        F: Fn() -> Fut,
        Fut: Future<Output = bool>,
    {
        let looking = async {
            loop {
                self.tend().await;
                if holds().await {
                    return;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(PATIENCE, looking).await.is_err() {
            panic!("in vain awaited: {what}\n{}", self.state().await);
        }
    }

    /// Waits for a condition.
    pub(crate) async fn until<F, Fut>(&self, what: &str, holds: F)
    where
        F: Fn() -> Fut,
        Fut: Future<Output = bool>,
    {
        let looking = async {
            while !holds().await {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(PATIENCE, looking).await.is_err() {
            panic!("in vain awaited: {what}\n{}", self.state().await);
        }
    }

    /// The versions of all objects of a kind: equal where nothing was written in between.
    pub(crate) async fn versions<K>(&self) -> Vec<(Option<String>, Option<String>)>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
    {
        let list = self.of::<K>().list(&ListParams::default()).await.expect("a list");
        let version = |object: &K| (object.meta().name.clone(), object.meta().resource_version.clone());
        list.items.iter().map(version).collect()
    }

    async fn state(&self) -> String {
        let mut text = format!("waiting for {:?}\n", self.api.context.gates().pending());
        for pod in self.pods().await {
            text += &format!("{}\n", serde_json::to_string(&pod).unwrap());
        }
        let events = self.of::<client::k8s_openapi::api::core::v1::Event>();
        for event in events.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default() {
            text += &format!("{:?} {:?}\n", event.reason, event.message);
        }
        text
    }

    /// The reasons and messages of the events about an object.
    pub(crate) async fn events(&self, name: &str) -> Vec<String> {
        let events = self.of::<client::k8s_openapi::api::core::v1::Event>();
        let list = events.list(&ListParams::default()).await.expect("events").items;
        let about = list.into_iter().filter(|event| event.involved_object.name.as_deref() == Some(name));
        about
            .map(|event| {
                format!("{}: {}", event.reason.unwrap_or_default(), event.message.unwrap_or_default())
            })
            .collect()
    }
}

/// The template of a pod with a label and an image.
pub(crate) fn template(app: &str, image: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}},
        "spec": {"containers": [{"name": "c", "image": image, "ports": [{"name": "http", "containerPort": 8080}]}]}})
}
