//! Who may do what, asked outright: SubjectAccessReview and its kin, and SelfSubjectRulesReview.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::rule::{Attributes, Rule};
use crate::fault::Fault;
use crate::field::FieldError;
use crate::kind::fill;
use crate::object;
use crate::question;
use crate::request::{Call, Response, User};
use crate::route::Virtual;
use crate::server::Server;

const GROUP: &str = "authorization.k8s.io";

pub(crate) const VIRTUAL: &[Virtual] = &[
    Virtual {
        group: GROUP,
        resource: "selfsubjectaccessreviews",
        handler: |server, call| Box::pin(async move { access(server, &call, About::Myself) }),
    },
    Virtual {
        group: GROUP,
        resource: "subjectaccessreviews",
        handler: |server, call| Box::pin(async move { access(server, &call, About::Somebody) }),
    },
    Virtual {
        group: GROUP,
        resource: "localsubjectaccessreviews",
        handler: |server, call| Box::pin(async move { access(server, &call, About::SomebodyHere) }),
    },
    Virtual {
        group: GROUP,
        resource: "selfsubjectrulesreviews",
        handler: |server, call| Box::pin(async move { rules(server, &call) }),
    },
];

/// Of whom a review asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Myself,
    Somebody,
    SomebodyHere,
}

impl About {
    fn kind(self) -> &'static str {
        match self {
            Self::Myself => "SelfSubjectAccessReview",
            Self::Somebody => "SubjectAccessReview",
            Self::SomebodyHere => "LocalSubjectAccessReview",
        }
    }
}

fn access(server: &Server, call: &Call, about: About) -> Result<Response, Fault> {
    let kind = question::kind(GROUP, about.kind())?;
    let mut review = question::read(call, kind)?;
    let errors = validate(&review, about);
    if !errors.is_empty() {
        return Err(Fault::invalid(GROUP, kind.kind, "", &errors));
    }
    let namespace = &call.info.namespace;
    if about == About::SomebodyHere && object::meta(&review, "namespace") != namespace {
        let message = format!("spec.resourceAttributes.namespace must match namespace: {namespace}");
        return Err(Fault::bad_request(message));
    }
    let spec = &review["spec"];
    let named;
    let user = if about == About::Myself {
        &call.user
    } else {
        named = subject(spec);
        &named
    };
    let fields = field_selector(spec);
    let verdict = super::decide(server, user, &asked(spec, &fields));
    review["status"] = json!({"allowed": verdict.allowed});
    if !verdict.reason.is_empty() {
        review["status"]["reason"] = verdict.reason.into();
    }
    question::answer(call, kind, &review)
}

/// What is wrong with a review.
fn validate(review: &Value, about: About) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &review["spec"];
    let (on, off) = (spec.get("resourceAttributes"), spec.get("nonResourceAttributes"));
    let paths = off.cloned().unwrap_or_default();
    match (on, off) {
        (Some(_), Some(_)) => errors.push(FieldError::invalid(
            "spec.nonResourceAttributes",
            paths.clone(),
            "cannot be specified in combination with resourceAttributes",
        )),
        (None, None) => errors.push(FieldError::invalid(
            "spec.resourceAttributes",
            Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )),
        _ => {}
    }
    let nobody = fill::text(spec, "user").is_empty() && fill::list(spec, "groups").is_empty();
    if about != About::Myself && nobody {
        errors.push(FieldError::invalid("spec.user", "", "at least one of user or group must be specified"));
    }
    let metadata = review["metadata"].as_object().cloned().unwrap_or_default();
    let local = about == About::SomebodyHere;
    let extra = metadata.iter().any(|(key, value)| {
        key != "managedFields" && !(local && key == "namespace") && !value.is_null() && value != ""
    });
    if extra {
        let detail = if local { "must be empty except for namespace" } else { "must be empty" };
        errors.push(FieldError::invalid("metadata", Value::Object(metadata), detail));
    }
    if local {
        let namespace = fill::text(spec, "resourceAttributes.namespace");
        if on.is_some() && namespace != object::meta(review, "namespace") {
            let field = "spec.resourceAttributes.namespace";
            errors.push(FieldError::invalid(field, namespace, "must match metadata.namespace"));
        }
        if off.is_some() {
            let detail = "disallowed on this kind of request";
            errors.push(FieldError::invalid("spec.nonResourceAttributes", paths, detail));
        }
    }
    errors
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The user a review names.
fn subject(spec: &Value) -> User {
    let extra: BTreeMap<String, Vec<String>> = spec["extra"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, values)| (key.to_lowercase(), texts(values)))
        .collect();
    User {
        name: fill::text(spec, "user").to_owned(),
        uid: fill::text(spec, "uid").to_owned(),
        groups: texts(&spec["groups"]),
        extra,
    }
}

