//! ReplicaSets: as many pods of one template as asked for.

use std::sync::Arc;

use anyhow::Context as _;
use client::k8s_openapi::api::apps::v1::ReplicaSet;
use client::k8s_openapi::api::core::v1::Pod;
use client::kube::api::PostParams;
use client::kube::{Api, Client};
use client::object::{controller_of, controller_ref, status_code};
use client::{Cache, Key, Next, Queue};

use crate::caches::BY_CONTROLLER;
use crate::claim;
use crate::expectation::Expectations;
use crate::pod;
use crate::pod_writer::PodWriter;
use crate::scene::{Scene, now, wake_owner, wake_self};
use crate::table::Reconciler;

mod plan;
mod rank;
#[cfg(test)]
mod tests;

use plan::Failure;

struct State {
    client: Client,
    sets: Cache<ReplicaSet>,
    pods: Cache<Pod>,
    expectations: Arc<Expectations>,
    writer: PodWriter,
}

pub(crate) fn build(scene: &Scene) -> anyhow::Result<Option<Reconciler>> {
    let (sets, pods) = (scene.caches.of::<ReplicaSet>(), scene.caches.of::<Pod>());
    let queue = Queue::default();
    wake_self(&sets, &queue);
    let could_adopt = sets.clone();
    wake_owner(&pods, "ReplicaSet", &queue, move |pod: &Pod| {
        let sets = could_adopt.in_namespace(pod.metadata.namespace.as_deref().unwrap_or_default());
        let fits = |set: &ReplicaSet| {
            let selector = set.spec.as_ref().and_then(|spec| claim::selector(&spec.selector));
            selector.is_some_and(|selector| claim::fits(&selector, pod))
        };
        sets.iter().filter(|set| fits(set)).map(|set| Key::of(&**set)).collect()
    });
    let recorder = scene.recorder("replicaset-controller");
    let state = State {
        client: scene.client.clone(),
        sets,
        pods,
        expectations: Arc::clone(&scene.expectations),
        writer: PodWriter::new(scene.client.clone(), recorder, Arc::clone(&scene.expectations)),
    };
    Ok(Some(Reconciler::new(queue, state, |state, key| async move { state.reconcile(&key).await })))
}

impl State {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(set) = self.sets.get(key) else { return Ok(Next::Wait) };
        let uid = set.metadata.uid.as_deref().unwrap_or_default();
        let settled = self.expectations.met(uid);
        let Some(selector) = set.spec.as_ref().and_then(|spec| claim::selector(&spec.selector)) else {
            return Ok(Next::Wait);
        };
        let leaving = set.metadata.deletion_timestamp.is_some();
        let mut candidates = claim::candidates(&self.pods, &*set);
        candidates.retain(|pod| !pod::is_finished(pod));
        let claims = claim::sort(candidates, uid, leaving, &selector);
        let pods = claim::settle(&self.client, &*set, claims, None).await?;
        let mut failure = None;
        if settled && !leaving {
            failure = self.scale(&set, &pods).await.err();
        }
        let reason = failure.as_ref().map(|(kind, error)| (*kind, format!("{error:#}")));
        let (status, next) = plan::status(&set, &pods, reason, now());
        self.write_status(&set, status).await?;
        match failure {
            Some((_, error)) => Err(error),
            None => Ok(next.map_or(Next::Wait, Next::After)),
        }
    }

    async fn scale(&self, set: &ReplicaSet, pods: &[Arc<Pod>]) -> Result<(), (Failure, anyhow::Error)> {
        let active: Vec<_> = pods.iter().filter(|pod| pod::is_active(pod)).cloned().collect();
        match plan::scale(set, active.len()) {
            plan::Scale::Enough => Ok(()),
            plan::Scale::Create(count) => {
                let template = set.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default();
                let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
                let pod = pod::from_template(&template, namespace, controller_ref(set));
                self.writer.create(set, vec![pod; count]).await.map_err(|error| (Failure::Create, error))
            }
            plan::Scale::Delete(count) => {
                let victims = rank::first_to_go(active, &self.related(set), count, now());
                self.writer.delete(set, &victims).await.map_err(|error| (Failure::Delete, error))
            }
        }
    }

    /// The active pods of all sets of the same Deployment: a node that has several of them can spare one.
    fn related(&self, set: &ReplicaSet) -> Vec<Arc<Pod>> {
        let owner = controller_of(&set.metadata).map(|owner| owner.uid.clone());
        let mut sets = owner.map_or_else(Vec::new, |owner| self.sets.by(BY_CONTROLLER, &owner));
        if sets.is_empty() {
            sets.push(Arc::new(set.clone()));
        }
        let pods_of = |set: &Arc<ReplicaSet>| {
            self.pods.by(BY_CONTROLLER, set.metadata.uid.as_deref().unwrap_or_default())
        };
        sets.iter().flat_map(pods_of).filter(|pod| pod::is_active(pod)).collect()
    }

    async fn write_status(
        &self,
        set: &ReplicaSet,
        status: client::k8s_openapi::api::apps::v1::ReplicaSetStatus,
    ) -> anyhow::Result<()> {
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let (namespace, name) = (set.metadata.namespace.as_deref(), set.metadata.name.as_deref());
        let api: Api<ReplicaSet> = Api::namespaced(self.client.clone(), namespace.unwrap_or_default());
        let changed = ReplicaSet { status: Some(status), ..set.clone() };
        match api.replace_status(name.unwrap_or_default(), &PostParams::default(), &changed).await {
            Ok(_) => Ok(()),
            Err(error) if status_code(&error) == Some(404) => Ok(()),
            Err(error) => Err(error).context("could not write the status"),
        }
    }
}
