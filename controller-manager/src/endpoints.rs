//! Endpoints: the older form of EndpointSlices, for those who still read it.

use anyhow::Context as _;
use client::event::{Recorder, Severity};
use client::k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use client::kube::api::{DeleteParams, PostParams};
use client::kube::{Api, Client};
use client::object::{found, is_namespace_terminating};
use client::{Cache, Key, Next, Queue};

use crate::endpointslice::{member, wake_services};
use crate::pod::label;
use crate::scene::{Scene, wake_self};
use crate::table::Reconciler;

mod plan;

struct State {
    client: Client,
    recorder: Recorder,
    services: Cache<Service>,
    pods: Cache<Pod>,
    endpoints: Cache<Endpoints>,
}

pub(crate) fn build(scene: &Scene) -> anyhow::Result<Option<Reconciler>> {
    let (services, pods) = (scene.caches.of::<Service>(), scene.caches.of::<Pod>());
    let endpoints = scene.caches.of::<Endpoints>();
    let queue = Queue::default();
    wake_self(&services, &queue);
    wake_self(&endpoints, &queue);
    wake_services(&services, &pods, &queue);
    let recorder = scene.recorder("endpoint-controller");
    let state = State { client: scene.client.clone(), recorder, services, pods, endpoints };
    Ok(Some(Reconciler::new(queue, state, |state, key| async move { state.reconcile(&key).await })))
}

impl State {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let api: Api<Endpoints> = Api::namespaced(self.client.clone(), &key.namespace);
        let old = self.endpoints.get(key);
        let Some(service) = self.services.get(key) else {
            // Only what was made here is removed; others may keep endpoints without a service.
            if old.is_some_and(|old| label(&old.metadata, plan::MANAGED_BY) == Some(plan::MANAGER)) {
                let deleted = found(api.delete(&key.name, &DeleteParams::default()).await);
                deleted.context("could not delete the Endpoints of a service that is gone")?;
            }
            return Ok(Next::Wait);
        };
        if !member::is_ours(&service) || service.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Wait);
        }
        let mut pods = self.pods.in_namespace(&key.namespace);
        pods.retain(|pod| member::selects(&service, pod));
        let Some(wanted) = plan::plan(&service, &pods, old.as_deref()) else { return Ok(Next::Wait) };
        let (written, doing) = match old {
            Some(_) => (api.replace(&key.name, &PostParams::default(), &wanted).await, "update"),
            None => (api.create(&PostParams::default(), &wanted).await, "create"),
        };
        if written.as_ref().is_err_and(is_namespace_terminating) {
            return Ok(Next::Wait);
        }
        if let Err(error) = &written
            && client::object::status_code(error) != Some(409)
        {
            let (reason, text) = if doing == "create" {
                ("FailedToCreateEndpoint", "Failed to create endpoint for service")
            } else {
                ("FailedToUpdateEndpoint", "Failed to update endpoint")
            };
            self.recorder.about(&wanted, Severity::Warning, reason, format!("{text} {key}: {error}"));
        }
        written.map(|_| Next::Wait).with_context(|| format!("could not {doing} the Endpoints"))
    }
}
