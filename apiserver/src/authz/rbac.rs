//! Role based access control: all roles and bindings in parsed form, made anew when one of them has changed.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Deserialize;
use store::Revision;

use super::Verdict;
use super::rule::{Attributes, Rule, allows};
use crate::field::quoted;
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
    #[serde(skip)]
    name: Box<str>,
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
    pub fn decide(&self, server: &Server, user: &User, asked: &Attributes<'_>) -> Verdict {
        self.index(server).decide(user, asked)
    }

    /// All rules that a user has in a namespace, or (empty) in the whole cluster; and what is wrong with bindings.
    pub fn rules(&self, server: &Server, user: &User, namespace: &str) -> (Vec<Rule>, Vec<String>) {
        let index = self.index(server);
        let mut found = (Vec::new(), Vec::new());
        for bound in index.bound(user, namespace) {
            match bound.rules {
                Ok(rules) => found.0.extend_from_slice(rules),
                Err(missing) => found.1.push(missing),
            }
        }
        found
    }

    /// The rules of a role; `None` where there is no such role.
    pub fn role(&self, server: &Server, kind: &str, namespace: &str, name: &str) -> Option<Vec<Rule>> {
        let role = RoleRef { kind: kind.into(), name: name.into() };
        self.index(server).rules(&role, namespace).ok().map(<[Rule]>::to_vec)
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
                    let binding = Binding { name: entry.name.clone(), ..binding };
                    index.bindings.entry(entry.namespace.clone()).or_default().push(binding);
                }
            }
        }
        index
    }

    fn decide(&self, user: &User, asked: &Attributes<'_>) -> Verdict {
        let mut missing = Vec::new();
        for bound in self.bound(user, asked.namespace) {
            match bound.rules {
                Ok(rules) if rules.iter().any(|rule| allows(rule, asked)) => {
                    return Verdict::allow(format!("RBAC: allowed by {}", bound.source()));
                }
                Ok(_) => {}
                Err(role) if missing.contains(&role) => {}
                Err(role) => missing.push(role),
            }
        }
        Verdict::pass(match missing.as_slice() {
            [] => String::new(),
            [one] => format!("RBAC: {one}"),
            many => format!("RBAC: [{}]", many.join(", ")),
        })
    }

    /// What is bound to a user: in the whole cluster, then in a namespace.
    fn bound<'a>(&'a self, user: &'a User, namespace: &'a str) -> impl Iterator<Item = Bound<'a>> {
        let local = Some(namespace).filter(|namespace| !namespace.is_empty());
        std::iter::once("").chain(local).flat_map(move |namespace| {
            self.bindings.get(namespace).into_iter().flatten().filter_map(move |binding| {
                let means = |subject: &&Subject| is_meant(subject, namespace, user);
                let subject = binding.subjects.iter().flatten().find(means)?;
                Some(Bound { binding, subject, namespace, rules: self.rules(&binding.role_ref, namespace) })
            })
        })
    }

    /// The rules of a role, or that there is none.
    fn rules(&self, role: &RoleRef, namespace: &str) -> Result<&[Rule], String> {
        let namespace = if &*role.kind == "ClusterRole" { "" } else { namespace };
        let found = self.roles.get(&(namespace.into(), role.name.clone()));
        found
            .map(|role| role.rules.as_deref().unwrap_or_default())
            .ok_or_else(|| format!("{}.{GROUP} {} not found", role.kind.to_lowercase(), quoted(&role.name)))
    }
}

/// A binding that means a user, and the rules it gives them.
struct Bound<'a> {
    binding: &'a Binding,
    subject: &'a Subject,
    namespace: &'a str,
    rules: Result<&'a [Rule], String>,
}

impl Bound<'_> {
    /// Where the rules come from, in upstream's words.
    fn source(&self) -> String {
        let (kind, name) = match self.namespace {
            "" => ("ClusterRoleBinding", self.binding.name.to_string()),
            namespace => ("RoleBinding", format!("{}/{namespace}", self.binding.name)),
        };
        let subject = match &*self.subject.kind {
            "ServiceAccount" => format!("{}/{}", self.subject.name, self.subject.namespace),
            _ => self.subject.name.to_string(),
        };
        let role = &self.binding.role_ref;
        format!(
            "{kind} {} of {} {} to {} {}",
            quoted(&name),
            role.kind,
            quoted(&role.name),
            self.subject.kind,
            quoted(&subject)
        )
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
            assert_eq!(index.decide(&user, &Attributes::of(&info)).allowed, expected, "{name} {path}");
        }
    }

    #[test]
    fn reasons() {
        let mut index = Index::default();
        let role = json!({"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]});
        index.roles.insert(("x".into(), "r".into()), serde_json::from_value(role).unwrap());
        for (name, role) in [("a", "gone"), ("b", "r")] {
            let binding = json!({"subjects": [{"kind": "User", "name": "bob"}],
                "roleRef": {"kind": "Role", "name": role}});
            let mut binding: Binding = serde_json::from_value(binding).unwrap();
            binding.name = name.into();
            index.bindings.entry("x".into()).or_default().push(binding);
        }
        let user = User { name: "bob".into(), ..User::default() };
        for (path, expected) in [
            (
                "/api/v1/namespaces/x/pods/p",
                "RBAC: allowed by RoleBinding \"b/x\" of Role \"r\" to User \"bob\"",
            ),
            ("/api/v1/namespaces/x/secrets/p", "RBAC: role.rbac.authorization.k8s.io \"gone\" not found"),
            ("/api/v1/namespaces/y/pods/p", ""),
        ] {
            let info = RequestInfo::parse(&Method::GET, &path.parse().unwrap());
            assert_eq!(index.decide(&user, &Attributes::of(&info)).reason, expected);
        }
    }
}
