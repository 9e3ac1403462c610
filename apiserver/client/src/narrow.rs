//! Kinds of which only the fields that a daemon reads are kept: a struct of those stands for the whole, or
//! [`pod`] and [`node`] take from the whole what only a kubelet reads.
//!
//! ```text
//! #[derive(Clone, Debug, Deserialize)]
//! struct Claim {
//!     #[serde(deserialize_with = "client::narrow::meta")]
//!     metadata: ObjectMeta,
//!     spec: ClaimSpec,
//! }
//! client::narrow!(Claim as PersistentVolumeClaim);
//! ```

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Node, Pod, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde::{Deserialize, Deserializer};

/// Makes a struct with a field `metadata` stand for a kind of `k8s_openapi` in caches and calls.
#[macro_export]
macro_rules! narrow {
    ($narrow:ty as $whole:ty) => {
        impl $crate::kube::Resource for $narrow {
            type DynamicType = ();
            type Scope = <$whole as $crate::kube::Resource>::Scope;

            fn kind(_: &()) -> std::borrow::Cow<'_, str> {
                <$whole as $crate::kube::Resource>::kind(&())
            }

            fn group(_: &()) -> std::borrow::Cow<'_, str> {
                <$whole as $crate::kube::Resource>::group(&())
            }

            fn version(_: &()) -> std::borrow::Cow<'_, str> {
                <$whole as $crate::kube::Resource>::version(&())
            }

            fn plural(_: &()) -> std::borrow::Cow<'_, str> {
                <$whole as $crate::kube::Resource>::plural(&())
            }

            fn meta(&self) -> &$crate::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(
                &mut self,
            ) -> &mut $crate::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Kept {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
}

/// Reads metadata without annotations, finalizers and managed fields, which are most of its size.
///
/// # Errors
/// Where it is no metadata.
pub fn meta<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let kept = Kept::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name: kept.name,
        namespace: kept.namespace,
        uid: kept.uid,
        resource_version: kept.resource_version,
        generation: kept.generation,
        creation_timestamp: kept.creation_timestamp,
        deletion_timestamp: kept.deletion_timestamp,
        labels: kept.labels,
        owner_references: kept.owner_references,
        ..ObjectMeta::default()
    })
}

/// Takes from a pod what only the kubelet that runs it reads: most of its size.
pub fn pod(pod: &mut Pod) {
    if let Some(spec) = &mut pod.spec {
        spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()).for_each(container);
        // What says which nodes can have the pod stays.
        let claims = |volume: &k8s_openapi::api::core::v1::Volume| {
            volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some() || volume.csi.is_some()
        };
        spec.volumes.iter_mut().for_each(|volumes| volumes.retain(claims));
        *spec = PodSpec {
            dns_config: None,
            ephemeral_containers: None,
            host_aliases: None,
            image_pull_secrets: None,
            security_context: None,
            volumes: spec.volumes.take().filter(|volumes| !volumes.is_empty()),
            ..std::mem::take(spec)
        };
    }
    if let Some(status) = &mut pod.status {
        let lists = status.container_statuses.iter_mut().chain(status.init_container_statuses.iter_mut());
        lists.flatten().for_each(container_status);
        *status = PodStatus { ephemeral_container_statuses: None, ..std::mem::take(status) };
    }
}

fn container(container: &mut Container) {
    let whole = std::mem::take(container);
    *container = Container {
        name: whole.name,
        image: whole.image,
        ports: whole.ports,
        resources: whole.resources,
        restart_policy: whole.restart_policy,
        ..Container::default()
    };
}

fn container_status(status: &mut ContainerStatus) {
    let whole = std::mem::take(status);
    *status = ContainerStatus {
        name: whole.name,
        ready: whole.ready,
        restart_count: whole.restart_count,
        started: whole.started,
        state: whole.state,
        last_state: whole.last_state,
        ..ContainerStatus::default()
    };
}

/// Takes from a node its images and what is mounted on it: most of its size.
pub fn node(node: &mut Node) {
    if let Some(status) = &mut node.status {
        status.images = None;
        status.volumes_in_use = None;
        status.volumes_attached = None;
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use kube::Resource;

    use super::*;

    #[derive(Clone, Debug, Deserialize)]
    struct Head {
        #[serde(deserialize_with = "meta")]
        metadata: ObjectMeta,
    }
    crate::narrow!(Head as Service);

    #[test]
    fn a_narrow_kind_is_the_same_kind_with_less_in_it() {
        let head: Head = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "a", "namespace": "n", "resourceVersion": "7", "labels": {"k": "v"},
                "annotations": {"long": "text"}, "managedFields": [{"manager": "m"}]},
            "spec": {"ports": []},
        }))
        .unwrap();
        assert_eq!(crate::Key::of(&head).to_string(), "n/a");
        assert_eq!(head.metadata.resource_version.as_deref(), Some("7"));
        assert_eq!((&head.metadata.annotations, &head.metadata.managed_fields), (&None, &None));
        assert_eq!(head.meta().labels.as_ref().unwrap()["k"], "v");
        assert_eq!(Head::url_path(&(), Some("n")), Service::url_path(&(), Some("n")));
    }

    #[test]
    fn what_the_kubelet_alone_reads_goes() {
        let mut whole: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "a"},
            "spec": {
                "nodeName": "n", "tolerations": [{"key": "k"}], "securityContext": {"runAsUser": 1},
                "containers": [{"name": "c", "image": "i", "command": ["x"], "env": [{"name": "e"}],
                    "ports": [{"containerPort": 80}], "resources": {"requests": {"cpu": "1"}},
                    "livenessProbe": {"periodSeconds": 1}, "volumeMounts": [{"name": "v", "mountPath": "/"}]}],
                "volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "persistentVolumeClaim": {"claimName": "w"}}],
            },
            "status": {"phase": "Running", "containerStatuses": [{"name": "c", "ready": true, "restartCount": 2,
                "image": "i", "imageID": "x", "containerID": "y", "state": {"running": {}}}]},
        }))
        .unwrap();
        pod(&mut whole);
        let kept = serde_json::to_value(&whole).unwrap();
        assert_eq!(
            kept["spec"],
            serde_json::json!({
                "nodeName": "n", "tolerations": [{"key": "k"}],
                "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}],
                    "resources": {"requests": {"cpu": "1"}}}],
                "volumes": [{"name": "w", "persistentVolumeClaim": {"claimName": "w"}}],
            })
        );
        assert_eq!(
            kept["status"],
            serde_json::json!({"phase": "Running", "containerStatuses": [{"name": "c", "ready": true,
                "restartCount": 2, "image": "", "imageID": "", "state": {"running": {}}}]})
        );
    }
}
