//! Role based access control: all roles and bindings in parsed form, made anew when one of them has changed.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Deserialize;
use store::Revision;

use super::rule::{Attributes, Rule, allows};
use crate::request::User;
use crate::server::Server;

const GROUP: &str = "rbac.authorization.k8s.io";

/// The resources that decisions are made of.
const RESOURCES: [&str; 4] = ["clusterroles", "roles", "clusterrolebindings", "rolebindings"];

/// Whom a binding means.
#[derive(Debug, Deserialize)]
struct Subject {
    kind: Box<str>,
    name: Box<str>,
    #[serde(default)]
    namespace: Box<str>,
}

#[derive(Debug, Deserialize)]
struct RoleRef {
    kind: Box<str>,
    name: Box<str>,
}

#[derive(Debug, Deserialize)]
struct Role {
    rules: Option<Box<[Rule]>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Binding {
    subjects: Option<Box<[Subject]>>,
    role_ref: RoleRef,
}

/// Roles and bindings by namespace; cluster roles and their bindings are under the empty one.
#[derive(Debug, Default)]
struct Index {
    roles: HashMap<(Box<str>, Box<str>), Role>,
    bindings: HashMap<Box<str>, Vec<Binding>>,
}

/// The authorizer; keeps the index of the latest state it was asked about.
#[derive(Debug, Default)]
pub struct Rbac {
    latest: Mutex<([Revision; 4], Arc<Index>)>,
}

impl Rbac {
    /// Whether some role that is bound to the user allows what is asked for.
    pub fn allows(&self, server: &Server, user: &User, asked: &Attributes<'_>) -> bool {
        self.index(server).allows(user, asked)
    }

    fn index(&self, server: &Server) -> Arc<Index> {
        let now = RESOURCES.map(|name| {
            server.resources().of(GROUP, name).map_or(0, |row| server.cache().changed_at(row.index))
        });
        let mut latest = self.latest.lock();
        if latest.0 != now {
            *latest = (now, Arc::new(Index::read(server)));
        }
        Arc::clone(&latest.1)
    }
}

impl Index {
    fn read(server: &Server) -> Self {
        let mut index = Self::default();
        for name in ["clusterroles", "roles"] {
            for entry in server.list(GROUP, name, "") {
                if let Ok(role) = entry.read() {
                    index.roles.insert((entry.namespace.clone(), entry.name.clone()), role);
                }
            }
        }
        for name in ["clusterrolebindings", "rolebindings"] {
            for entry in server.list(GROUP, name, "") {
                if let Ok(binding) = entry.read() {
                    index.bindings.entry(entry.namespace.clone()).or_default().push(binding);
                }
            }
        }
        index
    }

    fn allows(&self, user: &User, asked: &Attributes<'_>) -> bool {
        let local = Some(asked.namespace).filter(|namespace| !namespace.is_empty());
        std::iter::once("").chain(local).any(|namespace| {
            self.bindings.get(namespace).into_iter().flatten().any(|binding| {
                let means = |subject: &Subject| is_meant(subject, namespace, user);
                binding.subjects.iter().flatten().any(means)
                    && self.rules(&binding.role_ref, namespace).iter().any(|rule| allows(rule, asked))
            })
        })
    }

    fn rules(&self, role: &RoleRef, namespace: &str) -> &[Rule] {
        let namespace = if &*role.kind == "ClusterRole" { "" } else { namespace };
        let found = self.roles.get(&(namespace.into(), role.name.clone()));
        found.and_then(|role| role.rules.as_deref()).unwrap_or_default()
    }
}

/// Whether a subject of a binding in a namespace means the user.
fn is_meant(subject: &Subject, namespace: &str, user: &User) -> bool {
    match &*subject.kind {
        "User" => *subject.name == *user.name,
        "Group" => user.groups.iter().any(|group| **group == *subject.name),
        "ServiceAccount" => {
            let home = if subject.namespace.is_empty() { namespace } else { &*subject.namespace };
            let rest = user.name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
            !home.is_empty() && rest == Some((home, &*subject.name))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::json;

    use super::*;
    use crate::request::RequestInfo;

    #[test]
    fn bindings_and_users() {
        let mut index = Index::default();
        let role = json!({"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "nodes"]}]});
        index.roles.insert(("".into(), "reader".into()), serde_json::from_value(role).unwrap());
        for (namespace, subject) in [
            ("", json!({"kind": "Group", "name": "ops"})),
            ("x", json!({"kind": "User", "name": "bob"})),
            ("x", json!({"kind": "ServiceAccount", "name": "sa", "namespace": "y"})),
        ] {
            let binding =
                json!({"subjects": [subject], "roleRef": {"kind": "ClusterRole", "name": "reader"}});
            let binding = serde_json::from_value(binding).unwrap();
            index.bindings.entry(namespace.into()).or_default().push(binding);
        }
        let cases = [
            ("carol", "ops", "/api/v1/nodes/n", true),
            ("carol", "", "/api/v1/nodes/n", false),
            ("bob", "", "/api/v1/nodes/n", false),
            ("bob", "", "/api/v1/namespaces/x/pods/p", true),
            ("bob", "", "/api/v1/namespaces/y/pods/p", false),
            ("system:serviceaccount:y:sa", "", "/api/v1/namespaces/x/pods/p", true),
            ("system:serviceaccount:x:sa", "", "/api/v1/namespaces/x/pods/p", false),
        ];
        for (name, group, path, expected) in cases {
            let user = User { name: name.into(), groups: vec![group.into()], ..User::default() };
            let info = RequestInfo::parse(&Method::GET, &path.parse().unwrap());
            assert_eq!(index.allows(&user, &Attributes::of(&info)), expected, "{name} {path}");
        }
    }
}
