//! Removes requests that have served their purpose, or that nobody decided on for a day.

use anyhow::Context as _;
use client::k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use client::kube::api::DeleteParams;
use client::kube::{Api, Client};
use client::object::found;
use client::{Cache, Key, Next, Queue};

use super::{plan, signer};
use crate::scene::{Scene, now, wake_self};
use crate::table::Reconciler;

struct State {
    client: Client,
    requests: Cache<CertificateSigningRequest>,
}

pub(crate) fn build(scene: &Scene) -> anyhow::Result<Option<Reconciler>> {
    let requests = scene.caches.of::<CertificateSigningRequest>();
    let queue = Queue::default();
    wake_self(&requests, &queue);
    let state = State { client: scene.client.clone(), requests };
    Ok(Some(Reconciler::new(queue, state, |state, key| async move { state.reconcile(&key).await })))
}

impl State {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(request) = self.requests.get(key) else { return Ok(Next::Wait) };
        let issued = request.status.as_ref().and_then(|status| status.certificate.as_ref());
        let expires = issued.and_then(|certificate| signer::expiry(&certificate.0));
        let left = plan::left(&request, expires, now());
        if !left.is_zero() {
            return Ok(Next::After(left));
        }
        let api: Api<CertificateSigningRequest> = Api::all(self.client.clone());
        found(api.delete(&key.name, &DeleteParams::default()).await)
            .map(|_| Next::Wait)
            .context("could not remove an old request")
    }
}
