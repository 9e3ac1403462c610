//! Roles and bindings.

use serde_json::{Value, json};

use super::check::{At, Errors, same, selector};
use super::fill::{self, Fill::Str};
use super::pod::validated;
use super::{Behavior, GENERIC, NameRule, format};
use crate::field::FieldError;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(crate) const ROLE: Behavior = Behavior {
    default: null_rules,
    validate_create: |object| validated(object, |at, out| rules(at, true, out)),
    validate_update: |new, _| validated(new, |at, out| rules(at, true, out)),
    name_rule: NameRule::PathSegment,
    create_on_update: true,
    ..GENERIC
};

pub(crate) const CLUSTER_ROLE: Behavior = Behavior {
    default: null_rules,
    validate_create: |object| validated(object, cluster_role),
    validate_update: |new, _| validated(new, cluster_role),
    name_rule: NameRule::PathSegment,
    create_on_update: true,
    ..GENERIC
};

pub(crate) const BINDING: Behavior = Behavior {
    default: |object| {
        fill::apply(object, &[("roleRef.apiGroup", Str(GROUP))]);
        fill::each(object, "subjects[]", &mut |subject| {
            if matches!(fill::text(subject, "kind"), "User" | "Group") {
                fill::put(subject, "apiGroup", GROUP.into());
            }
        });
    },
    validate_create: |object| validated(object, binding),
    validate_update: |new, old| {
        validated(new, |at, out| {
            binding(at, out);
            let reference = at.get("roleRef");
            if !same(reference.value, &old["roleRef"]) {
                let field = |name: &str| reference.get(name).text();
                let shown =
                    json!({"APIGroup": field("apiGroup"), "Kind": field("kind"), "Name": field("name")});
                reference.out_of(out, &shown, "cannot change roleRef".to_owned());
            }
        })
    },
    name_rule: NameRule::PathSegment,
    create_on_update: true,
    ..GENERIC
};

/// A role without rules says `null`.
fn null_rules(role: &mut Value) {
    if let Some(role) = role.as_object_mut() {
        let rules = role.entry("rules").or_insert(Value::Null);
        if rules.as_array().is_some_and(Vec::is_empty) {
            *rules = Value::Null;
        }
    }
}

fn cluster_role(at: &At<'_>, out: &mut Errors) {
    rules(at, false, out);
    let aggregation = at.get("aggregationRule");
    if aggregation.value.is_null() {
        return;
    }
    let selectors = aggregation.get("clusterRoleSelectors");
    if selectors.len() == 0 {
        selectors.required(out, "at least one clusterRoleSelector required if aggregationRule is non-nil");
    }
    for one in selectors.items() {
        let before = out.len();
        selector(&one, out);
        if out.len() > before {
            one.out_of(out, &Value::Null, "invalid label selector.".to_owned());
        }
    }
}

fn rules(at: &At<'_>, namespaced: bool, out: &mut Errors) {
    for rule in at.get("rules").items() {
        let (verbs, urls) = (rule.get("verbs"), rule.get("nonResourceURLs"));
        let (groups, resources, names) =
            (rule.get("apiGroups"), rule.get("resources"), rule.get("resourceNames"));
        if verbs.len() == 0 {
            verbs.required(out, "verbs must contain at least one value");
        }
        if urls.len() > 0 {
            if namespaced {
                urls.invalid(out, "namespaced rules cannot apply to non-resource URLs");
            }
            if groups.len() > 0 || resources.len() > 0 || names.len() > 0 {
                urls.invalid(out, "rules cannot apply to both regular resources and non-resource URLs");
            }
            continue;
        }
        if groups.len() == 0 {
            groups.required(out, "resource rules must supply at least one api group");
        }
        if resources.len() == 0 {
            resources.required(out, "resource rules must supply at least one resource");
        }
    }
}

fn binding(at: &At<'_>, out: &mut Errors) {
    let reference = at.get("roleRef");
    let group = reference.get("apiGroup");
    if group.text() != GROUP {
        group.not_supported(out, &[GROUP]);
    }
    let kinds: &[&str] = if at.get("kind").text() == "ClusterRoleBinding" {
        &["ClusterRole"]
    } else {
        &["Role", "ClusterRole"]
    };
    reference.get("kind").one_of(out, kinds);
    let name = reference.get("name");
    if name.must(out) {
        name.each(out, format::path_segment(name.text()));
    }
    let cluster = at.get("kind").text() == "ClusterRoleBinding";
    at.get("subjects").items().for_each(|one| subject(&one, cluster, out));
}

fn subject(at: &At<'_>, cluster: bool, out: &mut Errors) {
    let (kind, name, group) = (at.get("kind"), at.get("name"), at.get("apiGroup"));
    name.must(out);
    match kind.text() {
        "ServiceAccount" => {
            if name.is_set() {
                name.each(out, format::subdomain(name.text()));
            }
            if group.is_set() {
                group.not_supported(out, &[""]);
            }
            if cluster && !at.get("namespace").is_set() {
                at.get("namespace").required(out, "");
            }
        }
        "User" | "Group" if group.text() != GROUP => group.not_supported(out, &[GROUP]),
        "User" | "Group" => {}
        _ => {
            out.push(FieldError::not_supported(&kind.path, kind.text(), &["ServiceAccount", "User", "Group"]))
        }
    }
}
