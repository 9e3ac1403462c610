//! From Ingresses and classes to rules: which are ours, what they refer to, what wins.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use client::Key;
use client::k8s_openapi::api::networking::v1::{IngressBackend, IngressSpec};

use crate::endpoint::PortName;
use crate::model::{Ingress, IngressClass};
use crate::route::{BackendName, Match, Rule};

/// Who the classes are for that we serve.
pub const CONTROLLER: &str = "isopod.dev/ingress";

/// What marks the class of Ingresses that name none.
pub const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";

/// How the class of an Ingress was named before there was a field.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// What the Ingresses of this node say, boiled down.
#[derive(Debug, Default)]
pub struct Plan {
    pub rules: Vec<Rule>,
    /// Where requests go that fit no rule.
    pub fallback: Option<BackendName>,
    /// Which Secret has the certificate for a host; an empty host stands for all that are not listed.
    pub certificates: Vec<(String, Key)>,
}

/// The classes that are ours.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Classes {
    names: BTreeSet<String>,
    has_default: bool,
}

impl Classes {
    /// Those of our controller. `own` is ours in the older annotation even before there is such a class.
    pub fn of(classes: &[Arc<IngressClass>], own: &str) -> Self {
        let mut found = Self { names: BTreeSet::from([own.to_owned()]), has_default: false };
        for class in classes {
            let name = class.metadata.name.as_deref().unwrap_or_default();
            let controller = class.spec.as_ref().and_then(|spec| spec.controller.as_deref());
            if controller == Some(CONTROLLER) {
                found.names.insert(name.to_owned());
                found.has_default |= is_default(class);
            } else if name == own {
                found.names.remove(own);
            }
        }
        found
    }

    /// Whether an Ingress is for us: of one of our classes or, where one of them is the default, of none.
    pub fn has(&self, ingress: &Ingress) -> bool {
        let field = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref());
        let annotation = ingress
            .metadata
            .annotations
            .as_ref()
            .and_then(|all| all.get(CLASS_ANNOTATION))
            .map(String::as_str);
        match field.or(annotation) {
            Some(name) => self.names.contains(name),
            None => self.has_default,
        }
    }
}

/// Whether a class is that of Ingresses that name none.
pub fn is_default(class: &IngressClass) -> bool {
    let annotations = class.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(DEFAULT_CLASS)).is_some_and(|value| value == "true")
}

/// What these Ingresses, all ours, say together. Where two say the same of a host and a path, the older one counts.
pub fn plan(mut ingresses: Vec<Arc<Ingress>>) -> Plan {
    ingresses.sort_by(|a, b| seniority(a, b));
    let mut plan = Plan::default();
    for ingress in &ingresses {
        if let Some(spec) = &ingress.spec {
            let namespace = ingress.metadata.namespace.as_deref().unwrap_or_default();
            add(&mut plan, namespace, spec);
        }
    }
    plan
}

fn seniority(a: &Ingress, b: &Ingress) -> Ordering {
    let made = |ingress: &Ingress| ingress.metadata.creation_timestamp.as_ref().map(|time| time.0);
    made(a).cmp(&made(b)).then_with(|| Key::of(a).cmp(&Key::of(b)))
}

fn add(plan: &mut Plan, namespace: &str, spec: &IngressSpec) {
    if let Some(default) = &spec.default_backend {
        let name = backend(namespace, default);
        // With rules, the default is for what fits none of them; without any, it is for everything.
        if plan.fallback.is_none() {
            plan.fallback = Some(name);
        }
    }
    for rule in spec.rules.iter().flatten() {
        let host = rule.host.clone().unwrap_or_default();
        match &rule.http {
            Some(http) => plan.rules.extend(http.paths.iter().map(|path| Rule {
                host: host.clone(),
                kind: match path.path_type.as_str() {
                    "Exact" => Match::Exact,
                    "Prefix" => Match::Prefix,
                    _ => Match::Specific,
                },
                path: path.path.clone().unwrap_or_default(),
                to: backend(namespace, &path.backend),
            })),
            // A rule without paths sends all of its host to the default backend.
            None => plan.rules.extend(spec.default_backend.iter().map(|default| Rule {
                host: host.clone(),
                kind: Match::Specific,
                path: String::new(),
                to: backend(namespace, default),
            })),
        }
    }
    for tls in spec.tls.iter().flatten() {
        let Some(secret) = tls.secret_name.as_deref().filter(|name| !name.is_empty()) else { continue };
        let key = Key::new(namespace, secret);
        let hosts = tls.hosts.iter().flatten();
        plan.certificates.extend(hosts.map(|host| (host.to_ascii_lowercase(), key.clone())));
        if tls.hosts.as_ref().is_none_or(Vec::is_empty) {
            plan.certificates.push((String::new(), key));
        }
    }
}

/// The Service that a backend names; one without a Service, such as a resource, leads to one that is nowhere, so that
/// its requests are answered with 503.
fn backend(namespace: &str, backend: &IngressBackend) -> BackendName {
    let service = backend.service.as_ref();
    let port = service.and_then(|service| service.port.as_ref());
    let name = port.and_then(|port| port.name.clone()).filter(|name| !name.is_empty());
    let number = port.and_then(|port| port.number).unwrap_or_default();
    BackendName {
        service: Key::new(namespace, service.map_or("", |service| &service.name)),
        port: name.map_or(PortName::Number(number), PortName::Name),
    }
}

impl Plan {
    /// The Services that matter.
    pub fn services(&self) -> BTreeSet<Key> {
        let rules = self.rules.iter().map(|rule| &rule.to);
        rules.chain(&self.fallback).map(|backend| backend.service.clone()).collect()
    }
}

#[cfg(test)]
mod tests;
