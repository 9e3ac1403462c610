//! Jobs: pods that run to their end, a given number of times.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;
use client::event::{Recorder, Severity};
use client::k8s_openapi::api::batch::v1::{Job, JobStatus};
use client::k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Pod};
use client::kube::api::{Patch, PatchParams, PostParams};
use client::kube::{Api, Client};
use client::object::{controller_of, controller_ref, found};
use client::{Cache, Key, Next, Queue};
use futures::future::join_all;
use parking_lot::Mutex;
use serde_json::json;

use crate::claim;
use crate::expectation::Expectations;
use crate::pod;
use crate::pod_writer::PodWriter;
use crate::scene::{Scene, now, wake_owner, wake_self};
use crate::table::Reconciler;

mod index;
pub(crate) mod plan;
mod policy;
#[cfg(test)]
mod tests;

use plan::{FINALIZER, INDEX};

struct State {
    client: Client,
    recorder: Recorder,
    jobs: Cache<Job>,
    pods: Cache<Pod>,
    expectations: Arc<Expectations>,
    writer: PodWriter,
    /// The version of each running Job that was last written here. An older one in the cache must not be decided
    /// on: what it does not count yet would be done again. Versions grow over all objects, so that one of a
    /// former Job of the same name does no harm.
    written: Mutex<HashMap<Key, u64>>,
}

pub(crate) fn build(scene: &Scene) -> anyhow::Result<Option<Reconciler>> {
    let (jobs, pods) = (scene.caches.of::<Job>(), scene.caches.of::<Pod>());
    let queue = Queue::default();
    wake_self(&jobs, &queue);
    let could_adopt = jobs.clone();
    wake_owner(&pods, "Job", &queue, move |pod: &Pod| {
        let all = could_adopt.in_namespace(pod.metadata.namespace.as_deref().unwrap_or_default());
        let fits = |job: &Job| selector(job).is_some_and(|selector| claim::fits(&selector, pod));
        all.iter().filter(|job| fits(job)).map(|job| Key::of(&**job)).collect()
    });
    let recorder = scene.recorder("job-controller");
    let expectations = Arc::clone(&scene.expectations);
    let state = State {
        client: scene.client.clone(),
        writer: PodWriter::new(scene.client.clone(), recorder.clone(), Arc::clone(&expectations)),
        recorder,
        jobs,
        pods,
        expectations,
        written: Mutex::default(),
    };
    Ok(Some(Reconciler::new(queue, state, |state, key| async move { state.reconcile(&key).await })))
}

fn selector(job: &Job) -> Option<client::kube::core::Selector> {
    claim::selector(job.spec.as_ref()?.selector.as_ref()?)
}

fn version(job: &Job) -> Option<u64> {
    job.metadata.resource_version.as_ref()?.parse().ok()
}

