//! Creates and deletes pods for their controllers: in growing batches, with expectations and events.

use std::sync::Arc;

use anyhow::Context as _;
use client::event::{Recorder, Severity};
use client::k8s_openapi::api::core::v1::Pod;
use client::kube::api::{DeleteParams, PostParams, Preconditions};
use client::kube::{Api, Client, Resource};
use client::object::{is_namespace_terminating, status_code};
use futures::future::join_all;

use crate::expectation::Expectations;

/// The first batch of pods; each next one is twice as large, so that a quota or a broken template is noticed
/// after one refused request and not after hundreds (upstream's figure).
const FIRST_BATCH: usize = 1;

/// Writes pods for one kind of controller.
pub(crate) struct PodWriter {
    client: Client,
    recorder: Recorder,
    expectations: Arc<Expectations>,
}

impl PodWriter {
    pub(crate) fn new(client: Client, recorder: Recorder, expectations: Arc<Expectations>) -> Self {
        Self { client, recorder, expectations }
    }

    /// Creates pods of `owner`; stops at the first batch in which one failed.
    pub(crate) async fn create<O>(&self, owner: &O, pods: Vec<Pod>) -> anyhow::Result<()>
    where
        O: Resource<DynamicType = ()>,
    {
        let uid = owner.meta().uid.as_deref().unwrap_or_default();
        self.expectations.expect_creations(uid, pods.len());
        let (mut rest, mut batch) = (pods.as_slice(), FIRST_BATCH);
        while !rest.is_empty() {
            let (now, later) = rest.split_at(batch.min(rest.len()));
            let outcomes: anyhow::Result<Vec<bool>> =
                join_all(now.iter().map(|pod| self.create_one(owner, pod))).await.into_iter().collect();
            let go_on = matches!(&outcomes, Ok(made) if made.iter().all(|made| *made));
            if !go_on {
                for _ in later {
                    self.expectations.creation_ended(uid);
                }
                return outcomes.map(drop);
            }
            (rest, batch) = (later, batch * 2);
        }
        Ok(())
    }

    /// Creates one pod; `false` where the namespace takes none any more, because it is being deleted.
    async fn create_one<O>(&self, owner: &O, pod: &Pod) -> anyhow::Result<bool>
    where
        O: Resource<DynamicType = ()>,
    {
        let namespace = owner.meta().namespace.as_deref().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        match api.create(&PostParams::default(), pod).await {
            Ok(created) => {
                let name = created.metadata.name.unwrap_or_default();
                self.recorder.about(
                    owner,
                    Severity::Normal,
                    "SuccessfulCreate",
                    format!("Created pod: {name}"),
                );
                Ok(true)
            }
            Err(error) => {
                self.expectations.creation_ended(owner.meta().uid.as_deref().unwrap_or_default());
                let text = message(&error);
                if is_namespace_terminating(&error) {
                    return Ok(false);
                }
                let event = format!("Error creating: {text}");
                self.recorder.about(owner, Severity::Warning, "FailedCreate", event);
                Err(error).context("could not create a pod")
            }
        }
    }

    /// Deletes pods of `owner`, all at once; those that are gone already count as deleted.
    pub(crate) async fn delete<O>(&self, owner: &O, pods: &[Arc<Pod>]) -> anyhow::Result<()>
    where
        O: Resource<DynamicType = ()>,
    {
        let uid = owner.meta().uid.as_deref().unwrap_or_default();
        self.expectations
            .expect_deletions(uid, pods.iter().map(|pod| pod.metadata.uid.clone().unwrap_or_default()));
        let outcomes = join_all(pods.iter().map(|pod| self.delete_one(owner, pod))).await;
        outcomes.into_iter().collect()
    }

    async fn delete_one<O>(&self, owner: &O, pod: &Pod) -> anyhow::Result<()>
    where
        O: Resource<DynamicType = ()>,
    {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let only_this = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams { preconditions: Some(only_this), ..DeleteParams::default() };
        let outcome = api.delete(name, &params).await;
        let ended = || {
            self.expectations.deletion_ended(
                owner.meta().uid.as_deref().unwrap_or_default(),
                pod.metadata.uid.as_deref().unwrap_or_default(),
            );
        };
        match outcome {
            Ok(_) => {
                self.recorder.about(
                    owner,
                    Severity::Normal,
                    "SuccessfulDelete",
                    format!("Deleted pod: {name}"),
                );
                Ok(())
            }
            // Gone already, or another pod has its name by now.
            Err(error) if matches!(status_code(&error), Some(404 | 409)) => {
                ended();
                Ok(())
            }
            Err(error) => {
                ended();
                self.recorder.about(
                    owner,
                    Severity::Warning,
                    "FailedDelete",
                    format!("Error deleting: {}", message(&error)),
                );
                Err(error).with_context(|| format!("could not delete pod {namespace}/{name}"))
            }
        }
    }
}

/// What the API server said, without the client's wrapping.
pub(crate) fn message(error: &client::kube::Error) -> String {
    match error {
        client::kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
