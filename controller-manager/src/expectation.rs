//! What a controller has asked for and its caches have not shown yet; until they do, it must not ask again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use client::cache::Kind;
use client::object::controller_of;
use client::{Cache, Change};
use parking_lot::Mutex;
use tokio::time::Instant;

/// When an expectation is given up: a watch that shows nothing for so long has lost it (client-go's figure).
const PATIENCE: Duration = Duration::from_secs(300);

/// Expected creations and deletions by the uid of the owner that asked for them.
#[derive(Debug, Default)]
pub(crate) struct Expectations {
    by_owner: Mutex<HashMap<String, Expected>>,
}

#[derive(Debug)]
struct Expected {
    creations: usize,
    deletions: BTreeSet<String>,
    since: Instant,
}

impl Expectations {
    /// Lowers expectations by what this cache sees coming and going.
    pub(crate) fn observe<K: Kind>(self: &Arc<Self>, cache: &Cache<K>) {
        let expectations = Arc::clone(self);
        cache.subscribe(move |change| {
            let meta = change.object().meta();
            let Some(owner) = controller_of(meta) else { return };
            let gone = match &change {
                Change::Added(_) => {
                    expectations.creation_ended(&owner.uid);
                    meta.deletion_timestamp.is_some()
                }
                Change::Changed { .. } => meta.deletion_timestamp.is_some(),
                Change::Removed(_) => true,
            };
            if gone {
                expectations.deletion_ended(&owner.uid, meta.uid.as_deref().unwrap_or_default());
            }
        });
    }

    /// Notes that `owner` is about to create this many objects.
    pub(crate) fn expect_creations(&self, owner: &str, count: usize) {
        self.change(owner, |expected| expected.creations += count);
    }

    /// Notes that `owner` is about to delete the objects with these uids.
    pub(crate) fn expect_deletions(&self, owner: &str, uids: impl IntoIterator<Item = String>) {
        self.change(owner, |expected| expected.deletions.extend(uids));
    }

    fn change(&self, owner: &str, apply: impl FnOnce(&mut Expected)) {
        let mut by_owner = self.by_owner.lock();
        let expected = by_owner.entry(owner.to_owned()).or_insert_with(|| Expected {
            creations: 0,
            deletions: BTreeSet::new(),
            since: Instant::now(),
        });
        expected.since = Instant::now();
        apply(expected);
        // To expect nothing is to be met already.
        if expected.creations == 0 && expected.deletions.is_empty() {
            by_owner.remove(owner);
        }
    }

    /// Notes that a creation was seen, or failed.
    pub(crate) fn creation_ended(&self, owner: &str) {
        self.lower(owner, |expected| expected.creations = expected.creations.saturating_sub(1));
    }

    /// Notes that a deletion was seen, or failed.
    pub(crate) fn deletion_ended(&self, owner: &str, uid: &str) {
        self.lower(owner, |expected| {
            expected.deletions.remove(uid);
        });
    }

    fn lower(&self, owner: &str, apply: impl FnOnce(&mut Expected)) {
        let mut by_owner = self.by_owner.lock();
        let Some(expected) = by_owner.get_mut(owner) else { return };
        apply(expected);
        if expected.creations == 0 && expected.deletions.is_empty() {
            by_owner.remove(owner);
        }
    }

    /// Whether the caches have shown all that `owner` asked for.
    pub(crate) fn met(&self, owner: &str) -> bool {
        let mut by_owner = self.by_owner.lock();
        match by_owner.get(owner) {
            Some(expected) if expected.since.elapsed() < PATIENCE => false,
            Some(_) => {
                by_owner.remove(owner);
                true
            }
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use client::k8s_openapi::api::core::v1::Pod;

    use super::*;

    fn pod(name: &str) -> Pod {
        serde_json::from_value(serde_json::json!({"metadata": {
            "namespace": "d", "name": name, "uid": name, "resourceVersion": "1",
            "ownerReferences": [{"apiVersion": "v1", "kind": "X", "name": "o", "uid": "o", "controller": true}],
        }}))
        .unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn met_when_seen_or_failed_or_given_up() {
        let (expectations, cache) = (Arc::new(Expectations::default()), Cache::<Pod>::default());
        expectations.observe(&cache);
        assert!(expectations.met("o"));
        expectations.expect_creations("o", 0);
        expectations.expect_deletions("o", []);
        assert!(expectations.met("o"));
        expectations.expect_creations("o", 2);
        cache.preset([pod("a")]);
        assert!(!expectations.met("o"));
        expectations.creation_ended("o");
        assert!(expectations.met("o"));
        expectations.expect_deletions("o", ["a".to_owned()]);
        assert!(!expectations.met("o"));
        cache.preset([]);
        assert!(expectations.met("o"));
        expectations.expect_creations("o", 1);
        tokio::time::advance(PATIENCE).await;
        assert!(expectations.met("o"));
    }
}
