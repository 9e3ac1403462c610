//! Kinds of which only the fields that a daemon reads are kept: a struct of those stands for the whole.
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
}
