//! Volumes and claims in use are not deleted: a finalizer holds them.

use serde_json::Value;

use super::{Attributes, Operation, Plugin};
use crate::fault::Fault;
use crate::object::{finalizers, set_meta};
use crate::server::Server;

/// The resources that are protected, and the finalizer of each.
const PROTECTED: &[(&str, &str)] = &[
    ("persistentvolumeclaims", "kubernetes.io/pvc-protection"),
    ("persistentvolumes", "kubernetes.io/pv-protection"),
];

/// Gives volumes and claims the finalizer that a controller takes away once they are in nobody's use.
#[derive(Debug)]
pub(super) struct ObjectInUseProtection;

#[async_trait::async_trait]
impl Plugin for ObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn is_default(&self) -> bool {
        // The finalizer would hold deletions up for ever: no controller takes it away yet.
        false
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Create
            && PROTECTED.iter().any(|(resource, _)| attributes.is_for("", resource))
    }

    async fn admit(&self, attributes: &Attributes<'_>, object: &mut Value, _: &Server) -> Result<(), Fault> {
        for (_, finalizer) in PROTECTED.iter().filter(|(resource, _)| *resource == attributes.resource) {
            let mut all = finalizers(object);
            if !all.iter().any(|one| one == finalizer) {
                all.push((*finalizer).to_owned());
                set_meta(object, "finalizers", Some(all.into()));
            }
        }
        Ok(())
    }
}
