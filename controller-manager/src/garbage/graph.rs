//! Who owns whom: every object of the cluster by its uid, as small as it can be.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::resources::Resource;

pub(super) const FOREGROUND: &str = "foregroundDeletion";
pub(super) const ORPHAN: &str = "orphan";

pub(super) type Uid = Arc<str>;

/// An object, reduced to what decides about its deletion.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) kind: Arc<Resource>,
    pub(super) namespace: Arc<str>,
    pub(super) name: Arc<str>,
    pub(super) owners: Arc<[OwnerReference]>,
    pub(super) fate: Fate,
}

/// What has been asked about an object's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing.
    Lives,
    /// It is being deleted, and nothing waits for this controller.
    Leaving,
    /// It is being deleted after its dependents.
    LeavingLast,
    /// It is being deleted, and its dependents are to stay.
    LeavingOrphans,
}

impl Fate {
    pub(super) fn of(meta: &ObjectMeta) -> Self {
        let has = |name: &str| meta.finalizers.iter().flatten().any(|finalizer| finalizer == name);
        match meta.deletion_timestamp {
            None => Self::Lives,
            Some(_) if has(ORPHAN) => Self::LeavingOrphans,
            Some(_) if has(FOREGROUND) => Self::LeavingLast,
            Some(_) => Self::Leaving,
        }
    }
}

/// All objects and their dependents.
#[derive(Debug, Default)]
pub(super) struct Graph {
    objects: HashMap<Uid, Object>,
    dependents: HashMap<Uid, BTreeSet<Uid>>,
}

impl Graph {
    pub(super) fn get(&self, uid: &str) -> Option<&Object> {
        self.objects.get(uid)
    }

    /// The objects that name this one as an owner.
    pub(super) fn dependents(&self, uid: &str) -> Vec<(Uid, Object)> {
        let uids = self.dependents.get(uid).into_iter().flatten();
        uids.filter_map(|uid| Some((Arc::clone(uid), self.objects.get(uid)?.clone()))).collect()
    }

    pub(super) fn has_dependents(&self, uid: &str) -> bool {
        self.dependents.contains_key(uid)
    }

    /// Whether an object's owner is there as far as is known, at a place where it can own the object.
    pub(super) fn owner(&self, object: &Object, owner: &OwnerReference) -> Option<&Object> {
        let here = |has: &&Object| has.namespace.is_empty() || has.namespace == object.namespace;
        self.objects.get(owner.uid.as_str()).filter(here)
    }

    /// Takes in an object as it is now. Returns whom to look at.
    pub(super) fn put(&mut self, kind: &Arc<Resource>, meta: ObjectMeta) -> Vec<Uid> {
        let Some(uid) = meta.uid.as_deref().map(Uid::from) else { return Vec::new() };
        let fate = Fate::of(&meta);
        let object = Object {
            kind: Arc::clone(kind),
            namespace: meta.namespace.as_deref().unwrap_or_default().into(),
            name: meta.name.as_deref().unwrap_or_default().into(),
            owners: meta.owner_references.unwrap_or_default().into(),
            fate,
        };
        let old = self.objects.insert(Arc::clone(&uid), object.clone());
        let mut look = BTreeSet::new();
        let former = old.as_ref().map(|old| Arc::clone(&old.owners)).unwrap_or_default();
        if former != object.owners || old.is_none() {
            for owner in former.iter() {
                self.forget_dependent(&owner.uid, &uid);
            }
            for owner in object.owners.iter() {
                self.dependents.entry(owner.uid.as_str().into()).or_default().insert(Arc::clone(&uid));
            }
        }
        let bad = |owner: &OwnerReference| {
            self.owner(&object, owner).is_none_or(|owner| owner.fate == Fate::LeavingLast)
        };
        let news = former != object.owners || old.as_ref().is_none_or(|old| old.fate != fate);
        let matters = !object.owners.is_empty() && object.owners.iter().any(bad);
        if news && (matters || matches!(fate, Fate::LeavingLast | Fate::LeavingOrphans)) {
            look.insert(Arc::clone(&uid));
        }
        // An owner that waits for its dependents may wait for one less.
        if news {
            look.extend(self.waiting(former.iter().chain(object.owners.iter())));
        }
        look.into_iter().collect()
    }

    /// Takes out an object that is gone. Returns whom to look at.
    pub(super) fn remove(&mut self, uid: &str) -> Vec<Uid> {
        let Some(object) = self.objects.remove(uid) else { return Vec::new() };
        for owner in object.owners.iter() {
            self.forget_dependent(&owner.uid, uid);
        }
        let orphaned = self.dependents.get(uid).into_iter().flatten().cloned();
        orphaned.chain(self.waiting(object.owners.iter())).collect()
    }

    /// The uids of all objects of a kind.
    pub(super) fn of_kind(&self, kind: &Arc<Resource>) -> Vec<Uid> {
        let fits = |object: &Object| Arc::ptr_eq(&object.kind, kind);
        self.objects.iter().filter(|(_, object)| fits(object)).map(|(uid, _)| Arc::clone(uid)).collect()
    }

    fn waiting<'a>(&self, owners: impl Iterator<Item = &'a OwnerReference>) -> Vec<Uid> {
        let waits = |owner: &OwnerReference| {
            let (uid, object) = self.objects.get_key_value(owner.uid.as_str())?;
            (object.fate == Fate::LeavingLast).then(|| Arc::clone(uid))
        };
        owners.filter_map(waits).collect()
    }

    fn forget_dependent(&mut self, owner: &str, dependent: &str) {
        if let Some(dependents) = self.dependents.get_mut(owner) {
            dependents.remove(dependent);
            if dependents.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }
}
