//! What is known of the cluster, arranged by what is asked for; kept up to date change by change.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use client::{Change, Key};

use crate::resource::{Endpoint, Namespace, Node, Service, Slice};

/// The types of a Node's addresses at which others reach it.
const REACHABLE: &[&str] = &["InternalIP", "ExternalIP"];

/// Everything that names are made of.
#[derive(Debug, Default)]
pub struct Index {
    spaces: HashMap<Box<str>, Space>,
    /// Which Services an address belongs to, and in how many places of each it stands.
    owners: HashMap<IpAddr, BTreeMap<Key, usize>>,
    nodes: HashMap<Box<str>, Arc<Node>>,
    homes: HashMap<IpAddr, Box<str>>,
    /// Whether all of it has arrived: before that, what is not here may yet exist.
    pub complete: bool,
    /// The version of the zone; grows with each change.
    pub serial: u32,
}

/// A namespace.
#[derive(Debug, Default)]
struct Space {
    exists: bool,
    services: HashMap<Box<str>, Entry>,
}

/// A Service with its slices; either may arrive before the other.
#[derive(Debug, Default)]
struct Entry {
    service: Option<Arc<Service>>,
    slices: BTreeMap<Arc<str>, Arc<Slice>>,
}

/// A Service as the index shows it.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub service: &'a Service,
    slices: &'a BTreeMap<Arc<str>, Arc<Slice>>,
}

impl<'a> View<'a> {
    /// The endpoints that may be told, each with its slice.
    pub fn endpoints(self) -> impl Iterator<Item = (&'a Slice, &'a Endpoint)> {
        let all = self.service.spec.publish_not_ready_addresses;
        let pairs =
            self.slices.values().flat_map(|slice| slice.endpoints.iter().map(move |each| (&**slice, each)));
        pairs.filter(move |(_, endpoint)| all || endpoint.is_ready())
    }
}

impl Index {
    /// Whether there is such a namespace.
    pub fn has_namespace(&self, name: &str) -> bool {
        self.spaces.get(name).is_some_and(|space| space.exists || !space.services.is_empty())
    }

    /// The Service of this name.
    pub fn service(&self, namespace: &str, name: &str) -> Option<View<'_>> {
        let entry = self.spaces.get(namespace)?.services.get(name)?;
        entry.service.as_ref().map(|service| View { service, slices: &entry.slices })
    }

    /// The Services that an address belongs to, as their own or as that of an endpoint with a host name.
    pub fn owners(&self, address: IpAddr) -> impl Iterator<Item = (&Key, View<'_>)> {
        let keys = self.owners.get(&address).into_iter().flat_map(BTreeMap::keys);
        keys.filter_map(|key| Some((key, self.service(&key.namespace, &key.name)?)))
    }

    /// The Node of this name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name).map(|node| &**node)
    }

    /// The name of the Node at this address.
    pub fn node_at(&self, address: IpAddr) -> Option<&str> {
        self.homes.get(&address).map(|name| &**name)
    }

    /// Takes note of a change of a Service.
    pub fn note_service(&mut self, change: &Change<'_, Service>) {
        let key = Key::of(&**change.object());
        let (old, new) = sides(change);
        for (object, add) in [(old, false), (new, true)] {
            for address in object.iter().flat_map(|service| &service.spec.cluster_ips) {
                self.count(*address, &key, add);
            }
        }
        self.entry(&key, |entry| entry.service = new.cloned());
    }

    /// Takes note of a change of a slice.
    pub fn note_slice(&mut self, change: &Change<'_, Slice>) {
        let (old, new) = sides(change);
        for (object, add) in [(old, false), (new, true)] {
            let Some((slice, name)) = object.and_then(|slice| Some((slice, slice.service()?))) else {
                continue;
            };
            let own = Key::of(&**slice);
            let key = Key::new(&own.namespace, name);
            let named = slice.endpoints.iter().filter(|endpoint| endpoint.hostname.is_some());
            for address in named.flat_map(|endpoint| &endpoint.addresses) {
                self.count(*address, &key, add);
            }
            self.entry(&key, |entry| {
                if add {
                    entry.slices.insert(own.name, Arc::clone(slice));
                } else {
                    entry.slices.remove(&own.name);
                }
            });
        }
    }

    /// Takes note of a change of a Namespace.
    pub fn note_namespace(&mut self, change: &Change<'_, Namespace>) {
        let name = Key::of(&**change.object()).name;
        let exists = !matches!(change, Change::Removed(_));
        self.space(&name, |space| space.exists = exists);
    }

    /// Takes note of a change of a Node.
    pub fn note_node(&mut self, change: &Change<'_, Node>) {
        let name = Key::of(&**change.object()).name;
        let (old, new) = sides(change);
        for address in old.iter().flat_map(|node| node.addresses(REACHABLE)) {
            self.homes.remove(&address);
        }
        for address in new.iter().flat_map(|node| node.addresses(REACHABLE)) {
            self.homes.insert(address, (&*name).into());
        }
        match new {
            Some(node) => self.nodes.insert((&*name).into(), Arc::clone(node)),
            None => self.nodes.remove(&*name),
        };
    }

    fn count(&mut self, address: IpAddr, key: &Key, add: bool) {
        let owners = self.owners.entry(address).or_default();
        let places = owners.entry(key.clone()).or_insert(0);
        *places = if add { *places + 1 } else { places.saturating_sub(1) };
        if *places == 0 {
            owners.remove(key);
        }
        if owners.is_empty() {
            self.owners.remove(&address);
        }
    }

    fn space(&mut self, name: &str, change: impl FnOnce(&mut Space)) {
        let space = self.spaces.entry(name.into()).or_default();
        change(space);
        if !space.exists && space.services.is_empty() {
            self.spaces.remove(name);
        }
    }

    fn entry(&mut self, key: &Key, change: impl FnOnce(&mut Entry)) {
        self.space(&key.namespace, |space| {
            let entry = space.services.entry((&*key.name).into()).or_default();
            change(entry);
            if entry.service.is_none() && entry.slices.is_empty() {
                space.services.remove(&*key.name);
            }
        });
    }
}