/// The field selector of a review, in the form that requests have it in; only equality counts.
fn field_selector(spec: &Value) -> String {
    let selector = &spec["resourceAttributes"]["fieldSelector"];
    let raw = fill::text(selector, "rawSelector");
    if !raw.is_empty() {
        return raw.to_owned();
    }
    let equal = fill::list(selector, "requirements").iter().filter_map(|requirement| {
        let values = texts(&requirement["values"]);
        let is_equal = fill::text(requirement, "operator") == "In" && values.len() == 1;
        is_equal.then(|| format!("{}={}", fill::text(requirement, "key"), values[0]))
    });
    equal.collect::<Vec<_>>().join(",")
}

/// What a review asks for.
fn asked<'a>(spec: &'a Value, fields: &'a str) -> Attributes<'a> {
    if let Some(on) = fill::find(spec, "resourceAttributes") {
        return Attributes {
            is_resource: true,
            verb: fill::text(on, "verb"),
            group: fill::text(on, "group"),
            resource: fill::text(on, "resource"),
            subresource: fill::text(on, "subresource"),
            namespace: fill::text(on, "namespace"),
            name: fill::text(on, "name"),
            path: "",
            fields,
        };
    }
    let path = &spec["nonResourceAttributes"];
    Attributes { verb: fill::text(path, "verb"), path: fill::text(path, "path"), ..Attributes::default() }
}

fn rules(server: &Server, call: &Call) -> Result<Response, Fault> {
    let kind = question::kind(GROUP, "SelfSubjectRulesReview")?;
    let review = question::read(call, kind)?;
    let namespace = fill::text(&review, "spec.namespace");
    if namespace.is_empty() {
        return Err(Fault::bad_request("no namespace on request"));
    }
    let mut found: Vec<Rule> = Vec::new();
    let (mut incomplete, mut wrong) = (false, Vec::new());
    for mode in &server.settings().authorization_mode {
        match mode.as_str() {
            "AlwaysAllow" => found.extend(Rule::everything()),
            "RBAC" => {
                let (rules, errors) = server.rbac().rules(server, &call.user, namespace);
                found.extend(rules);
                wrong.extend(errors);
            }
            "Node" if super::node::name_of(&call.user).is_some() => {
                incomplete = true;
                wrong.push("node authorizer does not support user rule resolution".to_owned());
            }
            _ => {}
        }
    }
    let mut status = status(&found);
    status["incomplete"] = incomplete.into();
    if !wrong.is_empty() {
        status["evaluationError"] = wrong.join(", ").into();
    }
    question::answer(call, kind, &json!({"metadata": {}, "spec": {}, "status": status}))
}

/// Rules as a review shows them.
fn status(rules: &[Rule]) -> Value {
    let (mut on, mut off) = (Vec::new(), Vec::new());
    for rule in rules {
        let mut whole = json!(rule);
        if let Some(urls) = whole["nonResourceURLs"].as_array().filter(|urls| !urls.is_empty()) {
            off.push(json!({"verbs": whole["verbs"], "nonResourceURLs": urls}));
        }
        if whole["resources"].as_array().is_some_and(|resources| !resources.is_empty()) {
            object::as_map(&mut whole).remove("nonResourceURLs");
            on.push(whole);
        }
    }
    json!({"resourceRules": on, "nonResourceRules": off})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reviews_that_make_no_sense() {
        let on = json!({"verb": "get"});
        let cases = [
            (About::Myself, json!({"spec": {"resourceAttributes": on}}), ""),
            (
                About::Myself,
                json!({"spec": {}}),
                "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or \
                 resourceAttributes must be specified",
            ),
            (
                About::Somebody,
                json!({"spec": {"resourceAttributes": on}}),
                "spec.user: Invalid value: \"\": at least one of user or group must be specified",
            ),
            (
                About::SomebodyHere,
                json!({"metadata": {"namespace": "a"}, "spec": {"user": "u", "resourceAttributes": {"namespace": "b"}}}),
                "spec.resourceAttributes.namespace: Invalid value: \"b\": must match metadata.namespace",
            ),
        ];
        for (about, review, expected) in cases {
            let texts: Vec<String> = validate(&review, about).iter().map(ToString::to_string).collect();
            assert_eq!(texts.join(" | "), expected);
        }
    }

    #[test]
    fn selectors_of_reviews() {
        let of =
            |selector: Value| field_selector(&json!({"resourceAttributes": {"fieldSelector": selector}}));
        assert_eq!(of(json!({"rawSelector": "a=b"})), "a=b");
        let requirement = json!({"key": "spec.nodeName", "operator": "In", "values": ["n"]});
        assert_eq!(of(json!({"requirements": [requirement]})), "spec.nodeName=n");
    }
}
