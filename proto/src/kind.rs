//! The built-in kinds of the Kubernetes API: one row each, and the look-ups over them.

#[rustfmt::skip]
mod table;

#[cfg(test)]
mod tests;

pub use table::{FEATURE_GATES, GROUPS, KINDS};

/// One resource of one group and version.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The version in the group, as in `v1`.
    pub version: &'static str,
    /// The kind, as in `Pod`.
    pub kind: &'static str,
    /// The name in paths, as in `pods`.
    pub plural: &'static str,
    /// The name of one, as in `pod`.
    pub singular: &'static str,
    /// What kubectl accepts for short, as in `po`.
    pub short_names: &'static [&'static str],
    /// The categories it belongs to, as in `all`.
    pub categories: &'static [&'static str],
    /// What can be done with it.
    pub verbs: &'static [&'static str],
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// What lies below one object's path.
    pub subresources: &'static [Subresource],
    /// The full name of its protobuf message.
    pub message: &'static str,
    /// The kind of a list of it; empty where it cannot be listed.
    pub list_kind: &'static str,
    /// The full name of the list's protobuf message; empty where it cannot be listed.
    pub list_message: &'static str,
    /// What it takes to be served.
    pub served: Served,
    /// Whether its objects are kept in the store.
    pub stored: bool,
    /// The `apiVersion` its objects carry in the store; empty where none are kept.
    pub storage_version: &'static str,
    /// What its keys in the store begin with, with the slash at the end; empty where none are kept.
    pub etcd_prefix: &'static str,
    /// What discovery tells about the stored version.
    pub storage_version_hash: &'static str,
    /// How its objects are written in the store.
    pub storage_encoding: Encoding,
}

/// A path below one object, as in `pods/NAME/status`.
#[derive(Debug, PartialEq, Eq)]
pub struct Subresource {
    /// Its last path segment.
    pub name: &'static str,
    /// What can be done with it.
    pub verbs: &'static [&'static str],
    /// The group of the kind it takes and gives.
    pub group: &'static str,
    /// The version of the kind it takes and gives.
    pub version: &'static str,
    /// The kind it takes and gives.
    pub kind: &'static str,
}

/// What it takes for a kind to be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// Nothing: it is on by default.
    Default,
    /// Its version must be switched on by `--runtime-config`.
    RuntimeConfig,
    /// Its version must be switched on, and so must this feature gate.
    FeatureGate(&'static str),
}

/// How an object is written in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// A `runtime.Unknown` envelope around a protobuf message.
    Protobuf,
    /// Plain JSON.
    Json,
}

/// An API group.
#[derive(Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name; empty for the core group.
    pub name: &'static str,
    /// The version a client should take.
    pub preferred: &'static str,
    /// Its `groupPriorityMinimum` among all groups; the higher comes first.
    pub priority: u32,
    /// Its versions, the preferred one first.
    pub versions: &'static [GroupVersion],
}

/// One version of a group.
#[derive(Debug, PartialEq, Eq)]
pub struct GroupVersion {
    /// Its name, as in `v1beta1`.
    pub version: &'static str,
    /// Its `versionPriority` in the group; the higher comes first.
    pub priority: u32,
    /// Whether it is served without being switched on.
    pub default: bool,
}

/// A feature gate and what it is set to by default.
#[derive(Debug, PartialEq, Eq)]
pub struct FeatureGate {
    /// Its name.
    pub name: &'static str,
    /// How mature it is.
    pub stage: Stage,
    /// Whether it is on.
    pub default: bool,
}

/// The maturity of a feature gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Off unless asked for.
    Alpha,
    /// May be switched off.
    Beta,
    /// Settled.
    Ga,
    /// About to go.
    Deprecated,
}

impl Kind {
    /// The `apiVersion` of its objects, as in `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        api_version(self.group, self.version)
    }

    /// Whether the verb is among those it supports.
    pub fn allows(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    /// The subresource of that name.
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }

    /// What the store's keys of all its objects begin with, or of those in one namespace.
    pub fn storage_prefix(&self, namespace: Option<&str>) -> String {
        match namespace {
            Some(namespace) if self.namespaced => format!("{}{namespace}/", self.etcd_prefix),
            _ => self.etcd_prefix.to_owned(),
        }
    }

    /// The store's key of one object; the namespace counts only for a namespaced kind.
    pub fn storage_key(&self, namespace: Option<&str>, name: &str) -> String {
        let mut key = self.storage_prefix(namespace);
        key.push_str(name);
        key
    }
}

impl Subresource {
    /// Whether the verb is among those it supports.
    pub fn allows(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }
}

/// The row of a resource in a path.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    let at = KINDS
        .binary_search_by(|row| (row.group, row.version, row.plural).cmp(&(group, version, plural)))
        .ok()?;
    KINDS.get(at)
}

/// The row of a kind in an object.
pub fn find_kind(group: &str, version: &str, kind: &str) -> Option<&'static Kind> {
    of_version(group, version).find(|row| row.kind == kind)
}

/// Every row of one group and version, ordered by plural.
pub fn of_version(group: &str, version: &str) -> impl Iterator<Item = &'static Kind> {
    let start = KINDS.partition_point(|row| (row.group, row.version) < (group, version));
    let end = KINDS.partition_point(|row| (row.group, row.version) <= (group, version));
    KINDS[start..end].iter()
}

/// The group of that name.
pub fn group(name: &str) -> Option<&'static Group> {
    GROUPS.iter().find(|group| group.name == name)
}

/// The feature gate of that name.
pub fn feature_gate(name: &str) -> Option<&'static FeatureGate> {
    let at = FEATURE_GATES.binary_search_by(|gate| gate.name.cmp(name)).ok()?;
    FEATURE_GATES.get(at)
}

/// A group and a version as `apiVersion` has them.
pub fn api_version(group: &str, version: &str) -> String {
    match group {
        "" => version.to_owned(),
        _ => format!("{group}/{version}"),
    }
}

/// The group and the version in an `apiVersion`; more than one slash is no `apiVersion`.
pub fn split_api_version(text: &str) -> Option<(&str, &str)> {
    match text.split_once('/') {
        None => Some(("", text)),
        Some((_, version)) if version.contains('/') => None,
        Some(pair) => Some(pair),
    }
}
