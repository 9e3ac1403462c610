//! EndpointSlices: which pods stand behind each service.

use std::sync::Arc;

use anyhow::Context as _;
use client::event::{Recorder, Severity};
use client::k8s_openapi::api::core::v1::{Node, Pod, Service};
use client::k8s_openapi::api::discovery::v1::EndpointSlice;
use client::kube::api::{DeleteParams, PostParams};
use client::kube::{Api, Client};
use client::object::{controller_of, found, is_namespace_terminating};
use client::{Cache, Change, Key, Next, Queue};

use crate::caches::BY_CONTROLLER;
use crate::expectation::Expectations;
use crate::pod::label;
use crate::scene::{Scene, wake_self};
use crate::table::Reconciler;

pub(crate) mod member;
mod plan;
#[cfg(test)]
mod tests;

struct State {
    client: Client,
    recorder: Recorder,
    services: Cache<Service>,
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    slices: Cache<EndpointSlice>,
    expectations: Arc<Expectations>,
}

pub(crate) fn build(scene: &Scene) -> anyhow::Result<Option<Reconciler>> {
    let (services, pods) = (scene.caches.of::<Service>(), scene.caches.of::<Pod>());
    let (nodes, slices) = (scene.caches.of::<Node>(), scene.caches.of::<EndpointSlice>());
    scene.expectations.observe(&slices);
    let queue = Queue::default();
    wake_self(&services, &queue);
    wake_services(&services, &pods, &queue);
    let woken = queue.clone();
    slices.subscribe(move |change| {
        let meta = &change.object().metadata;
        if label(meta, plan::MANAGED_BY) == Some(plan::MANAGER)
            && let Some(service) = label(meta, plan::SERVICE)
        {
            woken.add(Key::new(meta.namespace.as_deref().unwrap_or_default(), service));
        }
    });
    let (woken, all) = (queue.clone(), services.clone());
    nodes.subscribe(move |change| {
        let zone = |node: &Node| label(&node.metadata, plan::ZONE).map(str::to_owned);
        let moved = match &change {
            Change::Added(node) => zone(node).is_some(),
            Change::Changed { old, new } => zone(old) != zone(new),
            Change::Removed(_) => false,
        };
        if moved {
            for service in all.list() {
                woken.add(Key::of(&*service));
            }
        }
    });
    let state = State {
        client: scene.client.clone(),
        recorder: scene.recorder("endpoint-slice-controller"),
        services,
        pods,
        nodes,
        slices,
        expectations: Arc::clone(&scene.expectations),
    };
    Ok(Some(Reconciler::new(queue, state, |state, key| async move { state.reconcile(&key).await })))
}

/// Queues the services that select a pod, or selected it before it changed.
pub(crate) fn wake_services(services: &Cache<Service>, pods: &Cache<Pod>, queue: &Queue<Key>) {
    let (services, woken) = (services.clone(), queue.clone());
    pods.subscribe(move |change| {
        let new = change.object();
        let old = match &change {
            Change::Changed { old, .. } => Some(*old),
            _ => None,
        };
        let same = old.is_some_and(|old| {
            old.metadata.labels == new.metadata.labels
                && old.metadata.deletion_timestamp == new.metadata.deletion_timestamp
                && old.status == new.status
                && old.spec == new.spec
        });
        if same {
            return;
        }
        for service in services.in_namespace(new.metadata.namespace.as_deref().unwrap_or_default()) {
            let selected = |pod: &Arc<Pod>| member::selects(&service, pod);
            if member::is_ours(&service) && (selected(new) || old.is_some_and(selected)) {
                woken.add(Key::of(&*service));
            }
        }
    });
}

impl State {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(service) = self.services.get(key).filter(|service| member::is_ours(service)) else {
            return Ok(Next::Wait);
        };
        let uid = service.metadata.uid.as_deref().unwrap_or_default();
        // A service on its way out takes its slices with it: they are owned by it.
        if service.metadata.deletion_timestamp.is_some() || !self.expectations.met(uid) {
            return Ok(Next::Wait);
        }
        let mut pods = self.pods.in_namespace(&key.namespace);
        pods.retain(|pod| member::selects(&service, pod));
        let mut slices = self.slices.by(BY_CONTROLLER, uid);
        slices.retain(|slice| slice.metadata.deletion_timestamp.is_none() && self.is_managed(slice, key));
        let plan = plan::plan(&service, &pods, |name| self.nodes.get(&Key::cluster(name)), &slices);
        let outcome = self.carry_out(key, uid, plan).await;
        if let Err(error) = &outcome {
            let text = format!("Error updating Endpoint Slices for Service {key}: {error:#}");
            self.recorder.about(&*service, Severity::Warning, "FailedToUpdateEndpointSlices", text);
        }
        outcome.map(|()| Next::Wait)
    }

    fn is_managed(&self, slice: &EndpointSlice, service: &Key) -> bool {
        label(&slice.metadata, plan::MANAGED_BY) == Some(plan::MANAGER)
            && label(&slice.metadata, plan::SERVICE) == Some(&service.name)
            && controller_of(&slice.metadata).is_some_and(|owner| owner.kind == "Service")
    }

    async fn carry_out(&self, key: &Key, uid: &str, plan: plan::Plan) -> anyhow::Result<()> {
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &key.namespace);
        for slice in plan.create {
            self.expectations.expect_creations(uid, 1);
            if let Err(error) = api.create(&PostParams::default(), &slice).await {
                self.expectations.creation_ended(uid);
                if is_namespace_terminating(&error) {
                    return Ok(());
                }
                return Err(error).context("could not create an EndpointSlice");
            }
        }
        for slice in plan.update {
            let name = slice.metadata.name.as_deref().unwrap_or_default();
            let replaced = api.replace(name, &PostParams::default(), &slice).await;
            found(replaced).with_context(|| format!("could not update EndpointSlice {name}"))?;
        }
        for slice in plan.delete {
            let name = slice.metadata.name.as_deref().unwrap_or_default();
            let deleted = api.delete(name, &DeleteParams::default()).await;
            found(deleted).with_context(|| format!("could not delete EndpointSlice {name}"))?;
        }
        Ok(())
    }
}
