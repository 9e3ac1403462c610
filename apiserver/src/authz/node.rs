//! What a node's kubelet may do: read what the pods on its node name, and write what is about its node.
//!
//! Upstream keeps a graph of who names whom. Here the pods of one namespace and node are looked through when a
//! request comes, which are few: nothing is held, and nothing lags behind the cache that the kubelet itself reads.

use std::sync::{Arc, LazyLock};

use serde_json::Value;

use super::Verdict;
use super::rule::{Attributes, Rule, allows};
use crate::cache::Entry;
use crate::kind::fill;
use crate::request::User;
use crate::server::Server;

mod reference;

pub(crate) use reference::named_by;
use reference::names;

/// The rules for all else, the same for every node.
static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| crate::bootstrap::rules_of("system:node"));

/// Where kubelets keep the leases of their nodes.
const LEASES: &str = "kube-node-lease";

/// The name of the node that a user is; `None`: it is no node, empty: it does not say which.
pub(crate) fn name_of(user: &User) -> Option<&str> {
    if !user.groups.iter().any(|group| group == "system:nodes") {
        return None;
    }
    user.name.strip_prefix("system:node:")
}

/// Whether a node may do what it asks for.
pub(super) fn decide(server: &Server, user: &User, asked: &Attributes<'_>) -> Verdict {
    let Some(node) = name_of(user) else { return Verdict::default() };
    if node.is_empty() {
        return Verdict::pass(format!("unknown node for user {}", crate::field::quoted(&user.name)));
    }
    let subject = Node { server, name: node };
    if !asked.is_resource {
        return uniform(asked);
    }
    match (asked.group, asked.resource) {
        ("", "secrets" | "configmaps") => subject.read_one(asked),
        ("", "persistentvolumeclaims") if asked.subresource == "status" => subject.update_status(asked),
        ("", "persistentvolumeclaims" | "persistentvolumes")
        | ("resource.k8s.io", "resourceclaims")
        | ("storage.k8s.io", "volumeattachments") => subject.get(asked),
        ("", "serviceaccounts") => subject.create_token(asked),
        ("", "nodes") => own_node(node, asked),
        ("", "pods") => subject.pod(asked),
        ("coordination.k8s.io", "leases") => own_lease(node, asked),
        ("storage.k8s.io", "csinodes") => own_csi_node(node, asked),
        ("resource.k8s.io", "resourceslices") => subject.slice(asked),
        _ => uniform(asked),
    }
}

fn uniform(asked: &Attributes<'_>) -> Verdict {
    Verdict { allowed: RULES.iter().any(|rule| allows(rule, asked)), reason: String::new() }
}

/// Whether a request is narrowed down to what has this value in this field.
fn is_narrowed(asked: &Attributes<'_>, field: &str, value: &str) -> bool {
    asked.fields.split(',').any(|term| {
        let wanted = term.trim().strip_prefix(field).and_then(|rest| rest.strip_prefix('='));
        wanted.map(|wanted| wanted.strip_prefix('=').unwrap_or(wanted)) == Some(value)
    })
}

/// The node's own `Node`. What it writes there is for admission to judge, which knows the object.
fn own_node(node: &str, asked: &Attributes<'_>) -> Verdict {
    match (asked.subresource, asked.verb) {
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Verdict::allow(""),
        ("", "get" | "list" | "watch") => match asked.name {
            name if name == node => Verdict::allow(""),
            "" => Verdict::pass(format!("node '{node}' cannot read all nodes, only its own Node object")),
            other => Verdict::pass(format!("node '{node}' cannot read '{other}', only its own Node object")),
        },
        _ => Verdict::default(),
    }
}

/// Whether a verb is one of those that a node uses on objects of its own name.
fn is_own_verb(verb: &str) -> bool {
    matches!(verb, "get" | "create" | "update" | "patch" | "delete")
}

fn own_lease(node: &str, asked: &Attributes<'_>) -> Verdict {
    if !is_own_verb(asked.verb) {
        return Verdict::pass("can only get, create, update, patch, or delete a node lease");
    }
    if asked.namespace != LEASES {
        return Verdict::pass(format!("can only access leases in the {LEASES:?} system namespace"));
    }
    if asked.verb != "create" && asked.name != node {
        return Verdict::pass("can only access node lease with the same name as the requesting node");
    }
    Verdict::allow("")
}

