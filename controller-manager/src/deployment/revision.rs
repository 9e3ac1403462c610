//! Which ReplicaSet is a Deployment's current one, how it is named and numbered, and what its annotations say.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use client::k8s_openapi::api::core::v1::PodTemplateSpec;
use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use client::object::controller_ref;

use crate::history;
use crate::pod::annotation;

/// The label that tells the pods of one ReplicaSet from those of another.
pub(super) const HASH_LABEL: &str = "pod-template-hash";
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";

/// Annotations that speak of the Deployment itself and are not copied.
const NOT_COPIED: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    HISTORY,
    DESIRED,
    MAXIMUM,
];

/// The longest list of former revisions an annotation holds, in bytes (upstream's figure).
const LONGEST_HISTORY: usize = 2000;

/// The number a ReplicaSet (or the Deployment) carries.
pub(super) fn number(meta: &ObjectMeta) -> i64 {
    annotation(meta, REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The ReplicaSet whose template is the Deployment's: of several the oldest.
pub(super) fn current(deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> Option<Arc<ReplicaSet>> {
    let wanted = template(deployment);
    let same = |set: &&Arc<ReplicaSet>| {
        let Some(mut has) = set.spec.as_ref().and_then(|spec| spec.template.clone()) else { return false };
        if let Some(labels) = has.metadata.as_mut().and_then(|meta| meta.labels.as_mut()) {
            labels.remove(HASH_LABEL);
        }
        history::equal(&has, &wanted)
    };
    sets.iter()
        .filter(same)
        .min_by_key(|set| {
            (set.metadata.creation_timestamp.as_ref().map(|time| time.0), set.metadata.name.clone())
        })
        .cloned()
}

fn template(deployment: &Deployment) -> PodTemplateSpec {
    let mut template = deployment.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    if let Some(labels) = template.metadata.as_mut().and_then(|meta| meta.labels.as_mut()) {
        labels.remove(HASH_LABEL);
    }
    template
}

/// The number the current ReplicaSet must have: one above all others.
pub(super) fn next(old: &[Arc<ReplicaSet>]) -> i64 {
    old.iter().map(|set| number(&set.metadata)).max().unwrap_or(0) + 1
}

/// The ReplicaSet for the Deployment's template, with the hash in its name, labels and selector.
pub(super) fn fresh(deployment: &Deployment, revision: i64, replicas: i32, maximum: i32) -> ReplicaSet {
    let spec = deployment.spec.clone().unwrap_or_default();
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let mut template = template(deployment);
    let hash = history::hash(&template, collisions);
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH_LABEL.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector;
    selector.match_labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash.clone());
    let mut annotations = copied(deployment);
    annotations.insert(REVISION.to_owned(), revision.to_string());
    annotations.extend(sizes(spec.replicas.unwrap_or(1), maximum));
    let meta = &deployment.metadata;
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", meta.name.as_deref().unwrap_or_default())),
            namespace: meta.namespace.clone(),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: Some(vec![controller_ref(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(replicas),
            min_ready_seconds: spec.min_ready_seconds.filter(|seconds| *seconds != 0),
            selector,
            template: Some(template),
        }),
        status: None,
    }
}

fn copied(deployment: &Deployment) -> BTreeMap<String, String> {
    let all = deployment.metadata.annotations.iter().flatten();
    all.filter(|(name, _)| !NOT_COPIED.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// The annotations that tell a later sync for which size the ReplicaSet was scaled.
pub(super) fn sizes(desired: i32, maximum: i32) -> [(String, String); 2] {
    [(DESIRED.to_owned(), desired.to_string()), (MAXIMUM.to_owned(), maximum.to_string())]
}

/// The annotations the current ReplicaSet lacks or has wrong, and the revision it then has.
pub(super) fn missing(
    deployment: &Deployment,
    set: &ReplicaSet,
    revision: i64,
) -> (BTreeMap<String, String>, i64) {
    let mut wanted = copied(deployment);
    let before = number(&set.metadata);
    if before < revision {
        wanted.insert(REVISION.to_owned(), revision.to_string());
        if let Some(old) = annotation(&set.metadata, REVISION) {
            let former = annotation(&set.metadata, HISTORY).unwrap_or_default();
            let mut list: Vec<&str> = former.split(',').filter(|word| !word.is_empty()).collect();
            list.push(old);
            while list.iter().map(|word| word.len() + 1).sum::<usize>() > LONGEST_HISTORY {
                list.remove(0);
            }
            wanted.insert(HISTORY.to_owned(), list.join(","));
        }
    }
    wanted.retain(|name, value| annotation(&set.metadata, name) != Some(value));
    (wanted, before.max(revision))
}
