//! Classes for what asks for none: the newest of those that are marked as the default.

use serde_json::Value;

use super::{Attributes, Operation, Plugin};
use crate::fault::Fault;
use crate::kind::fill;
use crate::object::{meta, meta_value};
use crate::server::Server;

/// Gives claims that ask for no class the default one.
#[derive(Debug)]
pub(super) struct DefaultStorageClass;

/// Gives Ingresses that ask for no class the default one.
#[derive(Debug)]
pub(super) struct DefaultIngressClass;

#[async_trait::async_trait]
impl Plugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.is_for("", "persistentvolumeclaims") && attributes.operation == Operation::Create
    }

    async fn admit(&self, _: &Attributes<'_>, claim: &mut Value, server: &Server) -> Result<(), Fault> {
        let asks = fill::find(claim, "spec.storageClassName").is_some()
            || is_annotated(claim, "volume.beta.kubernetes.io/storage-class");
        if !asks {
            let marks = [
                "storageclass.kubernetes.io/is-default-class",
                "storageclass.beta.kubernetes.io/is-default-class",
            ];
            let classes = server.list("storage.k8s.io", "storageclasses", "");
            if let Some(name) = default_class(classes.iter().map(|entry| entry.value()), &marks) {
                fill::child(claim, "spec")["storageClassName"] = name.into();
            }
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Plugin for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.is_for("networking.k8s.io", "ingresses") && attributes.operation == Operation::Create
    }

    async fn admit(&self, _: &Attributes<'_>, ingress: &mut Value, server: &Server) -> Result<(), Fault> {
        let asks = fill::find(ingress, "spec.ingressClassName").is_some()
            || is_annotated(ingress, "kubernetes.io/ingress.class");
        if !asks {
            let marks = ["ingressclass.kubernetes.io/is-default-class"];
            let classes = server.list("networking.k8s.io", "ingressclasses", "");
            if let Some(name) = default_class(classes.iter().map(|entry| entry.value()), &marks) {
                fill::child(ingress, "spec")["ingressClassName"] = name.into();
            }
        }
        Ok(())
    }
}

fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    meta_value(object, "annotations").and_then(|annotations| annotations.get(name))
}

fn is_annotated(object: &Value, name: &str) -> bool {
    annotation(object, name).is_some()
}

/// The newest class that is marked; of several the first by name.
fn default_class(classes: impl Iterator<Item = Value>, marks: &[&str]) -> Option<String> {
    let marked =
        |class: &Value| marks.iter().any(|mark| annotation(class, mark).is_some_and(|is| is == "true"));
    let mut found: Vec<Value> = classes.filter(marked).collect();
    found.sort_by(|a, b| {
        let created = |class| meta(class, "creationTimestamp");
        created(b).cmp(created(a)).then_with(|| meta(a, "name").cmp(meta(b, "name")))
    });
    found.first().map(|class| meta(class, "name").to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_newest_default_counts() {
        let class = |name: &str, created: &str, default: &str| json!({"metadata": {"name": name, "creationTimestamp": created, "annotations": {"is-default": default}}});
        let old = class("old", "2026-01-01T00:00:00Z", "true");
        let new = class("new", "2026-01-02T00:00:00Z", "true");
        let also = class("also", "2026-01-02T00:00:00Z", "true");
        let other = class("other", "2026-01-03T00:00:00Z", "false");
        let cases = [
            (vec![old.clone(), other.clone()], Some("old")),
            (vec![old, new, also, other.clone()], Some("also")),
            (vec![other], None),
        ];
        for (classes, expected) in cases {
            assert_eq!(default_class(classes.into_iter(), &["is-default"]).as_deref(), expected);
        }
    }
}
