//! Pictures static pods in the API, so that people see them there.

use std::fmt;
use std::sync::Arc;

use client::k8s_openapi::api::core::v1::{Node, Pod};
use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use client::kube::api::{DeleteParams, PostParams, Preconditions};
use client::kube::{Api, Client};
use client::{Cache, Key, Next, Queue};

use super::file::Manifests;
use crate::pod::{HASH, MIRROR, annotation, is_mirror, name, namespace};

/// What the pictures are made from and compared to.
#[derive(Clone)]
pub struct Mirrors {
    pub client: Client,
    pub pods: Cache<Pod>,
    pub files: Manifests,
    pub node: String,
}

impl fmt::Debug for Mirrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirrors").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Mirrors {
    /// The names to settle: those of files that change and those of pictures that do.
    pub fn queue(&self) -> Queue<Key> {
        let names = self.files.names();
        let changed = names.clone();
        self.pods.subscribe(move |change| {
            if is_mirror(change.object()) {
                changed.add(Key::of(&**change.object()));
            }
        });
        names
    }

    /// Makes the API show the static pod of this name as it is, or not at all.
    ///
    /// # Errors
    /// Where the API server refuses; it comes again later.
    pub async fn settle(&self, key: &Key) -> anyhow::Result<Next> {
        let wanted = self.files.list().into_iter().find(|pod| Key::of(&**pod) == *key);
        let found = self.pods.get(key).filter(|pod| is_mirror(pod));
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        if let Some(found) = &found {
            let hash = wanted.as_ref().and_then(|pod| annotation(pod, HASH));
            if annotation(found, MIRROR) == hash && found.metadata.deletion_timestamp.is_none() {
                return Ok(Next::Wait);
            }
            let preconditions = Preconditions { uid: found.metadata.uid.clone(), resource_version: None };
            let at_once = DeleteParams {
                grace_period_seconds: Some(0),
                preconditions: Some(preconditions),
                ..DeleteParams::default()
            };
            client::object::found(api.delete(&key.name, &at_once).await)?;
        }
        if let Some(pod) = wanted {
            let picture = self.picture(&pod).await?;
            match api.create(&PostParams::default(), &picture).await {
                // Somebody else's pod has the name: the static pod runs, unseen.
                Err(error) if client::object::status_code(&error) == Some(409) => {}
                outcome => drop(outcome?),
            }
        }
        Ok(Next::Wait)
    }

    async fn picture(&self, pod: &Arc<Pod>) -> anyhow::Result<Pod> {
        let mut picture = Pod::clone(pod);
        let hash = annotation(pod, HASH).unwrap_or_default().to_owned();
        let nodes: Api<Node> = Api::all(self.client.clone());
        let node = nodes.get(&self.node).await?;
        let meta = &mut picture.metadata;
        meta.uid = None;
        meta.annotations.get_or_insert_default().insert(MIRROR.to_owned(), hash);
        meta.owner_references = Some(vec![OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: self.node.clone(),
            uid: node.metadata.uid.unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: None,
        }]);
        tracing::debug!(pod = name(pod), namespace = namespace(pod), "picturing a static pod");
        Ok(picture)
    }
}
