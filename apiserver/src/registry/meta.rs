//! What is checked and kept of every object's metadata, whatever its kind.

use serde_json::Value;

use crate::field::{FieldError, Path};
use crate::kind::NameRule;
use crate::name;
use crate::object::{meta, meta_value, set_meta};

/// The most bytes the annotations of one object may have together.
const ANNOTATION_BYTES: usize = 256 * 1024;

/// Finalizers that the server itself knows.
const KNOWN_FINALIZERS: &[&str] = &["orphan", "foregroundDeletion", "kubernetes"];

/// Metadata that only the server sets, on update kept from the old object.
const SERVERS_OWN: &[&str] =
    &["uid", "creationTimestamp", "deletionGracePeriodSeconds", "generation", "managedFields"];

/// What is wrong with the metadata of a new object.
pub fn validate(object: &Value, rule: NameRule, namespaced: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = Path::root("metadata");
    let generate_name = meta(object, "generateName");
    if !generate_name.is_empty() {
        for wrong in name::check(rule, generate_name, true) {
            errors.push(FieldError::invalid(&path.child("generateName"), generate_name, wrong));
        }
    }
    let own = meta(object, "name");
    if own.is_empty() {
        errors.push(FieldError::required(&path.child("name"), "name or generateName is required"));
    } else {
        for wrong in name::check(rule, own, false) {
            errors.push(FieldError::invalid(&path.child("name"), own, wrong));
        }
    }
    let namespace = meta(object, "namespace");
    if namespaced {
        if namespace.is_empty() {
            errors.push(FieldError::required(&path.child("namespace"), ""));
        } else {
            for wrong in name::label(namespace) {
                errors.push(FieldError::invalid(&path.child("namespace"), namespace, wrong));
            }
        }
    } else if !namespace.is_empty() {
        errors.push(FieldError::forbidden(&path.child("namespace"), "not allowed on this type"));
    }
    errors.extend(validate_common(object));
    errors
}

/// What is checked on create and on update.
fn validate_common(object: &Value) -> Vec<FieldError> {
    let path = Path::root("metadata");
    let mut errors = Vec::new();
    if let Some(generation) = meta_value(object, "generation").and_then(Value::as_i64)
        && generation < 0
    {
        errors.push(FieldError::invalid(
            &path.child("generation"),
            generation,
            "must be greater than or equal to 0",
        ));
    }
    for (key, value) in texts(object, "labels") {
        let path = path.child("labels");
        errors.extend(
            proto::name::label_key_errors(key)
                .into_iter()
                .map(|wrong| FieldError::invalid(&path, key, wrong)),
        );
        errors.extend(
            proto::name::label_value_errors(value)
                .into_iter()
                .map(|wrong| FieldError::invalid(&path, value, wrong)),
        );
    }
    errors.extend(validate_annotations(object, &path.child("annotations")));
    errors.extend(validate_owners(object, &path.child("ownerReferences")));
    errors.extend(validate_finalizers(object, &path.child("finalizers")));
    errors
}

fn texts<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    meta_value(object, field)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
}

fn validate_annotations(object: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut bytes = 0;
    for (key, value) in texts(object, "annotations") {
        let lower = key.to_ascii_lowercase();
        errors.extend(
            proto::name::label_key_errors(&lower)
                .into_iter()
                .map(|wrong| FieldError::invalid(path, key, wrong)),
        );
        bytes += key.len() + value.len();
    }
    if bytes > ANNOTATION_BYTES {
        errors.push(FieldError::too_long(path, ANNOTATION_BYTES));
    }
    errors
}

fn validate_owners(object: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut controller: Option<String> = None;
    let owners = meta_value(object, "ownerReferences").and_then(Value::as_array);
    for owner in owners.into_iter().flatten() {
        let text = |field: &str| owner.get(field).and_then(Value::as_str).unwrap_or_default();
        let version = text("apiVersion");
        let (group, number) = version.split_once('/').unwrap_or(("", version));
        if number.is_empty() {
            errors.push(FieldError::invalid(&path.child("apiVersion"), version, "version must not be empty"));
        }
        for (field, message) in
            [("kind", "must not be empty"), ("name", "must not be empty"), ("uid", "must not be empty")]
        {
            if text(field).is_empty() {
                errors.push(FieldError::invalid(&path.child(field), text(field), message));
            }
        }
        if group.is_empty() && text("kind") == "Event" {
            errors.push(FieldError::invalid(
                path,
                owner.clone(),
                "/v1, Kind=Event is disallowed from being an owner",
            ));
        }
        if owner.get("controller") == Some(&Value::Bool(true)) {
            let this = format!("{}/{}", text("kind"), text("name"));
            if let Some(first) = &controller {
                errors.push(FieldError::invalid(
                    path,
                    owners.cloned().map_or(Value::Null, Value::Array),
                    format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} \
                         and {this}"
                    ),
                ));
            } else {
                controller = Some(this);
            }
        }
    }
    errors
}

