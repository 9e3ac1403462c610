//! Deployments, ReplicaSets, ReplicationControllers, DaemonSets, StatefulSets and ControllerRevisions.

use serde_json::{Value, json};

use super::check::{At, Errors, is_selector, matches, same, selector};
use super::fill::{self, Default, Fill::Int, Fill::Object, Fill::Str};
use super::pod::validated;
use super::podspec::{self, check};
use super::{Behavior, GENERIC, WITH_STATUS, format};
use crate::field::FieldError;
use crate::object::{as_map, meta_mut, meta_value, set_meta};

pub(crate) const DEPLOYMENT: Behavior = Behavior {
    default: default_deployment,
    validate_create: |object| validated(object, deployment),
    validate_update: |new, old| updated(new, old, deployment, true),
    prepare_status: |new, old| {
        super::keep_all_but_status_and_metadata(new, old);
        set_meta(new, "labels", meta_value(old, "labels").cloned());
    },
    validate_status: |new, old| validated(new, |at, out| deployment_status(at, old, out)),
    generation: true,
    counted_metadata: &["annotations"],
    ..WITH_STATUS
};

pub(crate) const REPLICA_SET: Behavior = Behavior {
    default: |object| {
        podspec::fill_template(object, "spec.template");
        fill::apply(object, &[("spec.replicas", Int(1))]);
    },
    validate_create: |object| validated(object, replica_set),
    validate_update: |new, old| updated(new, old, replica_set, true),
    validate_status: |new, _| validated(new, replica_status),
    generation: true,
    ..WITH_STATUS
};

pub(crate) const REPLICATION_CONTROLLER: Behavior = Behavior {
    default: default_controller,
    validate_create: |object| validated(object, controller),
    validate_update: |new, _| validated(new, controller),
    validate_status: |new, _| validated(new, replica_status),
    selectable_fields: &[("status.replicas", replicas)],
    generation: true,
    ..WITH_STATUS
};

pub(crate) const DAEMON_SET: Behavior = Behavior {
    default: default_daemon_set,
    prepare_create: |object| {
        super::drop_status(object);
        object["spec"]["templateGeneration"] = Value::Null;
        if let Some(spec) = object["spec"].as_object_mut() {
            spec.remove("templateGeneration");
        }
        set_template_generation(object, 1);
    },
    prepare_update: |new, old| {
        super::keep_status(new, old);
        let changed = new["spec"]["template"] != old["spec"]["template"];
        set_template_generation(new, template_generation(old) + i64::from(changed));
    },
    validate_create: |object| validated(object, daemon_set),
    validate_update: |new, old| updated(new, old, daemon_set, true),
    generation: true,
    ..WITH_STATUS
};

pub(crate) const STATEFUL_SET: Behavior = Behavior {
    default: default_stateful_set,
    validate_create: |object| validated(object, stateful_set),
    validate_update: update_stateful_set,
    generation: true,
    ..WITH_STATUS
};

pub(crate) const CONTROLLER_REVISION: Behavior = Behavior {
    validate_create: |object| validated(object, revision),
    validate_update: |new, old| {
        validated(new, |at, out| {
            revision(at, out);
            at.get("data").immutable(out, old.get("data").unwrap_or(&Value::Null));
        })
    },
    ..GENERIC
};

fn replicas(object: &Value) -> String {
    fill::int(object, "status.replicas").unwrap_or_default().to_string()
}

const DEPLOYMENT_DEFAULTS: &[Default] = &[
    ("spec.replicas", Int(1)),
    ("spec.strategy+.type", Str("RollingUpdate")),
    ("spec.revisionHistoryLimit", Int(10)),
    ("spec.progressDeadlineSeconds", Int(600)),
];

