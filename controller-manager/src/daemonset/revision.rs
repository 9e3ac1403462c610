//! The history of a DaemonSet's template, as ControllerRevisions.

use std::sync::Arc;

use client::k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use client::k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use client::object::controller_ref;
use serde_json::{Value, json};

use super::plan::HASH;
use crate::history;

/// What must be written so that history is right.
#[derive(Debug)]
pub(super) struct History {
    /// The name of the present revision in labels.
    pub(super) hash: String,
    /// The present revision, where it is not there yet.
    pub(super) create: Option<ControllerRevision>,
    /// An earlier revision that is the present one again, with the number it gets.
    pub(super) renumber: Option<(Arc<ControllerRevision>, i64)>,
    /// Revisions that nobody needs.
    pub(super) delete: Vec<Arc<ControllerRevision>>,
}

/// The template as a patch that restores it, the form in which upstream keeps it.
fn snapshot(set: &DaemonSet) -> Value {
    let template = set.spec.as_ref().map(|spec| &spec.template);
    let mut template = serde_json::to_value(template).unwrap_or_default();
    template["$patch"] = json!("replace");
    json!({"spec": {"template": template}})
}

fn hash_of(revision: &ControllerRevision) -> Option<&str> {
    crate::pod::label(&revision.metadata, HASH)
}

/// Compares the template with the revisions kept. `in_use` are the hashes that pods still carry.
pub(super) fn history(set: &DaemonSet, kept: &[Arc<ControllerRevision>], in_use: &[&str]) -> History {
    let data = snapshot(set);
    let last = kept.iter().map(|revision| revision.revision).max().unwrap_or(0);
    let same = |revision: &&Arc<ControllerRevision>| {
        revision.data.as_ref().is_some_and(|kept| kept.0 == data) && hash_of(revision).is_some()
    };
    let current = kept.iter().filter(same).max_by_key(|revision| revision.revision);
    let mut create = None;
    let hash = match current {
        Some(current) => hash_of(current).unwrap_or_default().to_owned(),
        None => {
            let collisions = set.status.as_ref().and_then(|status| status.collision_count);
            let hash = history::hash(&data, collisions);
            create = Some(fresh(set, &hash, data, last + 1));
            hash
        }
    };
    let limit = set.spec.as_ref().and_then(|spec| spec.revision_history_limit).unwrap_or(10);
    let idle = |revision: &&Arc<ControllerRevision>| {
        hash_of(revision).is_none_or(|has| has != hash && !in_use.contains(&has))
    };
    let mut idle: Vec<_> = kept.iter().filter(idle).cloned().collect();
    idle.sort_by_key(|revision| revision.revision);
    idle.truncate(idle.len().saturating_sub(usize::try_from(limit).unwrap_or(0)));
    let renumber =
        current.filter(|current| current.revision < last).map(|current| (Arc::clone(current), last + 1));
    History { hash, create, renumber, delete: idle }
}

fn fresh(set: &DaemonSet, hash: &str, data: Value, revision: i64) -> ControllerRevision {
    let template = set.spec.as_ref().and_then(|spec| spec.template.metadata.clone()).unwrap_or_default();
    let mut labels = template.labels.unwrap_or_default();
    labels.insert(HASH.to_owned(), hash.to_owned());
    let mut annotations = set.metadata.annotations.clone().unwrap_or_default();
    annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", set.metadata.name.as_deref().unwrap_or_default())),
            namespace: set.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
            owner_references: Some(vec![controller_ref(set)]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(data)),
        revision,
    }
}
