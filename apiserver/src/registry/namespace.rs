//! What is special about namespaces: they die slowly, and nothing new is made in one that does not live.

use jiff::Timestamp;
use serde_json::Value;

use super::Act;
use super::delete::{self, Options, Plan};
use crate::fault::Fault;
use crate::kind::Behavior;
use crate::object::{self, meta_value, set_meta};

/// Namespaces that may not be deleted.
const PROTECTED: &[&str] = &["default", "kube-public", "kube-system"];

/// Kinds that may be made in any namespace, existing or not: they ask about it.
const EXEMPT: &[(&str, &str)] = &[("authorization.k8s.io", "localsubjectaccessreviews")];

/// What a deletion does to a namespace: the first marks it, later ones wait until its finalizers are gone.
pub(super) fn plan(object: &Value, options: &Options, behavior: &Behavior, now: Timestamp) -> Plan {
    if meta_value(object, "deletionTimestamp").is_none() {
        let mut new = object.clone();
        set_meta(&mut new, "deletionTimestamp", Some(object::time(now).into()));
        object::as_map(object::as_map(&mut new).entry("status").or_insert_with(Value::default))
            .insert("phase".to_owned(), "Terminating".into());
        return Plan::Keep(new);
    }
    if object["spec"]["finalizers"].as_array().is_some_and(|list| !list.is_empty()) {
        return Plan::Pending;
    }
    delete::plan(object, options, behavior, false, now)
}

impl Act<'_> {
    /// Whether an object may be made in this namespace: it must exist and not be on its way out.
    ///
    /// # Errors
    /// 404 where it does not exist, 403 where it is being deleted.
    pub(super) async fn namespace_accepts(&self) -> Result<(), Fault> {
        if !self.resource.kind.namespaced || EXEMPT.contains(&(self.kind.group, self.kind.plural)) {
            return Ok(());
        }
        let cached = self.server.get("", "namespaces", "", self.namespace).map(|entry| entry.value());
        // The cache may not have heard of a namespace that was made a moment ago.
        let namespace = match cached {
            Some(namespace) => Some(namespace),
            None => self.server.read("", "namespaces", "", self.namespace).await?,
        };
        let Some(namespace) = namespace else {
            return Err(Fault::not_found("", "namespaces", self.namespace));
        };
        if meta_value(&namespace, "deletionTimestamp").is_none() {
            return Ok(());
        }
        let why = format!(
            "unable to create new content in namespace {} because it is being terminated",
            self.namespace
        );
        let cause = format!("namespace {} is being terminated", self.namespace);
        Err(Fault::forbidden(self.kind.group, self.kind.plural, self.name, &why).cause(
            "NamespaceTerminating",
            cause,
            "metadata.namespace",
        ))
    }

    /// Whether this very namespace may be deleted.
    ///
    /// # Errors
    /// 403 for those the cluster cannot do without.
    pub(super) fn may_be_deleted(&self) -> Result<(), Fault> {
        if self.kind.group.is_empty() && self.kind.plural == "namespaces" && PROTECTED.contains(&self.name) {
            return Err(Fault::forbidden("", "namespaces", self.name, "this namespace may not be deleted"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kind::GENERIC;

    #[test]
    fn a_namespace_dies_in_steps() {
        let now = Timestamp::from_second(100).unwrap();
        let living =
            json!({"metadata": {}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        let Plan::Keep(dying) = plan(&living, &Options::default(), &GENERIC, now) else { panic!("not kept") };
        assert_eq!(dying["status"]["phase"], "Terminating");
        assert_eq!(plan(&dying, &Options::default(), &GENERIC, now), Plan::Pending);
        let mut finalized = dying;
        finalized["spec"]["finalizers"] = json!([]);
        assert!(matches!(plan(&finalized, &Options::default(), &GENERIC, now), Plan::Remove(_)));
    }
}
