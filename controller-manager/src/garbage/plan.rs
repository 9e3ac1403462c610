//! Whether an object may stay, given what is known of its owners.

use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::graph::{FOREGROUND, ORPHAN};

/// What is known of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is there.
    Solid,
    /// It is not there.
    Absent,
    /// It is there until its dependents are gone.
    Waiting,
}

/// How an object's own dependents fare when it is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cascade {
    Background,
    Foreground,
    Orphan,
}

/// What must happen to an object.
#[derive(Debug, PartialEq)]
pub(super) enum Decision {
    /// Nothing.
    Stay,
    /// The references to the owners with these uids go, for another owner still holds it.
    Detach(Vec<String>),
    /// The object goes. `unblock`: first its references stop blocking its owners, because a circle of
    /// owners that wait for each other would wait for ever.
    Delete { cascade: Cascade, unblock: bool },
}

/// Decides about an object whose owners stand so; `owners` are their uids and standings.
pub(super) fn decide(
    meta: &ObjectMeta,
    owners: &[(String, Standing)],
    has_dependents: bool,
    a_dependent_waits: bool,
) -> Decision {
    let with = |wanted: Standing| owners.iter().filter(move |(_, standing)| *standing == wanted);
    if owners.is_empty() {
        return Decision::Stay;
    }
    if with(Standing::Solid).next().is_some() {
        let gone: Vec<_> =
            with(Standing::Absent).chain(with(Standing::Waiting)).map(|(uid, _)| uid.clone()).collect();
        return if gone.is_empty() { Decision::Stay } else { Decision::Detach(gone) };
    }
    if with(Standing::Waiting).next().is_some() && has_dependents {
        return Decision::Delete { cascade: Cascade::Foreground, unblock: a_dependent_waits };
    }
    let has = |name: &str| meta.finalizers.iter().flatten().any(|finalizer| finalizer == name);
    let cascade = if has(ORPHAN) {
        Cascade::Orphan
    } else if has(FOREGROUND) {
        Cascade::Foreground
    } else {
        Cascade::Background
    };
    Decision::Delete { cascade, unblock: false }
}