fn validate_finalizers(object: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let found = crate::object::finalizers(object);
    for (place, finalizer) in found.iter().enumerate() {
        let path = &path.index(place);
        errors.extend(
            proto::name::label_key_errors(finalizer)
                .into_iter()
                .map(|wrong| FieldError::invalid(path, finalizer.as_str(), wrong)),
        );
        if !finalizer.contains('/') && !KNOWN_FINALIZERS.contains(&finalizer.as_str()) {
            errors.push(FieldError::invalid(
                path,
                finalizer.as_str(),
                "name is neither a standard finalizer name nor is it fully qualified",
            ));
        }
    }
    if found.iter().any(|f| f == "orphan") && found.iter().any(|f| f == "foregroundDeletion") {
        errors.push(FieldError::invalid(
            path,
            Value::from(found),
            "finalizer orphan and foregroundDeletion cannot be both set",
        ));
    }
    errors
}

/// Drops owners that are named more than once; says which uids they have.
pub fn drop_repeated_owners(object: &mut Value) -> Vec<String> {
    let Some(owners) = object.pointer_mut("/metadata/ownerReferences").and_then(Value::as_array_mut) else {
        return Vec::new();
    };
    let mut kept: Vec<Value> = Vec::with_capacity(owners.len());
    let mut repeated: Vec<String> = Vec::new();
    for owner in std::mem::take(owners) {
        if kept.contains(&owner) {
            let uid = owner.get("uid").and_then(Value::as_str).unwrap_or_default().to_owned();
            if !repeated.contains(&uid) {
                repeated.push(uid);
            }
        } else {
            kept.push(owner);
        }
    }
    *owners = kept;
    repeated
}

/// Puts back what a client may not change, and what it left out, before an update is judged.
pub fn keep(new: &mut Value, old: &Value) {
    for field in SERVERS_OWN {
        set_meta(new, field, meta_value(old, field).cloned());
    }
    set_meta(new, "selfLink", None);
    for field in ["deletionTimestamp", "generateName"] {
        if meta_value(new, field).is_none() {
            set_meta(new, field, meta_value(old, field).cloned());
        }
    }
}

/// What is wrong with a change of metadata.
pub fn validate_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let path = Path::root("metadata");
    let mut errors = Vec::new();
    for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp"] {
        if meta_value(new, field) != meta_value(old, field) {
            let value = meta_value(new, field).cloned().unwrap_or_else(|| "".into());
            errors.push(FieldError::invalid(&path.child(field), value, "field is immutable"));
        }
    }
    if meta_value(old, "deletionTimestamp").is_some() {
        let before = crate::object::finalizers(old);
        let added: Vec<String> =
            crate::object::finalizers(new).into_iter().filter(|f| !before.contains(f)).collect();
        if !added.is_empty() {
            errors.push(FieldError::forbidden(
                &path.child("finalizers"),
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers {}",
                    go_strings(&added)
                ),
            ));
        }
    }
    errors.extend(validate_common(new));
    errors
}

/// A list of texts as Go's `%#v` writes it.
fn go_strings(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| crate::field::quoted(text)).collect();
    format!("[]string{{{}}}", quoted.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_and_what_is_wrong_with_it() {
        let cases: Vec<(Value, &[&str])> = vec![
            (json!({"name": "a", "namespace": "n"}), &[]),
            (json!({"namespace": "n"}), &["metadata.name: Required value: name or generateName is required"]),
            (json!({"name": "a"}), &["metadata.namespace: Required value"]),
            (
                json!({"name": "a", "namespace": "n", "finalizers": ["x"]}),
                &[
                    "metadata.finalizers[0]: Invalid value: \"x\": name is neither a standard finalizer name nor is it fully qualified",
                ],
            ),
        ];
        for (metadata, expected) in cases {
            let found: Vec<String> = validate(&json!({"metadata": metadata}), NameRule::Subdomain, true)
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_servers_own_metadata_is_kept() {
        let old = json!({"metadata": {"name": "a", "uid": "1", "generation": 2}});
        let mut new = json!({"metadata": {"name": "a", "uid": "2"}});
        keep(&mut new, &old);
        assert_eq!(new, old);
    }
}
