//! Approves kubelets' requests for the certificates by which they are clients, where they may ask for them.

use anyhow::Context as _;
use client::k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use client::k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition,
};
use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use client::kube::api::PostParams;
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

/// Who may ask: the permission to look for, and what the approval then says.
struct Recognizer {
    subresource: &'static str,
    message: &'static str,
    /// Whether the request must come from the node that the certificate is for.
    own: bool,
}

const RECOGNIZERS: &[Recognizer] = &[
    Recognizer {
        subresource: "selfnodeclient",
        message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
        own: true,
    },
    Recognizer {
        subresource: "nodeclient",
        message: "Auto approving kubelet client certificate after SubjectAccessReview.",
        own: false,
    },
];

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
        let decided = plan::is(&request, "Approved") || plan::is(&request, "Denied");
        if decided || plan::is_issued(&request) || request.spec.signer_name != plan::KUBELET_CLIENT {
            return Ok(Next::Wait);
        }
        // What cannot be read is for a person to decide on.
        let Ok(wish) = signer::wish(&request.spec.request.0) else { return Ok(Next::Wait) };
        let usages = request.spec.usages.clone().unwrap_or_default();
        if plan::check_kubelet_client(&wish, &usages).is_err() {
            return Ok(Next::Wait);
        }
        for recognizer in RECOGNIZERS {
            let own = request.spec.username.as_deref() == Some(&wish.name);
            if recognizer.own && !own || !self.may(&request, recognizer.subresource).await? {
                continue;
            }
            return self.approve(key, &request, recognizer.message).await;
        }
        Ok(Next::Wait)
    }

    async fn may(&self, request: &CertificateSigningRequest, subresource: &str) -> anyhow::Result<bool> {
        let spec = &request.spec;
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: spec.username.clone(),
                uid: spec.uid.clone(),
                groups: spec.groups.clone(),
                extra: spec.extra.clone(),
                resource_attributes: Some(ResourceAttributes {
                    group: Some("certificates.k8s.io".to_owned()),
                    resource: Some("certificatesigningrequests".to_owned()),
                    subresource: Some(subresource.to_owned()),
                    verb: Some("create".to_owned()),
                    version: Some("*".to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await;
        let answer = answer.context("could not ask whether the kubelet may have a certificate")?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    async fn approve(
        &self,
        key: &Key,
        request: &CertificateSigningRequest,
        message: &str,
    ) -> anyhow::Result<Next> {
        let mut request = request.clone();
        let conditions = request.status.get_or_insert_default().conditions.get_or_insert_default();
        conditions.push(CertificateSigningRequestCondition {
            type_: "Approved".to_owned(),
            status: "True".to_owned(),
            reason: Some("AutoApproved".to_owned()),
            message: Some(message.to_owned()),
            last_update_time: Some(Time(now())),
            last_transition_time: Some(Time(now())),
        });
        let api: Api<CertificateSigningRequest> = Api::all(self.client.clone());
        let written = api.replace_subresource("approval", &key.name, &PostParams::default(), &request).await;
        found(written).map(|_| Next::Wait).context("could not approve")
    }
}