fn default_deployment(object: &mut Value) {
    fill::child(object, "spec");
    podspec::fill_template(object, "spec.template");
    fill::apply(object, DEPLOYMENT_DEFAULTS);
    if fill::text(object, "spec.strategy.type") == "RollingUpdate" {
        fill::apply(
            object,
            &[
                ("spec.strategy.rollingUpdate+.maxUnavailable", Str("25%")),
                ("spec.strategy.rollingUpdate+.maxSurge", Str("25%")),
            ],
        );
    }
}

/// A ReplicationController selects what its template makes.
fn default_controller(object: &mut Value) {
    fill::child(object, "spec");
    podspec::fill_template(object, "spec.template");
    fill::apply(object, &[("spec.replicas", Int(1))]);
    let Some(labels) = fill::find(object, "spec.template.metadata.labels").cloned() else { return };
    if fill::find(object, "spec.selector").is_none_or(|selector| selector == &json!({})) {
        object["spec"]["selector"] = labels.clone();
    }
    if fill::find(object, "metadata.labels").is_none_or(|own| own == &json!({})) {
        object["metadata"]["labels"] = labels;
    }
}

const DAEMON_SET_DEFAULTS: &[Default] =
    &[("spec.updateStrategy+.type", Str("RollingUpdate")), ("spec.revisionHistoryLimit", Int(10))];

fn default_daemon_set(object: &mut Value) {
    fill::child(object, "spec");
    podspec::fill_template(object, "spec.template");
    fill::apply(object, DAEMON_SET_DEFAULTS);
    if fill::text(object, "spec.updateStrategy.type") == "RollingUpdate" {
        fill::apply(
            object,
            &[
                ("spec.updateStrategy.rollingUpdate+.maxUnavailable", Int(1)),
                ("spec.updateStrategy.rollingUpdate+.maxSurge", Int(0)),
            ],
        );
    }
}

/// Where the count of a DaemonSet's templates is kept, which once was a field.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn template_generation(object: &Value) -> i64 {
    let count = meta_value(object, "annotations").and_then(|all| all[TEMPLATE_GENERATION].as_str());
    count.and_then(|count| count.parse().ok()).unwrap_or(1)
}

fn set_template_generation(object: &mut Value, count: i64) {
    let annotations = meta_mut(object).entry("annotations").or_insert_with(|| json!({}));
    as_map(annotations).insert(TEMPLATE_GENERATION.to_owned(), count.to_string().into());
}

const STATEFUL_SET_DEFAULTS: &[Default] = &[
    ("spec.podManagementPolicy", Str("OrderedReady")),
    ("spec.updateStrategy+.type", Str("RollingUpdate")),
    ("spec.persistentVolumeClaimRetentionPolicy+.whenDeleted", Str("Retain")),
    ("spec.persistentVolumeClaimRetentionPolicy+.whenScaled", Str("Retain")),
    ("spec.replicas", Int(1)),
    ("spec.revisionHistoryLimit", Int(10)),
    ("spec.volumeClaimTemplates[].apiVersion", Str("v1")),
    ("spec.volumeClaimTemplates[].kind", Str("PersistentVolumeClaim")),
    ("spec.volumeClaimTemplates[].metadata", Object),
    ("spec.volumeClaimTemplates[].spec+.volumeMode", Str("Filesystem")),
    ("spec.volumeClaimTemplates[].status+.phase", Str("Pending")),
];

fn default_stateful_set(object: &mut Value) {
    fill::child(object, "spec");
    podspec::fill_template(object, "spec.template");
    fill::apply(object, STATEFUL_SET_DEFAULTS);
    if fill::text(object, "spec.updateStrategy.type") == "RollingUpdate" {
        fill::apply(object, &[("spec.updateStrategy.rollingUpdate+.partition", Int(0))]);
        fill::each(object, "spec.updateStrategy.rollingUpdate", &mut |rolling| {
            // Behind a gate that is off: upstream drops it.
            if let Some(rolling) = rolling.as_object_mut() {
                rolling.remove("maxUnavailable");
            }
        });
    }
}

