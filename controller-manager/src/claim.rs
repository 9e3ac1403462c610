//! Which objects belong to an owner: those that say so and fit its selector, and orphans that fit it.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use client::cache::Kind;
use client::k8s_openapi::NamespaceResourceScope;
use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use client::kube::api::{Patch, PatchParams};
use client::kube::core::{Selector, SelectorExt as _};
use client::kube::{Api, Client, Resource};
use client::object::{controller_of, controller_ref, found};
use client::{Cache, object};

use crate::caches::{BY_CONTROLLER, orphans_of};

/// What an owner has, and what must be written to make the rest true.
#[derive(Debug)]
pub(crate) struct Claims<K> {
    /// What belongs to the owner and fits.
    pub(crate) owned: Vec<Arc<K>>,
    /// Orphans that fit.
    pub(crate) adopt: Vec<Arc<K>>,
    /// What belongs to the owner and no longer fits.
    pub(crate) release: Vec<Arc<K>>,
}

/// The selector of a kind's spec in the form that can be matched; one that cannot be parsed matches nothing.
pub(crate) fn selector(of: &LabelSelector) -> Option<Selector> {
    Selector::try_from(of.clone()).ok()
}

/// Whether an object's labels fit.
pub(crate) fn fits<K: Resource>(selector: &Selector, object: &K) -> bool {
    match &object.meta().labels {
        Some(labels) => selector.matches(labels),
        None => selector.matches(&Default::default()),
    }
}

/// Sorts what could belong to an owner with this uid. An owner that is being deleted adopts nothing.
pub(crate) fn sort<K: Resource>(
    candidates: Vec<Arc<K>>,
    uid: &str,
    owner_is_leaving: bool,
    selector: &Selector,
) -> Claims<K> {
    let mut claims = Claims { owned: Vec::new(), adopt: Vec::new(), release: Vec::new() };
    for object in candidates {
        let leaving = object.meta().deletion_timestamp.is_some();
        match controller_of(object.meta()) {
            Some(owner) if owner.uid != uid => {}
            Some(_) if fits(selector, &*object) => claims.owned.push(object),
            Some(_) if !owner_is_leaving => claims.release.push(object),
            Some(_) => {}
            None if !leaving && !owner_is_leaving && fits(selector, &*object) => claims.adopt.push(object),
            None => {}
        }
    }
    claims
}

/// What an owner could claim: what names it as controller, and the orphans of its namespace.
pub(crate) fn candidates<K: Kind>(cache: &Cache<K>, owner: &impl Resource) -> Vec<Arc<K>> {
    let meta = owner.meta();
    let mut all = cache.by(BY_CONTROLLER, meta.uid.as_deref().unwrap_or_default());
    all.extend(cache.by(BY_CONTROLLER, &orphans_of(meta.namespace.as_deref().unwrap_or_default())));
    all
}

/// Writes the adoptions and releases and returns what then belongs to the owner.
///
/// `finalizer` is put on what is adopted.
pub(crate) async fn settle<K, O>(
    client: &Client,
    owner: &O,
    claims: Claims<K>,
    finalizer: Option<&str>,
) -> anyhow::Result<Vec<Arc<K>>>
where
    K: Kind + Resource<Scope = NamespaceResourceScope>,
    O: Kind + Resource<Scope = NamespaceResourceScope>,
{
    let Claims { mut owned, adopt, release } = claims;
    let namespace = owner.meta().namespace.as_deref().unwrap_or_default();
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let uid = owner.meta().uid.as_deref().unwrap_or_default();
    if !adopt.is_empty() {
        recheck(client, owner).await?;
    }
    for orphan in adopt {
        let mut meta = serde_json::json!({
            "uid": orphan.meta().uid,
            "ownerReferences": [controller_ref(owner)],
        });
        if let Some(finalizer) = finalizer {
            meta["finalizers"] = serde_json::json!([finalizer]);
        }
        if let Some(adopted) = write(&api, &*orphan, &serde_json::json!({"metadata": meta})).await? {
            owned.push(Arc::new(adopted));
        }
    }
    for stranger in release {
        let meta = serde_json::json!({
            "uid": stranger.meta().uid,
            "ownerReferences": [{"$patch": "delete", "uid": uid}],
        });
        write(&api, &*stranger, &serde_json::json!({"metadata": meta})).await?;
    }
    Ok(owned)
}

async fn write<K>(api: &Api<K>, object: &K, patch: &serde_json::Value) -> anyhow::Result<Option<K>>
where
    K: Kind,
{
    let name = object.meta().name.as_deref().unwrap_or_default();
    match api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
        Ok(object) => Ok(Some(object)),
        // Gone, or replaced by another of the same name.
        Err(error) if matches!(object::status_code(&error), Some(404 | 422)) => Ok(None),
        Err(error) => {
            Err(error).with_context(|| format!("could not change the owner of {} {name}", K::kind(&())))
        }
    }
}

/// Before adopting, the owner is read live: the cache may not know yet that it is gone.
async fn recheck<O>(client: &Client, owner: &O) -> anyhow::Result<()>
where
    O: Kind + Resource<Scope = NamespaceResourceScope>,
{
    let namespace = owner.meta().namespace.as_deref().unwrap_or_default();
    let name = owner.meta().name.as_deref().unwrap_or_default();
    let api: Api<O> = Api::namespaced(client.clone(), namespace);
    let live = found(api.get(name).await).context("could not read the owner before adopting")?;
    match live {
        Some(live) if live.meta().uid == owner.meta().uid && live.meta().deletion_timestamp.is_none() => {
            Ok(())
        }
        _ => bail!("{} {namespace}/{name} is going away and cannot adopt", O::kind(&())),
    }
}

#[cfg(test)]
mod tests {
    use client::k8s_openapi::api::core::v1::Pod;

    use super::*;

    #[test]
    fn what_is_claimed() {
        let pod = |owner: Option<&str>, app: &str, leaving: bool| -> Arc<Pod> {
            let owners = owner.map(|uid| {
                serde_json::json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": uid,
                    "controller": true}])
            });
            let pod = serde_json::json!({"metadata": {"labels": {"app": app}, "ownerReferences": owners,
                "deletionTimestamp": leaving.then_some("2026-01-01T00:00:00Z")}});
            Arc::new(serde_json::from_value(pod).unwrap())
        };
        let selector: Selector = [("app", "a")].into_iter().collect();
        // owner, label, pod leaving, owner leaving: owned, adopted, released
        let cases = [
            (Some("u"), "a", false, false, [1, 0, 0]),
            (Some("u"), "a", true, false, [1, 0, 0]),
            (Some("u"), "b", false, false, [0, 0, 1]),
            (Some("u"), "b", false, true, [0, 0, 0]),
            (Some("v"), "a", false, false, [0, 0, 0]),
            (None, "a", false, false, [0, 1, 0]),
            (None, "a", true, false, [0, 0, 0]),
            (None, "a", false, true, [0, 0, 0]),
            (None, "b", false, false, [0, 0, 0]),
        ];
        for (owner, app, leaving, owner_is_leaving, expected) in cases {
            let claims = sort(vec![pod(owner, app, leaving)], "u", owner_is_leaving, &selector);
            let counts = [claims.owned.len(), claims.adopt.len(), claims.release.len()];
            assert_eq!(counts, expected, "{owner:?} {app} {leaving} {owner_is_leaving}");
        }
    }
}