fn own_csi_node(node: &str, asked: &Attributes<'_>) -> Verdict {
    if !is_own_verb(asked.verb) {
        return Verdict::pass("can only get, create, update, patch, or delete a CSINode");
    }
    if !asked.subresource.is_empty() {
        return Verdict::pass("cannot authorize CSINode subresources");
    }
    if asked.verb != "create" && asked.name != node {
        return Verdict::pass("can only access CSINode with the same name as the requesting node");
    }
    Verdict::allow("")
}

/// A node that asks.
struct Node<'a> {
    server: &'a Server,
    name: &'a str,
}

impl Node<'_> {
    fn read_one(&self, asked: &Attributes<'_>) -> Verdict {
        if !matches!(asked.verb, "get" | "list" | "watch") {
            return Verdict::pass("can only read resources of this type");
        }
        if !asked.subresource.is_empty() {
            return Verdict::pass("cannot read subresource");
        }
        if asked.namespace.is_empty() {
            return Verdict::pass("can only read namespaced object of this type");
        }
        self.related(asked)
    }

    fn get(&self, asked: &Attributes<'_>) -> Verdict {
        if asked.verb != "get" {
            return Verdict::pass("can only get individual resources of this type");
        }
        if !asked.subresource.is_empty() {
            return Verdict::pass("cannot get subresource");
        }
        self.related(asked)
    }

    fn update_status(&self, asked: &Attributes<'_>) -> Verdict {
        if !matches!(asked.verb, "update" | "patch") {
            return Verdict::pass("can only get/update/patch this type");
        }
        self.related(asked)
    }

    fn create_token(&self, asked: &Attributes<'_>) -> Verdict {
        if asked.verb != "create" || asked.name.is_empty() {
            return Verdict::pass("can only create tokens for individual service accounts");
        }
        if asked.subresource != "token" {
            return Verdict::pass("can only create token subresource of serviceaccount");
        }
        self.related(asked)
    }

    fn pod(&self, asked: &Attributes<'_>) -> Verdict {
        match (asked.subresource, asked.verb) {
            ("", "get") => self.get(asked),
            ("", "list" | "watch") if is_narrowed(asked, "spec.nodeName", self.name) => Verdict::allow(""),
            ("", "list" | "watch") if !asked.name.is_empty() => self.related(asked),
            ("", "list" | "watch") => {
                Verdict::pass("can only list/watch pods with spec.nodeName field selector")
            }
            // Which pods these may be about, admission says.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => {
                Verdict::allow("")
            }
            _ => Verdict::default(),
        }
    }

    fn slice(&self, asked: &Attributes<'_>) -> Verdict {
        if !asked.subresource.is_empty() {
            return Verdict::pass("cannot authorize ResourceSlice subresources");
        }
        match asked.verb {
            "create" => Verdict::allow(""),
            "get" | "update" | "patch" | "delete" => self.related(asked),
            "watch" | "list" | "deletecollection" if is_narrowed(asked, "spec.nodeName", self.name) => {
                Verdict::allow("")
            }
            "watch" | "list" | "deletecollection" => Verdict::pass(
                "can only list/watch/deletecollection resourceslices with nodeName field selector",
            ),
            _ => Verdict::pass(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, \
                 patch, delete, deletecollection",
            ),
        }
    }

    /// Whether the object has to do with the node.
    fn related(&self, asked: &Attributes<'_>) -> Verdict {
        if asked.name.is_empty() {
            return Verdict::pass("No Object name found");
        }
        let (namespace, name) = (asked.namespace, asked.name);
        let found = match asked.resource {
            "pods" => self.server.get("", "pods", namespace, name).is_some_and(|pod| self.is_here(&pod)),
            "persistentvolumes" => self
                .server
                .get("", asked.resource, "", name)
                .is_some_and(|volume| self.has_volume(&volume.value())),
            "volumeattachments" | "resourceslices" => {
                let object = self.server.get(asked.group, asked.resource, "", name);
                object.is_some_and(|object| fill::text(&object.value(), "spec.nodeName") == self.name)
            }
            "secrets" => self.has_pod_naming(asked.resource, namespace, name) || self.mounts(namespace, name),
            resource => self.has_pod_naming(resource, namespace, name),
        };
        if found {
            return Verdict::allow("");
        }
        Verdict::pass(format!("no relationship found between node '{}' and this object", self.name))
    }

    fn is_here(&self, pod: &Arc<Entry>) -> bool {
        let fields = self.server.resources().of("", "pods").map(|pods| pods.behavior.selectable_fields);
        let place = fields.unwrap_or_default().iter().position(|(field, _)| *field == "spec.nodeName");
        place.and_then(|place| pod.fields.get(place)).is_some_and(|node| **node == *self.name)
    }

    /// The pods of a namespace, or (empty) of all, that are on the node.
    fn pods(&self, namespace: &str) -> impl Iterator<Item = Value> {
        let pods = self.server.list("", "pods", namespace);
        pods.into_iter().filter(|pod| self.is_here(pod)).map(|pod| pod.value())
    }

    fn has_pod_naming(&self, resource: &str, namespace: &str, name: &str) -> bool {
        self.pods(namespace).any(|pod| names(&pod, resource, name))
    }

    /// Whether a pod here uses the claim of a volume.
    fn has_volume(&self, volume: &Value) -> bool {
        let claim = &volume["spec"]["claimRef"];
        let (namespace, name) = (fill::text(claim, "namespace"), fill::text(claim, "name"));
        !name.is_empty() && self.has_pod_naming("persistentvolumeclaims", namespace, name)
    }

    /// Whether a volume that a pod here uses needs this secret.
    fn mounts(&self, namespace: &str, name: &str) -> bool {
        self.server.list("", "persistentvolumes", "").iter().map(|volume| volume.value()).any(|volume| {
            reference::volume_needs_secret(&volume, namespace, name) && self.has_volume(&volume)
        })
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::request::RequestInfo;

    #[test]
    fn nodes_and_others() {
        let user = |name: &str, group: &str| User {
            name: name.into(),
            groups: vec![group.into()],
            ..User::default()
        };
        assert_eq!(name_of(&user("system:node:a", "system:nodes")), Some("a"));
        assert_eq!(name_of(&user("system:node:a", "others")), None);
        assert_eq!(name_of(&user("bob", "system:nodes")), None);
    }

    #[test]
    fn what_is_a_nodes_own() {
        type Judge = fn(&str, &Attributes<'_>) -> Verdict;
        let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
        let cases: &[(Judge, &str, String, bool)] = &[
            (own_node, "GET", "/api/v1/nodes/a".into(), true),
            (own_node, "GET", "/api/v1/nodes/b".into(), false),
            (own_node, "GET", "/api/v1/nodes".into(), false),
            (own_node, "GET", "/api/v1/nodes?watch=1&fieldSelector=metadata.name%3Da".into(), true),
            (own_node, "PATCH", "/api/v1/nodes/a/status".into(), true),
            (own_node, "DELETE", "/api/v1/nodes/a".into(), false),
            (own_lease, "POST", lease.into(), true),
            (own_lease, "PUT", format!("{lease}/a"), true),
            (own_lease, "PUT", format!("{lease}/b"), false),
            (own_lease, "PUT", "/apis/coordination.k8s.io/v1/namespaces/x/leases/a".into(), false),
            (own_csi_node, "DELETE", "/apis/storage.k8s.io/v1/csinodes/a".into(), true),
        ];
        for (judge, method, path, expected) in cases {
            let info = RequestInfo::parse(&method.parse::<Method>().unwrap(), &path.parse().unwrap());
            assert_eq!(judge("a", &Attributes::of(&info)).allowed, *expected, "{method} {path}");
        }
    }

    #[test]
    fn narrowed_requests() {
        for (fields, expected) in [
            ("spec.nodeName=a", true),
            ("x=y, spec.nodeName==a", true),
            ("spec.nodeName!=a", false),
            ("spec.nodeName=ab", false),
        ] {
            let asked = Attributes { fields, ..Attributes::default() };
            assert_eq!(is_narrowed(&asked, "spec.nodeName", "a"), expected, "{fields}");
        }
    }
}