type Judge = fn(&At<'_>, &mut Errors);

/// Validates the new object and that its selector is the old one's.
fn updated(new: &Value, old: &Value, judge: Judge, frozen_selector: bool) -> Vec<FieldError> {
    validated(new, |at, out| {
        judge(at, out);
        if frozen_selector {
            at.get("spec.selector").immutable(out, &old["spec"]["selector"]);
        }
    })
}

/// The selector of a workload, and that its template has the labels selected; `noun` is what upstream calls it here.
fn selection(at: &At<'_>, noun: &str, invalid: Option<&str>, out: &mut Errors) {
    let wanted = at.get("selector");
    if wanted.value.is_null() {
        wanted.required(out, "");
    } else {
        selector(&wanted, out);
        if wanted.get("matchLabels").len() + wanted.get("matchExpressions").len() == 0 {
            wanted.invalid(out, format!("empty selector is invalid for {noun}"));
        }
    }
    if !wanted.value.is_null() && !is_selector(wanted.value) {
        if let Some(message) = invalid {
            wanted.invalid(out, message);
        }
        return;
    }
    let labels = at.get("template.metadata.labels");
    let empty = wanted.get("matchLabels").len() + wanted.get("matchExpressions").len() == 0;
    if !empty && !matches(wanted.value, labels.value) {
        labels.invalid(out, "`selector` does not match template `labels`");
    }
}

fn counts(at: &At<'_>, fields: &[&str], out: &mut Errors) {
    for field in fields {
        at.get(field).not_negative(out);
    }
}

fn deployment(at: &At<'_>, out: &mut Errors) {
    let spec = at.get("spec");
    counts(&spec, &["replicas"], out);
    let selector = spec.get("selector");
    selection_first(&spec, out);
    if !selector.value.is_null() && !is_selector(selector.value) {
        selector.invalid(out, "invalid label selector");
    } else {
        template_of(&spec, "ReplicaSet", out);
    }
    strategy(&spec.get("strategy"), out);
    counts(&spec, &["minReadySeconds", "revisionHistoryLimit"], out);
    let deadline = spec.get("progressDeadlineSeconds");
    deadline.not_negative(out);
    if let Some(seconds) = deadline.int()
        && seconds <= spec.get("minReadySeconds").int().unwrap_or_default()
    {
        deadline.invalid(out, "must be greater than minReadySeconds");
    }
}

fn selection_first(spec: &At<'_>, out: &mut Errors) {
    let wanted = spec.get("selector");
    if wanted.value.is_null() {
        wanted.required(out, "");
        return;
    }
    selector(&wanted, out);
    if is_empty(&wanted) {
        wanted.invalid(out, "empty selector is invalid for deployment");
    }
}

fn is_empty(selector: &At<'_>) -> bool {
    selector.get("matchLabels").len() + selector.get("matchExpressions").len() == 0
}

/// The template of a ReplicaSet, or of what makes ReplicaSets.
fn template_of(spec: &At<'_>, kind: &str, out: &mut Errors) {
    let (wanted, template) = (spec.get("selector"), spec.get("template"));
    let labels = template.get("metadata.labels");
    if !wanted.value.is_null() && !is_empty(&wanted) && !matches(wanted.value, labels.value) {
        labels.invalid(out, "`selector` does not match template `labels`");
    }
    check::template(&template, out);
    check::lasting_template(&template, kind, out);
}

/// A strategy as upstream's messages show it.
fn shown(at: &At<'_>) -> Value {
    json!({"Type": at.get("type").text(), "RollingUpdate": at.get("rollingUpdate").value})
}

fn strategy(at: &At<'_>, out: &mut Errors) {
    let rolling = at.get("rollingUpdate");
    match at.get("type").text() {
        "Recreate" if !rolling.value.is_null() => {
            rolling.forbidden(out, "may not be specified when strategy `type` is 'Recreate'");
        }
        "Recreate" => {}
        "RollingUpdate" if rolling.value.is_null() => {
            rolling.required(out, "this should be defaulted and never be nil");
        }
        "RollingUpdate" => {
            let (unavailable, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
            share(&unavailable, out);
            share(&surge, out);
            if is_zero(&unavailable) && is_zero(&surge) {
                unavailable.invalid(out, "may not be 0 when `maxSurge` is 0");
            }
            not_over_hundred(&unavailable, out);
        }
        _ => out.push(FieldError::not_supported(&at.path, shown(at), &["Recreate", "RollingUpdate"])),
    }
}

/// A number or a percentage.
pub(crate) fn share(at: &At<'_>, out: &mut Errors) {
    match at.value {
        Value::String(text) => at.each(out, format::percent(text)),
        Value::Number(_) => at.not_negative(out),
        _ => {}
    }
}

fn is_zero(at: &At<'_>) -> bool {
    at.int() == Some(0) || at.text() == "0%"
}

/// Complains of a percentage over 100.
pub(crate) fn not_over_hundred(at: &At<'_>, out: &mut Errors) {
    let over = at.text().strip_suffix('%').and_then(|n| n.parse::<u32>().ok()).is_some_and(|n| n > 100);
    if over {
        at.invalid(out, "must not be greater than 100%");
    }
}

fn replica_set(at: &At<'_>, out: &mut Errors) {
    let spec = at.get("spec");
    counts(&spec, &["replicas", "minReadySeconds"], out);
    selection_first(&spec, out);
    let selector = spec.get("selector");
    if !selector.value.is_null() && !is_selector(selector.value) {
        selector.invalid(out, "invalid label selector");
    } else {
        template_of(&spec, "ReplicaSet", out);
    }
}

fn controller(at: &At<'_>, out: &mut Errors) {
    let spec = at.get("spec");
    counts(&spec, &["minReadySeconds"], out);
    let (wanted, template) = (spec.get("selector"), spec.get("template"));
    if wanted.len() == 0 {
        wanted.required(out, "");
    }
    counts(&spec, &["replicas"], out);
    if template.value.is_null() {
        template.required(out, "");
        return;
    }
    let labels = template.get("metadata.labels");
    if wanted.len() > 0 && !wanted.entries().all(|(key, value)| labels.value.get(key) == Some(value.value)) {
        labels.invalid(out, "`selector` does not match template `labels`");
    }
    check::template(&template, out);
    check::lasting_template(&template, "ReplicationController", out);
}

fn daemon_set(at: &At<'_>, out: &mut Errors) {
    let spec = at.get("spec");
    let wanted = spec.get("selector");
    if wanted.value.is_null() {
        wanted.required(out, "");
    } else {
        selector(&wanted, out);
    }
    let labels = spec.get("template.metadata.labels");
    if is_selector(wanted.value) && !is_empty(&wanted) && !matches(wanted.value, labels.value) {
        labels.invalid(out, "`selector` does not match template `labels`");
    }
    if !wanted.value.is_null() && is_empty(&wanted) {
        wanted.invalid(out, "empty selector is invalid for daemonset");
    }
    check::template(&spec.get("template"), out);
    check::lasting_template(&spec.get("template"), "DaemonSet", out);
    counts(&spec, &["minReadySeconds"], out);
    let update = spec.get("updateStrategy");
    match update.get("type").text() {
        "OnDelete" => {}
        "RollingUpdate" => {
            let rolling = update.get("rollingUpdate");
            let (unavailable, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
            share(&unavailable, out);
            share(&surge, out);
            match (is_zero(&unavailable), is_zero(&surge)) {
                (true, true) => unavailable.invalid(out, "cannot be 0 when maxSurge is 0"),
                (false, false) if surge.is_set() => {
                    surge.invalid(out, "may not be set when maxUnavailable is non-zero")
                }
                _ => {}
            }
            not_over_hundred(&unavailable, out);
            not_over_hundred(&surge, out);
        }
        _ => {
            out.push(FieldError::not_supported(&update.path, shown(&update), &["RollingUpdate", "OnDelete"]))
        }
    }
    counts(&spec, &["revisionHistoryLimit"], out);
}

fn stateful_set(at: &At<'_>, out: &mut Errors) {
    let spec = at.get("spec");
    let policy = spec.get("podManagementPolicy");
    if !policy.is_set() {
        policy.required(out, "");
    } else if !matches!(policy.text(), "OrderedReady" | "Parallel") {
        policy.invalid(out, "must be 'OrderedReady' or 'Parallel'");
    }
    let update = spec.get("updateStrategy");
    match update.get("type").text() {
        "" => update.required(out, ""),
        "OnDelete" if !update.get("rollingUpdate").value.is_null() => {
            update.get("rollingUpdate").invalid(out, "only allowed for updateStrategy 'RollingUpdate'");
        }
        "OnDelete" => {}
        "RollingUpdate" => counts(&update, &["rollingUpdate.partition"], out),
        _ => out.push(FieldError::invalid(
            &update.path,
            shown(&update),
            "must be 'RollingUpdate' or 'OnDelete'",
        )),
    }
    for moment in ["whenDeleted", "whenScaled"] {
        let policy = spec.get("persistentVolumeClaimRetentionPolicy").get(moment);
        policy.one_of_if_set(out, &["Retain", "Delete"]);
    }
    counts(&spec, &["replicas", "minReadySeconds", "ordinals.start", "revisionHistoryLimit"], out);
    selection(&spec, "statefulset", Some(""), out);
    if is_selector(spec.get("selector").value) {
        check::template(&spec.get("template"), out);
    }
    check::lasting_template(&spec.get("template"), "StatefulSet", out);
}

/// The fields of a StatefulSet's spec that may change.
const LIVE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

fn update_stateful_set(new: &Value, old: &Value) -> Vec<FieldError> {
    validated(new, |at, out| {
        stateful_set(at, out);
        let mut spec = new["spec"].clone();
        for field in LIVE {
            spec[field] = old["spec"].get(field).cloned().unwrap_or_default();
        }
        if !same(&spec, &old["spec"]) {
            at.get("spec").forbidden(
                out,
                "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                 'minReadySeconds' are forbidden",
            );
        }
    })
}

fn deployment_status(at: &At<'_>, old: &Value, out: &mut Errors) {
    let status = at.get("status");
    counts(
        &status,
        &[
            "observedGeneration",
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
            "collisionCount",
        ],
        out,
    );
    at_most(&status, "updatedReplicas", "replicas", out);
    at_most(&status, "readyReplicas", "replicas", out);
    at_most(&status, "availableReplicas", "replicas", out);
    at_most(&status, "availableReplicas", "readyReplicas", out);
    let was = fill::int(old, "status.collisionCount");
    let count = status.get("collisionCount");
    if let Some(was) = was
        && count.int().unwrap_or_default() < was
    {
        count.out_of(out, &count.int().unwrap_or_default().into(), "cannot be decremented".to_owned());
    }
}

fn replica_status(at: &At<'_>, out: &mut Errors) {
    let status = at.get("status");
    counts(
        &status,
        &["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"],
        out,
    );
    at_most(&status, "fullyLabeledReplicas", "replicas", out);
    at_most(&status, "readyReplicas", "replicas", out);
    at_most(&status, "availableReplicas", "replicas", out);
    at_most(&status, "availableReplicas", "readyReplicas", out);
}

fn at_most(status: &At<'_>, field: &str, limit: &str, out: &mut Errors) {
    let number = |name: &str| status.get(name).int().unwrap_or_default();
    if number(field) > number(limit) {
        let at = status.get(field);
        at.out_of(out, &number(field).into(), format!("cannot be greater than {}", status.get(limit).path));
    }
}

fn revision(at: &At<'_>, out: &mut Errors) {
    at.get("revision").not_negative(out);
    let data = at.get("data");
    if data.value.is_null() {
        data.required(out, "data is mandatory");
    } else if !data.value.is_object() {
        data.required(out, "data must be a valid JSON object");
    }
}
