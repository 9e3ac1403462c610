//! The columns of who may do what: bindings, certificates, admission.

use serde_json::Value;

use super::{AGE, Cell, Column, NAME, Table, integer, show, text};
use crate::kind::fill;

pub(super) const TABLE: Table = &[
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy", MUTATING_POLICY),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding", POLICY_BINDING),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration", WEBHOOKS),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", VALIDATING_POLICY),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding", POLICY_BINDING),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", WEBHOOKS),
    ("certificates.k8s.io", "CertificateSigningRequest", SIGNING_REQUEST),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", BINDING),
    ("rbac.authorization.k8s.io", "RoleBinding", BINDING),
];

const BINDING: &[Column] = &[
    NAME,
    text(
        "Role",
        Cell::Made(|object| {
            format!("{}/{}", fill::text(object, "roleRef.kind"), fill::text(object, "roleRef.name"))
        }),
    ),
    AGE,
    text("Users", Cell::Made(|object| subjects(object, "User"))).wide(),
    text("Groups", Cell::Made(|object| subjects(object, "Group"))).wide(),
    text("ServiceAccounts", Cell::Made(|object| subjects(object, "ServiceAccount"))).wide(),
];

const SIGNING_REQUEST: &[Column] = &[
    NAME,
    AGE,
    text("SignerName", Cell::TextOr("spec.signerName", "<none>")),
    text("Requestor", Cell::Text("spec.username")),
    text("RequestedDuration", Cell::Made(requested)),
    text("Condition", Cell::Made(state)),
];

const PARAM_KIND: Column = text("ParamKind", Cell::Made(param_kind));

const VALIDATING_POLICY: &[Column] =
    &[NAME, integer("Validations", Cell::Count("spec.validations")), PARAM_KIND, AGE];

const MUTATING_POLICY: &[Column] =
    &[NAME, integer("Mutations", Cell::Count("spec.mutations")), PARAM_KIND, AGE];

const POLICY_BINDING: &[Column] =
    &[NAME, text("PolicyName", Cell::Text("spec.policyName")), text("ParamRef", Cell::Made(param)), AGE];

const WEBHOOKS: &[Column] = &[NAME, integer("Webhooks", Cell::Count("webhooks")), AGE];

fn subjects(binding: &Value, kind: &str) -> String {
    let shown = |subject: &Value| {
        let (namespace, name) = (fill::text(subject, "namespace"), fill::text(subject, "name"));
        if kind == "ServiceAccount" && !namespace.is_empty() {
            format!("{namespace}/{name}")
        } else {
            name.to_owned()
        }
    };
    let of_kind = |subject: &&Value| fill::text(subject, "kind") == kind;
    fill::list(binding, "subjects").iter().filter(of_kind).map(shown).collect::<Vec<_>>().join(", ")
}

fn requested(request: &Value) -> String {
    fill::int(request, "spec.expirationSeconds").map_or_else(|| "<none>".to_owned(), show::duration)
}

fn state(request: &Value) -> String {
    let has = |kind| show::condition(request, "status.conditions", kind).is_some();
    let judged = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    };
    let failed = if has("Failed") { ",Failed" } else { "" };
    let issued = if fill::text(request, "status.certificate").is_empty() { "" } else { ",Issued" };
    format!("{judged}{failed}{issued}")
}

fn param_kind(policy: &Value) -> String {
    fill::find(policy, "spec.paramKind").map_or_else(
        || "<unset>".to_owned(),
        |found| format!("{}/{}", fill::text(found, "apiVersion"), fill::text(found, "kind")),
    )
}

fn param(binding: &Value) -> String {
    let Some(found) = fill::find(binding, "spec.paramRef") else { return "<unset>".to_owned() };
    match (fill::text(found, "name"), fill::text(found, "namespace"), fill::find(found, "selector")) {
        ("", _, Some(selector)) => as_go(selector),
        ("", _, None) => "<unset>".to_owned(),
        // Whether such parameters have a namespace at all cannot be told from here.
        (name, "", _) => format!("*/{name}"),
        (name, namespace, _) => format!("{namespace}/{name}"),
    }
}

/// A label selector as Go's generated code prints it, which is what upstream shows here.
fn as_go(selector: &Value) -> String {
    let labels = fill::find(selector, "matchLabels").and_then(Value::as_object);
    let mut labels: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}: {},", value.as_str().unwrap_or_default()))
        .collect();
    labels.sort();
    let requirements: String = fill::list(selector, "matchExpressions")
        .iter()
        .map(|one| {
            format!(
                "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{}],}},",
                fill::text(one, "key"),
                fill::text(one, "operator"),
                show::texts(one, "values").join(" ")
            )
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{}}},MatchExpressions:[]LabelSelectorRequirement{{{requirements}}},}}",
        labels.concat()
    )
}