impl State {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let job = self.jobs.get(key);
        self.release_strangers(key, job.as_deref()).await?;
        let Some(job) = job else {
            self.written.lock().remove(key);
            return Ok(Next::Wait);
        };
        let foreign = job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref());
        if foreign.is_some_and(|name| name != "kubernetes.io/job-controller") {
            return Ok(Next::Wait);
        }
        let uid = job.metadata.uid.as_deref().unwrap_or_default();
        let behind = self.written.lock().get(key).copied() > version(&job);
        let Some(selector) = selector(&job).filter(|_| !behind) else { return Ok(Next::Wait) };
        let settled = self.expectations.met(uid);
        let leaving = job.metadata.deletion_timestamp.is_some();
        let claims = claim::sort(claim::candidates(&self.pods, &*job), uid, leaving, &selector);
        let pods = claim::settle(&self.client, &*job, claims, Some(FINALIZER)).await?;
        let plan = plan::plan(&job, &pods, settled, now());
        // What is counted must be written before the pods that prove it may go.
        self.write_status(&job, plan.status).await?;
        for news in plan.news {
            let severity = if news.warning { Severity::Warning } else { Severity::Normal };
            self.recorder.about(&*job, severity, &news.reason, news.message);
        }
        let released: anyhow::Result<()> =
            join_all(plan.release.iter().map(|pod| self.release(pod))).await.into_iter().collect();
        released?;
        self.writer.delete(&*job, &plan.stop).await?;
        let start = plan.start.into_iter().map(|index| new_pod(&job, index)).collect();
        self.writer.create(&*job, start).await?;
        Ok(plan.next.map_or(Next::Wait, Next::After))
    }

    /// Pods of a Job that is gone have nobody who counts them; nothing may keep them.
    async fn release_strangers(&self, key: &Key, job: Option<&Job>) -> anyhow::Result<()> {
        let uid = job.and_then(|job| job.metadata.uid.as_ref());
        for pod in self.pods.in_namespace(&key.namespace) {
            let owner = controller_of(&pod.metadata);
            let fits =
                |name: &str, owned_by: &str| *name == *key.name && Some(owned_by) != uid.map(String::as_str);
            if owner.is_some_and(|owner| owner.kind == "Job" && fits(&owner.name, &owner.uid)) {
                self.release(&pod).await?;
            }
        }
        Ok(())
    }

    async fn release(&self, pod: &Pod) -> anyhow::Result<()> {
        if !plan::has_finalizer(pod) {
            return Ok(());
        }
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let patch = json!({"metadata": {"uid": pod.metadata.uid, "$deleteFromPrimitiveList/finalizers": [FINALIZER]}});
        found(api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await)
            .map(drop)
            .with_context(|| format!("could not remove the finalizer of pod {name}"))
    }

    async fn write_status(&self, job: &Job, status: JobStatus) -> anyhow::Result<()> {
        let over = plan::is_finished(job);
        if over || job.status.as_ref() == Some(&status) {
            if over {
                self.written.lock().remove(&Key::of(job));
            }
            return Ok(());
        }
        let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<Job> = Api::namespaced(self.client.clone(), namespace);
        let changed = Job { status: Some(status), ..job.clone() };
        let name = job.metadata.name.as_deref().unwrap_or_default();
        let written = found(api.replace_status(name, &PostParams::default(), &changed).await);
        let key = Key::of(job);
        match written.context("could not write the status")?.as_ref().and_then(version) {
            Some(version) => self.written.lock().insert(key, version),
            None => self.written.lock().remove(&key),
        };
        Ok(())
    }
}

/// A pod of the Job; of an Indexed Job with its index in name, label, annotation and environment.
fn new_pod(job: &Job, index: Option<i32>) -> Pod {
    let template = job.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
    let mut pod = pod::from_template(&template, namespace, controller_ref(job));
    pod.metadata.finalizers.get_or_insert_default().push(FINALIZER.to_owned());
    let Some(index) = index else { return pod };
    let name = job.metadata.name.as_deref().unwrap_or_default();
    pod.metadata.generate_name = Some(format!("{name}-{index}-"));
    pod.metadata.annotations.get_or_insert_default().insert(INDEX.to_owned(), index.to_string());
    pod.metadata.labels.get_or_insert_default().insert(INDEX.to_owned(), index.to_string());
    if let Some(spec) = pod.spec.as_mut() {
        spec.hostname = Some(format!("{name}-{index}"));
        let path = format!("metadata.labels['{INDEX}']");
        for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
            let environment = container.env.get_or_insert_default();
            if environment.iter().any(|variable| variable.name == "JOB_COMPLETION_INDEX") {
                continue;
            }
            let field = ObjectFieldSelector { api_version: Some("v1".to_owned()), field_path: path.clone() };
            environment.push(EnvVar {
                name: "JOB_COMPLETION_INDEX".to_owned(),
                value: None,
                value_from: Some(EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() }),
            });
        }
    }
    pod
}
