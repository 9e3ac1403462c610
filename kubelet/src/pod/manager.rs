//! Gives each pod of the sources its worker, tells workers what is wanted, and ends what no source wants.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use client::k8s_openapi::api::core::v1::Pod;
use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use client::{Cache, Change, Queue};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::worker::{Desired, Worker};
use super::{is_mirror, name, uid};
use crate::agent::Agent;
use crate::source::file::Manifests;

/// The index of the API's pods by uid.
const BY_UID: &str = "uid";

/// The pods that this node shall run, from all sources.
#[derive(Debug, Clone)]
pub struct Sources {
    pub api: Cache<Pod>,
    pub files: Manifests,
}

impl Sources {
    /// The pod with this uid, unless it is only a picture of one.
    pub fn find(&self, uid: &str) -> Option<Arc<Pod>> {
        let from_api = || self.api.by(BY_UID, uid).into_iter().find(|pod| !is_mirror(pod));
        self.files.get(uid).or_else(from_api)
    }

    /// All pods that shall run.
    pub fn all(&self) -> Vec<Arc<Pod>> {
        let api = self.api.list().into_iter().filter(|pod| !is_mirror(pod));
        self.files.list().into_iter().chain(api).collect()
    }

    /// The pod by name, a static one by the name of its picture.
    pub fn named(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let files = self.files.list().into_iter();
        let mut own = files.filter(|pod| super::namespace(pod) == namespace && super::name(pod) == name);
        own.next().or_else(|| self.api.get(&client::Key::new(namespace, name)))
    }
}

/// Feeds a queue with the uids of pods that may need something.
pub fn feed(sources: &Sources, queue: &Queue<Arc<str>>) {
    sources.api.index(BY_UID, |pod| pod.metadata.uid.clone().into_iter().collect());
    let changes = queue.clone();
    sources.api.subscribe(move |change| {
        if let Change::Changed { old, new } = &change
            && old.metadata.uid != new.metadata.uid
        {
            changes.add(uid(old));
        }
        let pod = change.object();
        // News of a picture concerns the static pod behind it.
        let pictured = super::annotation(pod, super::MIRROR).map(Arc::from);
        changes.add(pictured.unwrap_or_else(|| uid(pod)));
    });
}

/// The workers, by pod uid.
#[derive(Debug)]
pub struct Manager {
    agent: Arc<Agent>,
    sources: Sources,
    queue: Queue<Arc<str>>,
    workers: HashMap<Arc<str>, watch::Sender<Desired>>,
    ended: Arc<Mutex<BTreeSet<Arc<str>>>>,
}

impl Manager {
    pub fn new(agent: Arc<Agent>, sources: Sources, queue: Queue<Arc<str>>) -> Self {
        Self { agent, sources, queue, workers: HashMap::new(), ended: Arc::default() }
    }

    /// Serves the queue for ever. The sources must have been heard once, or everything would look unwanted.
    pub async fn run(mut self) -> anyhow::Result<()> {
        self.adopt().await;
        for pod in self.sources.all() {
            self.queue.add(uid(&pod));
        }
        loop {
            let uid = self.queue.next().await;
            self.settle(&uid);
            self.queue.done(&uid);
        }
    }

    fn settle(&mut self, uid: &Arc<str>) {
        if self.ended.lock().remove(uid) {
            self.workers.remove(uid);
            self.agent.bells.take_down(uid);
            self.agent.reports.forget(uid);
        }
        match (self.sources.find(uid), self.workers.get(uid)) {
            (Some(pod), Some(worker)) => {
                worker.send_replace(Desired::Present(pod));
            }
            (Some(pod), None) => self.hire(uid, Desired::Present(pod)),
            (None, Some(worker)) => {
                let pod = Arc::clone(worker.borrow().pod());
                worker.send_replace(Desired::Gone(pod));
            }
            (None, None) => {}
        }
    }

    fn hire(&mut self, uid: &Arc<str>, desired: Desired) {
        let bell = self.agent.bells.hang(uid);
        let (wish, desired) = watch::channel(desired);
        let worker = Worker::new(Arc::clone(&self.agent), bell, desired);
        let leaving =
            Leaving { uid: Arc::clone(uid), ended: Arc::clone(&self.ended), queue: self.queue.clone() };
        self.agent.context.spawn_isolated("pod", async move {
            let _leaving = leaving;
            worker.run().await
        });
        self.workers.insert(Arc::clone(uid), wish);
    }

    /// Finds the pods that the runtime, or the disk, still has and no source wants any more, and ends them.
    async fn adopt(&mut self) {
        let mut orphans: BTreeMap<Arc<str>, Pod> = BTreeMap::new();
        match self.agent.runtime.sandboxes(None).await {
            Ok(sandboxes) => {
                for sandbox in sandboxes {
                    let metadata = sandbox.metadata.unwrap_or_default();
                    let uid: Arc<str> = metadata.uid.as_str().into();
                    if !sandbox.labels.contains_key(name::POD_UID) || self.sources.find(&uid).is_some() {
                        continue;
                    }
                    orphans.insert(uid, nameless(&metadata.uid, metadata.name, metadata.namespace));
                }
            }
            Err(failure) => tracing::warn!("could not ask the runtime for pods of earlier days: {failure}"),
        }
        let folders = std::fs::read_dir(self.agent.layout.pods()).into_iter().flatten().flatten();
        for folder in folders {
            let Ok(uid) = folder.file_name().into_string() else { continue };
            if self.sources.find(&uid).is_none() {
                orphans
                    .entry(uid.as_str().into())
                    .or_insert_with(|| nameless(&uid, String::new(), String::new()));
            }
        }
        // `<namespace>_<name>_<uid>`, none of which has an underscore.
        let logs = std::fs::read_dir(&self.agent.layout.logs).into_iter().flatten().flatten();
        for folder in logs.filter_map(|folder| folder.file_name().into_string().ok()) {
            if let [namespace, name, uid] = folder.split('_').collect::<Vec<_>>()[..]
                && self.sources.find(uid).is_none()
            {
                orphans.insert(uid.into(), nameless(uid, name.to_owned(), namespace.to_owned()));
            }
        }
        for (uid, pod) in orphans {
            tracing::info!(%uid, pod = pod.metadata.name, "ending a pod that is no longer wanted");
            self.hire(&uid, Desired::Gone(Arc::new(pod)));
        }
    }
}

/// A pod of which only its names are known.
fn nameless(uid: &str, name: String, namespace: String) -> Pod {
    let metadata = ObjectMeta {
        uid: Some(uid.to_owned()),
        name: Some(name),
        namespace: Some(namespace),
        ..ObjectMeta::default()
    };
    Pod { metadata, ..Pod::default() }
}

/// Tells the manager that a worker is gone, also when it panics.
struct Leaving {
    uid: Arc<str>,
    ended: Arc<Mutex<BTreeSet<Arc<str>>>>,
    queue: Queue<Arc<str>>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.ended.lock().insert(Arc::clone(&self.uid));
        self.queue.add(Arc::clone(&self.uid));
    }
}
