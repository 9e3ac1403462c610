//! Volumes and claims: those in use are held by a finalizer, and only some can grow.

use serde_json::Value;

use super::{Attributes, Operation, Plugin};
use crate::fault::Fault;
use crate::kind::fill;
use crate::kind::quantity::Quantity;
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

/// Lets a claim grow only where its class says that its volume can.
#[derive(Debug)]
pub(super) struct ClaimResize;

#[async_trait::async_trait]
impl Plugin for ClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.is_for("", "persistentvolumeclaims") && attributes.operation == Operation::Update
    }

    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        claim: &Value,
        server: &Server,
    ) -> Result<(), Fault> {
        let Some(old) = attributes.old.filter(|old| size(claim) > size(old)) else { return Ok(()) };
        if fill::text(old, "status.phase") != "Bound" {
            let why = "Only bound persistent volume claims can be expanded";
            return Err(attributes.refused(claim, why));
        }
        let (class, before) = (class_of(claim), class_of(old));
        let growing = server
            .get("storage.k8s.io", "storageclasses", "", class)
            .is_some_and(|class| fill::flag(&class.value(), "allowVolumeExpansion"));
        if class.is_empty() || class != before || !growing {
            let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc \
                       must support resize";
            return Err(attributes.refused(claim, why));
        }
        Ok(())
    }
}

fn size(claim: &Value) -> Option<Quantity> {
    Quantity::parse(fill::text(claim, "spec.resources.requests.storage"))
}

fn class_of(claim: &Value) -> &str {
    fill::text(claim, "spec.storageClassName")
}