/// What an object was and what it is.
fn sides<'a, K>(change: &Change<'a, K>) -> (Option<&'a Arc<K>>, Option<&'a Arc<K>>) {
    match *change {
        Change::Added(new) => (None, Some(new)),
        Change::Changed { old, new } => (Some(old), Some(new)),
        Change::Removed(old) => (Some(old), None),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(address: &str) -> Arc<Service> {
        let value = json!({"metadata": {"name": "a", "namespace": "d"}, "spec": {"clusterIPs": [address]}});
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn slice(name: &str, of: &str) -> Arc<Slice> {
        let value = json!({
            "metadata": {"name": name, "namespace": "d", "labels": {"kubernetes.io/service-name": of}},
            "endpoints": [{"addresses": ["10.42.0.9"], "hostname": "h"}],
        });
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn changes_leave_no_trace_of_what_was() {
        let mut index = Index::default();
        let owned = |index: &Index, address: &str| index.owners(address.parse().unwrap()).count();
        let (first, second) = (service("10.43.0.1"), service("10.43.0.2"));
        index.note_slice(&Change::Added(&slice("x", "a")));
        assert!(index.service("d", "a").is_none(), "a slice alone makes no name");
        index.note_service(&Change::Added(&first));
        index.note_service(&Change::Changed { old: &first, new: &second });
        assert_eq!((owned(&index, "10.43.0.1"), owned(&index, "10.43.0.2")), (0, 1));
        // The same endpoint in a second slice, which then goes over to another Service.
        index.note_slice(&Change::Added(&slice("y", "a")));
        assert_eq!(index.service("d", "a").unwrap().endpoints().count(), 2);
        index.note_slice(&Change::Changed { old: &slice("y", "a"), new: &slice("y", "b") });
        assert_eq!(
            (owned(&index, "10.42.0.9"), index.service("d", "a").unwrap().endpoints().count()),
            (1, 1)
        );
        index.note_slice(&Change::Removed(&slice("y", "b")));
        index.note_slice(&Change::Removed(&slice("x", "a")));
        index.note_service(&Change::Removed(&second));
        assert!(index.owners.is_empty() && index.spaces.is_empty());
    }
}
