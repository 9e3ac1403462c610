//! Deployments: replace the pods of one template by those of another, ReplicaSet by ReplicaSet.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use client::event::{Recorder, Severity};
use client::k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use client::k8s_openapi::api::core::v1::Pod;
use client::kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use client::kube::{Api, Client};
use client::object::{controller_of, found, status_code};
use client::{Cache, Change, Key, Next, Queue};
use serde_json::json;

use crate::caches::BY_CONTROLLER;
use crate::pod;
use crate::pod_writer::message;
use crate::scene::{Scene, now, wake_owner, wake_self};
use crate::table::Reconciler;
use crate::{claim, history};

mod plan;
mod revision;
pub(crate) mod rolling;
mod status;
#[cfg(test)]
mod tests;

use plan::Action;

struct State {
    client: Client,
    recorder: Recorder,
    deployments: Cache<Deployment>,
    sets: Cache<ReplicaSet>,
    pods: Cache<Pod>,
}

pub(crate) fn build(scene: &Scene) -> anyhow::Result<Option<Reconciler>> {
    let deployments = scene.caches.of::<Deployment>();
    let (sets, pods) = (scene.caches.of::<ReplicaSet>(), scene.caches.of::<Pod>());
    let queue = Queue::default();
    wake_self(&deployments, &queue);
    let could_adopt = deployments.clone();
    wake_owner(&sets, "Deployment", &queue, move |set: &ReplicaSet| {
        let all = could_adopt.in_namespace(set.metadata.namespace.as_deref().unwrap_or_default());
        let fits = |deployment: &Deployment| {
            let selector = deployment.spec.as_ref().and_then(|spec| claim::selector(&spec.selector));
            selector.is_some_and(|selector| claim::fits(&selector, set))
        };
        all.iter().filter(|deployment| fits(deployment)).map(|deployment| Key::of(&**deployment)).collect()
    });
    // Recreate waits for the last pod of the former template, whose ReplicaSet does not count it any more.
    let (owners, woken) = (sets.clone(), queue.clone());
    pods.subscribe(move |change| {
        let Change::Removed(pod) = change else { return };
        let Some(owner) = controller_of(&pod.metadata).filter(|owner| owner.kind == "ReplicaSet") else {
            return;
        };
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let set = owners.get(&Key::new(namespace, &owner.name));
        if let Some(owner) = set.as_ref().and_then(|set| controller_of(&set.metadata)) {
            woken.add(Key::new(namespace, &owner.name));
        }
    });
    let recorder = scene.recorder("deployment-controller");
    let state = State { client: scene.client.clone(), recorder, deployments, sets, pods };
    Ok(Some(Reconciler::new(queue, state, |state, key| async move { state.reconcile(&key).await })))
}

