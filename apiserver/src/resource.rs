//! The stored resources: where each keeps its objects, and how a key in the store is read.

use proto::kind::{KINDS, Kind, find, find_kind, split_api_version};

use crate::kind::{Behavior, behavior};

/// What the keys in the table of kinds begin with, which `--etcd-prefix` may replace.
const TABLE_PREFIX: &str = "/registry";

/// One stored resource. Several rows of the table of kinds (one per version) may share it.
#[derive(Debug)]
pub struct Resource {
    /// Its place in [`Resources`] and in the cache.
    pub index: usize,
    /// The row of the version it is stored in.
    pub kind: &'static Kind,
    /// How its objects behave.
    pub behavior: &'static Behavior,
    /// What its keys begin with, slash included.
    pub prefix: String,
    /// The JSON that an encoded object begins with: kind and version.
    pub head: String,
}

/// All stored resources.
#[derive(Debug)]
pub struct Resources {
    all: Vec<Resource>,
    /// Prefixes and places, in order of prefix.
    by_prefix: Vec<(String, usize)>,
}

impl Resource {
    /// The key of an object, below the prefix: `namespace/name` or `name`.
    pub fn path(&self, namespace: &str, name: &str) -> String {
        if self.kind.namespaced { format!("{namespace}/{name}") } else { name.to_owned() }
    }

    /// The store's key of an object.
    pub fn key(&self, namespace: &str, name: &str) -> String {
        format!("{}{}", self.prefix, self.path(namespace, name))
    }

    /// What the paths of all objects begin with, or (in a namespace) of those.
    pub fn path_prefix(&self, namespace: &str) -> String {
        if namespace.is_empty() || !self.kind.namespaced { String::new() } else { format!("{namespace}/") }
    }

    /// What the keys of all objects begin with, or (in a namespace) of those.
    pub fn key_prefix(&self, namespace: &str) -> String {
        if namespace.is_empty() || !self.kind.namespaced {
            self.prefix.clone()
        } else {
            format!("{}{namespace}/", self.prefix)
        }
    }
}

/// The JSON that an encoded object begins with.
pub fn head(kind: &str, api_version: &str) -> String {
    format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",")
}

impl Resources {
    /// Those of the table of kinds, below a prefix of keys.
    pub fn new(etcd_prefix: &str) -> Self {
        let mut all: Vec<Resource> = Vec::new();
        let mut by_prefix: Vec<(String, usize)> = Vec::new();
        for row in KINDS.iter().filter(|row| row.stored) {
            let below = row.etcd_prefix.strip_prefix(TABLE_PREFIX).unwrap_or(row.etcd_prefix);
            let prefix = format!("{etcd_prefix}{below}");
            if by_prefix.iter().any(|(known, _)| *known == prefix) {
                continue;
            }
            let kind = split_api_version(row.storage_version)
                .and_then(|(group, version)| find_kind(group, version, row.kind))
                .unwrap_or(row);
            let index = all.len();
            by_prefix.push((prefix.clone(), index));
            all.push(Resource {
                index,
                kind,
                behavior: behavior(kind.group, kind.plural),
                prefix,
                head: head(kind.kind, &kind.api_version()),
            });
        }
        by_prefix.sort();
        Self { all, by_prefix }
    }

    /// All of them, by their places.
    pub fn all(&self) -> &[Resource] {
        &self.all
    }

    /// The resource that holds the objects of a row of the table of kinds.
    pub fn of_kind(&self, kind: &Kind) -> Option<&Resource> {
        self.all.iter().find(|resource| resource.kind.etcd_prefix == kind.etcd_prefix)
    }

    /// The resource of a group and a plural name, whatever the version.
    pub fn of(&self, group: &str, plural: &str) -> Option<&Resource> {
        self.all
            .iter()
            .find(|resource| resource.kind.group == group && resource.kind.plural == plural)
            .or_else(|| {
                let row = KINDS.iter().find(|row| row.group == group && row.plural == plural)?;
                self.of_kind(find(row.group, row.version, row.plural)?)
            })
    }

    /// Which resource a key of the store belongs to, and its path there.
    pub fn of_key<'k>(&self, key: &'k [u8]) -> Option<(&Resource, &'k str)> {
        let after = self.by_prefix.partition_point(|(prefix, _)| prefix.as_bytes() <= key);
        let (prefix, index) = self.by_prefix.get(after.checked_sub(1)?)?;
        let path = std::str::from_utf8(key.strip_prefix(prefix.as_bytes())?).ok()?;
        Some((self.all.get(*index)?, path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_belong_to_resources() {
        let resources = Resources::new("/x");
        let cases = [
            ("/x/pods/a/b", Some(("pods", "a/b"))),
            ("/x/services/specs/a/b", Some(("services", "a/b"))),
            ("/x/services/endpoints/a/b", Some(("endpoints", "a/b"))),
            ("/x/minions/n", Some(("nodes", "n"))),
            ("/x/podtemplates/a/b", Some(("podtemplates", "a/b"))),
            ("/x/ranges/serviceips", None),
            ("/y", None),
        ];
        for (key, expected) in cases {
            let found = resources.of_key(key.as_bytes()).map(|(resource, path)| (resource.kind.plural, path));
            assert_eq!(found, expected, "{key}");
        }
    }

    #[test]
    fn versions_share_a_resource() {
        let resources = Resources::new("/registry");
        let place = |group, plural| resources.of(group, plural).unwrap().index;
        assert_eq!(place("", "events"), place("events.k8s.io", "events"));
        assert_eq!(resources.of("autoscaling", "horizontalpodautoscalers").unwrap().kind.version, "v2");
        assert_eq!(resources.of("apps", "deployments").unwrap().key("a", "b"), "/registry/deployments/a/b");
    }
}
