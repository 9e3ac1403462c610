//! Changes of a running pod's containers: debug containers that are added, and resources that are resized.

use serde_json::Value;

use crate::field::FieldError;
use crate::kind::check::{At, Errors, same};
use crate::kind::pod::{qos_class, validated};
use crate::kind::podspec::check;
use crate::kind::{fill, format, keep_all_but_status};
use crate::registry::update::Rule;

pub(super) const EPHEMERAL: Rule = Rule { prepare: prepare_ephemeral, validate: validate_ephemeral };

pub(super) const RESIZE: Rule = Rule { prepare: prepare_resize, validate: validate_resize };

/// The annotation of pods that come from a node's files.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Puts back everything but the spec.
fn keep_all_but_spec(new: &mut Value, old: &Value, spec: Value) {
    keep_all_but_status(new, old);
    new["spec"] = spec;
    match old.get("status") {
        Some(status) => new["status"] = status.clone(),
        None => {
            if let Some(new) = new.as_object_mut() {
                new.remove("status");
            }
        }
    }
}

/// Puts a field into an object as another one has it; one that is absent there is absent here.
fn take(into: &mut Value, from: &Value, field: &str) {
    let Some(into) = into.as_object_mut() else { return };
    match from.get(field).filter(|value| !value.is_null()) {
        Some(value) => into.insert(field.to_owned(), value.clone()),
        None => into.remove(field),
    };
}

fn prepare_ephemeral(new: &mut Value, old: &Value) {
    let mut spec = old["spec"].clone();
    take(&mut spec, &new["spec"], "ephemeralContainers");
    keep_all_but_spec(new, old, spec);
}

/// What a debug container may say; the rest is for containers that others rely on.
const EPHEMERAL_FIELDS: &[&str] = &[
    "args",
    "command",
    "env",
    "envFrom",
    "image",
    "imagePullPolicy",
    "name",
    "securityContext",
    "stdin",
    "stdinOnce",
    "targetContainerName",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "tty",
    "volumeDevices",
    "volumeMounts",
    "workingDir",
];

fn is_mirror(pod: &Value) -> bool {
    fill::find(pod, "metadata.annotations").is_some_and(|annotations| annotations.get(MIRROR).is_some())
}

fn validate_ephemeral(new: &Value, old: &Value) -> Vec<FieldError> {
    if is_mirror(old) {
        return vec![FieldError::forbidden("", "static pods do not support ephemeral containers")];
    }
    validated(new, |at, out| {
        let list = at.get("spec.ephemeralContainers");
        let mut names: Vec<&str> = ["containers", "initContainers"]
            .iter()
            .flat_map(|kind| fill::list(&new["spec"], kind))
            .map(|container| fill::text(container, "name"))
            .collect();
        let others = names.len();
        for container in list.items() {
            ephemeral(&container, &names[..others], &names, out);
            names.push(container.get("name").text());
        }
        for was in fill::list(old, "spec.ephemeralContainers") {
            let name = fill::text(was, "name");
            match list.items().find(|container| container.get("name").text() == name) {
                None => {
                    let why = format!("existing ephemeral containers {name:?} may not be removed\n");
                    list.forbidden(out, why);
                }
                Some(now) if !same(now.value, was) => {
                    let why = format!("existing ephemeral containers {name:?} may not be changed\n");
                    list.forbidden(out, why);
                }
                Some(_) => {}
            }
        }
    })
}

/// One debug container; `targets` are the others it may look into, `taken` the names it may not have.
fn ephemeral(container: &At<'_>, targets: &[&str], taken: &[&str], out: &mut Errors) {
    let name = container.get("name");
    if name.must(out) {
        name.each(out, format::label(name.text()));
    }
    container.get("image").must(out);
    if taken.contains(&name.text()) {
        name.duplicate(out);
    }
    let target = container.get("targetContainerName");
    if target.is_set() && !targets.contains(&target.text()) {
        out.push(FieldError::not_found(&target.path, target.text()));
    }
    for (field, value) in container.value.as_object().into_iter().flatten() {
        let said = !same(value, &Value::Null);
        if said && !EPHEMERAL_FIELDS.contains(&field.as_str()) {
            container.get(field).forbidden(out, "cannot be set for an Ephemeral Container");
        }
    }
    for mount in container.get("volumeMounts").items() {
        for field in ["subPath", "subPathExpr"] {
            if mount.get(field).is_set() {
                mount.get(field).forbidden(out, "cannot be set for an Ephemeral Container");
            }
        }
    }
}

/// The lists of containers whose resources can be changed.
const RESIZABLE: [&str; 2] = ["containers", "initContainers"];

fn names<'a>(spec: &'a Value, list: &'a str) -> impl Iterator<Item = &'a str> {
    fill::list(spec, list).iter().map(|container| fill::text(container, "name"))
}

fn prepare_resize(new: &mut Value, old: &Value) {
    let same_containers = |list: &&str| names(&new["spec"], list).eq(names(&old["spec"], list));
    if !RESIZABLE.iter().all(same_containers) {
        // Validation complains of what was added, removed or renamed.
        let spec = new["spec"].clone();
        keep_all_but_spec(new, old, spec);
        return;
    }
    let mut spec = old["spec"].clone();
    for list in RESIZABLE {
        for (place, container) in fill::list(&new["spec"], list).iter().enumerate() {
            for field in ["resources", "resizePolicy"] {
                take(&mut spec[list][place], container, field);
            }
        }
    }
    keep_all_but_spec(new, old, spec);
}