impl State {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(deployment) = self.deployments.get(key) else { return Ok(Next::Wait) };
        let Some(selector) = deployment.spec.as_ref().and_then(|spec| claim::selector(&spec.selector)) else {
            return Ok(Next::Wait);
        };
        if selector.selects_all() {
            let text = "This deployment is selecting all pods. A non-empty selector is required.";
            self.recorder.about(&*deployment, Severity::Warning, "SelectingAll", text);
            return Ok(Next::Wait);
        }
        let uid = deployment.metadata.uid.as_deref().unwrap_or_default();
        let leaving = deployment.metadata.deletion_timestamp.is_some();
        let candidates = claim::candidates(&self.sets, &*deployment);
        let claims = claim::sort(candidates, uid, leaving, &selector);
        let sets = claim::settle(&self.client, &*deployment, claims, None).await?;
        let plan = plan::plan(&deployment, &sets, &self.occupied(&sets), now());
        let mut deployment = Deployment::clone(&deployment);
        for action in plan.actions {
            if let Action::Revision(number) = action {
                deployment = self.number(deployment, &number).await?;
            } else {
                self.act(&deployment, action).await?;
            }
        }
        self.write_status(&deployment, plan.status).await?;
        Ok(plan.next.map_or(Next::Wait, Next::After))
    }

    /// The uids of the ReplicaSets of which a pod still runs.
    fn occupied(&self, sets: &[Arc<ReplicaSet>]) -> BTreeSet<String> {
        let uids = sets.iter().filter_map(|set| set.metadata.uid.clone());
        uids.filter(|uid| self.pods.by(BY_CONTROLLER, uid).iter().any(|pod| !pod::is_finished(pod))).collect()
    }

    fn sets_api(&self, deployment: &Deployment) -> Api<ReplicaSet> {
        Api::namespaced(self.client.clone(), deployment.metadata.namespace.as_deref().unwrap_or_default())
    }

    async fn act(&self, deployment: &Deployment, action: Action) -> anyhow::Result<()> {
        match action {
            Action::Create(set) => self.create(deployment, &set).await,
            Action::Scale { set, to } => self.scale(deployment, &set, to).await,
            Action::Annotate { set, annotations, min_ready } => {
                let patch =
                    json!({"metadata": {"annotations": annotations}, "spec": {"minReadySeconds": min_ready}});
                let name = set.metadata.name.as_deref().unwrap_or_default();
                let patched = self
                    .sets_api(deployment)
                    .patch(name, &PatchParams::default(), &Patch::Merge(patch))
                    .await;
                patched.map(drop).with_context(|| format!("could not annotate ReplicaSet {name}"))
            }
            Action::Delete(set) => {
                let name = set.metadata.name.as_deref().unwrap_or_default();
                let only_this = Preconditions { uid: set.metadata.uid.clone(), resource_version: None };
                let params = DeleteParams { preconditions: Some(only_this), ..DeleteParams::background() };
                found(self.sets_api(deployment).delete(name, &params).await)
                    .map(drop)
                    .with_context(|| format!("could not remove the former ReplicaSet {name}"))
            }
            Action::Revision(number) => self.number(deployment.clone(), &number).await.map(drop),
        }
    }

    /// Writes the revision on the Deployment and returns it as it then is, its status as it was.
    async fn number(&self, deployment: Deployment, number: &str) -> anyhow::Result<Deployment> {
        let patch = json!({"metadata": {"annotations": {revision::REVISION: number}}});
        let name = deployment.metadata.name.as_deref().unwrap_or_default();
        let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        let patched = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        let patched = patched.context("could not write the revision")?;
        Ok(Deployment { status: deployment.status, ..patched })
    }

    async fn create(&self, deployment: &Deployment, set: &ReplicaSet) -> anyhow::Result<()> {
        let name = set.metadata.name.as_deref().unwrap_or_default();
        match self.sets_api(deployment).create(&PostParams::default(), set).await {
            Ok(_) => {
                let replicas = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
                if replicas > 0 {
                    self.tell_scaled(deployment, name, 0, replicas);
                }
                Ok(())
            }
            Err(error) if status_code(&error) == Some(409) => self.collided(deployment, set).await,
            Err(error) => {
                let text = message(&error);
                let claim = status::Claim::create_failed(name, &text);
                let mut said = deployment.status.clone().unwrap_or_default();
                status::put(said.conditions.get_or_insert_default(), claim, now());
                let event = format!("Failed to create new replica set {name:?}: {text}");
                self.recorder.about(deployment, Severity::Warning, "ReplicaSetCreateError", event);
                self.write_status(deployment, said).await?;
                Err(error).with_context(|| format!("could not create ReplicaSet {name}"))
            }
        }
    }

    /// A ReplicaSet of this name exists. Either the cache is behind and it is ours, or two templates have one
    /// hash: then the hash is salted with the number of collisions.
    async fn collided(&self, deployment: &Deployment, set: &ReplicaSet) -> anyhow::Result<()> {
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let live =
            self.sets_api(deployment).get(name).await.context("could not read the colliding ReplicaSet")?;
        let template = |set: &ReplicaSet| set.spec.as_ref().and_then(|spec| spec.template.clone());
        let ours = controller_of(&live.metadata).map(|owner| &owner.uid) == deployment.metadata.uid.as_ref();
        let same = match (template(&live), template(set)) {
            (Some(a), Some(b)) => history::equal(&a, &b),
            _ => false,
        };
        if ours && same {
            return Ok(());
        }
        let mut said = deployment.status.clone().unwrap_or_default();
        said.collision_count = Some(said.collision_count.unwrap_or(0) + 1);
        self.write_status(deployment, said).await?;
        bail!("ReplicaSet {name} exists already and is another's; trying another hash")
    }

    async fn scale(&self, deployment: &Deployment, set: &ReplicaSet, to: i32) -> anyhow::Result<()> {
        let bounds = rolling::Bounds::of(deployment);
        let from = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let annotations: std::collections::BTreeMap<_, _> =
            revision::sizes(bounds.desired, bounds.maximum()).into();
        // The version holds the decision to what it was made from: a stale cache must not shrink too much.
        let version = &set.metadata.resource_version;
        let patch = json!({"metadata": {"annotations": annotations, "resourceVersion": version},
            "spec": {"replicas": to}});
        let name = set.metadata.name.as_deref().unwrap_or_default();
        self.sets_api(deployment)
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .with_context(|| format!("could not scale ReplicaSet {name}"))?;
        if from != to {
            self.tell_scaled(deployment, name, from, to);
        }
        Ok(())
    }

    fn tell_scaled(&self, deployment: &Deployment, name: &str, from: i32, to: i32) {
        let way = if to > from { "up" } else { "down" };
        let text = format!("Scaled {way} replica set {name} from {from} to {to}");
        self.recorder.about(deployment, Severity::Normal, "ScalingReplicaSet", text);
    }

    async fn write_status(&self, deployment: &Deployment, status: DeploymentStatus) -> anyhow::Result<()> {
        if deployment.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        let name = deployment.metadata.name.as_deref().unwrap_or_default();
        let mut changed = deployment.clone();
        changed.status = Some(status);
        found(api.replace_status(name, &PostParams::default(), &changed).await)
            .map(drop)
            .context("could not write the status")
    }
}