fn validate_resize(new: &Value, old: &Value) -> Vec<FieldError> {
    if is_mirror(old) {
        return vec![FieldError::forbidden("", "static pods cannot be resized")];
    }
    validated(new, |at, out| {
        let spec = at.get("spec");
        check::spec(&spec, out);
        if qos_class(new) != qos_class(old) {
            let class = fill::text(new, "status.qosClass").into();
            spec.out_of(out, &class, "Pod QOS Class may not change as a result of resizing".to_owned());
        }
        if !supports_resize(old) {
            spec.forbidden(out, "Pod running on node without support for resize");
        }
        for list in RESIZABLE {
            for (container, was) in spec.get(list).items().zip(fill::list(&old["spec"], list)) {
                for (kind, what) in [("requests", "requests"), ("limits", "limits")] {
                    let had = fill::find(was, "resources").and_then(|resources| resources.get(kind));
                    let amounts = container.get("resources").get(kind);
                    let has = |name: &str| amounts.value.get(name).is_some();
                    let gone =
                        had.and_then(Value::as_object).into_iter().flatten().any(|(name, _)| !has(name));
                    if gone {
                        amounts.forbidden(out, format!("resource {what} cannot be removed"));
                    }
                }
            }
        }
        if out.is_empty() && !same(&without_resources(new), &without_resources(old)) {
            spec.forbidden(out, "only cpu and memory resources are mutable");
        }
    })
}

/// The spec with the amounts left out that may change.
fn without_resources(pod: &Value) -> Value {
    let mut spec = pod["spec"].clone();
    for list in RESIZABLE {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            for kind in ["requests", "limits"] {
                if let Some(Value::Object(amounts)) =
                    container.get_mut("resources").and_then(|resources| resources.get_mut(kind))
                {
                    amounts.retain(|name, _| !matches!(name.as_str(), "cpu" | "memory"));
                }
            }
            if let Some(container) = container.as_object_mut() {
                container.remove("resizePolicy");
            }
        }
    }
    spec
}

/// Whether the kubelet reports the resources of running containers, without which it cannot change them.
fn supports_resize(pod: &Value) -> bool {
    fill::list(pod, "status.containerStatuses")
        .iter()
        .find(|status| fill::find(status, "state.running").is_some())
        .is_none_or(|status| fill::find(status, "resources").is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judged(rule: &Rule, old: &Value, change: impl FnOnce(&mut Value)) -> (Value, String) {
        let mut new = old.clone();
        change(&mut new);
        (rule.prepare)(&mut new, old);
        let errors = (rule.validate)(&new, old);
        (new, errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }

    #[test]
    fn debug_containers() {
        let old = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}],
            "ephemeralContainers": [{"name": "d", "image": "i"}]}, "status": {"phase": "Running"}});
        let first = json!({"name": "d", "image": "i"});
        let place = "spec.ephemeralContainers";
        let cases = [
            (json!([first, {"name": "e", "image": "i", "targetContainerName": "c"}]), String::new()),
            (
                json!([]),
                format!("{place}: Forbidden: existing ephemeral containers \"d\" may not be removed\n"),
            ),
            (
                json!([{"name": "d", "image": "j"}]),
                format!("{place}: Forbidden: existing ephemeral containers \"d\" may not be changed\n"),
            ),
            (json!([first, {"name": "c", "image": "i"}]), format!("{place}[1].name: Duplicate value: \"c\"")),
            (
                json!([first, {"name": "e", "image": "i", "targetContainerName": "z"}]),
                format!("{place}[1].targetContainerName: Not found: \"z\""),
            ),
            (
                json!([first, {"name": "e", "image": "i", "ports": [{"containerPort": 1}]}]),
                format!("{place}[1].ports: Forbidden: cannot be set for an Ephemeral Container"),
            ),
        ];
        for (list, expected) in cases {
            let (new, errors) = judged(&EPHEMERAL, &old, |pod| {
                pod["spec"]["ephemeralContainers"] = list.clone();
                pod["spec"]["containers"][0]["image"] = "changed".into();
                pod["status"]["phase"] = "Failed".into();
            });
            assert_eq!(errors, expected, "{list}");
            assert_eq!(
                (&new["spec"]["containers"], &new["status"]),
                (&old["spec"]["containers"], &old["status"])
            );
        }
    }

    #[test]
    fn resized_containers() {
        let resources = json!({"requests": {"cpu": "100m", "memory": "64Mi"}});
        let mut old = json!({"metadata": {"name": "p"}, "spec": {"containers": [
            {"name": "c", "image": "i", "resources": resources}]}, "status": {"qosClass": "Burstable"}});
        (crate::kind::behavior("", "pods").default)(&mut old);
        let cases = [
            (json!({"requests": {"cpu": "200m", "memory": "64Mi"}}), ""),
            (
                json!({"requests": {"cpu": "200m"}}),
                "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed",
            ),
            (
                json!({"requests": {"cpu": "1", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "64Mi"}}),
                "spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing",
            ),
        ];
        for (wanted, expected) in cases {
            let (new, errors) = judged(&RESIZE, &old, |pod| {
                pod["spec"]["containers"][0]["resources"] = wanted.clone();
                pod["spec"]["containers"][0]["image"] = "changed".into();
            });
            assert_eq!(errors, expected, "{wanted}");
            assert_eq!(new["spec"]["containers"][0]["image"], "i");
        }
    }
}
