//! Persistent volumes, their claims and classes, and CSI's kinds.

use serde_json::{Value, json};

use super::check::{At, Errors, same, selector};
use super::fill::{self, Fill::Bool, Fill::Str};
use super::pod::validated;
use super::podspec::check::{node_selector, quantity};
use super::{Behavior, GENERIC, WITH_STATUS, WITH_STATUS_ALONE, format};
use crate::field::FieldError;

pub(crate) const VOLUME: Behavior = Behavior {
    default: |object| {
        fill::apply(
            object,
            &[
                ("spec.persistentVolumeReclaimPolicy", Str("Retain")),
                ("spec.volumeMode", Str("Filesystem")),
                ("status+.phase", Str("Pending")),
            ],
        );
        fill::each(object, "spec.hostPath", &mut |path| {
            if let Some(path) = path.as_object_mut() {
                path.entry("type").or_insert_with(|| "".into());
            }
        });
    },
    prepare_create: |object| object["status"] = json!({"phase": "Pending"}),
    validate_create: |object| validated(object, volume),
    validate_update: |new, old| {
        validated(new, |at, out| {
            volume(at, out);
            let mode = at.get("spec.volumeMode");
            if mode.value != &old["spec"]["volumeMode"] {
                out.push(FieldError::invalid("volumeMode", mode.value.clone(), super::check::IMMUTABLE));
            }
            let moved = SOURCES.iter().any(|source| {
                !same(at.get("spec").get(source).value, old["spec"].get(*source).unwrap_or(&Value::Null))
            });
            if moved {
                out.push(FieldError::forbidden(
                    "spec.persistentvolumesource",
                    "spec.persistentvolumesource is immutable after creation",
                ));
            }
        })
    },
    ..WITH_STATUS
};

/// Where a volume's bytes can be.
const SOURCES: [&str; 22] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

fn access_modes(at: &At<'_>, detail: &str, out: &mut Errors) {
    if at.len() == 0 {
        at.required(out, detail);
    }
    for mode in at.items() {
        if !ACCESS_MODES.contains(&mode.text()) {
            out.push(FieldError::not_supported(&at.path, mode.text(), &ACCESS_MODES));
        }
    }
}

fn volume(at: &At<'_>, out: &mut Errors) {
    let spec = at.get("spec");
    access_modes(&spec.get("accessModes"), "", out);
    let capacity = spec.get("capacity");
    if capacity.len() == 0 {
        capacity.required(out, "");
    }
    if capacity.len() != 1 || capacity.get("storage").value.is_null() {
        out.push(FieldError::not_supported(&capacity.path, capacity.value.clone(), &["storage"]));
    }
    for (_, amount) in capacity.entries() {
        if quantity(amount.value).is_some_and(|quantity| quantity.is_negative() || quantity.is_zero()) {
            amount.invalid(out, "must be greater than zero");
        }
    }
    let policy = spec.get("persistentVolumeReclaimPolicy");
    policy.one_of_if_set(out, &["Delete", "Recycle", "Retain"]);
    let affinity = spec.get("nodeAffinity");
    if !affinity.value.is_null() {
        let required = affinity.get("required");
        if required.value.is_null() {
            required.required(out, "must specify required node constraints");
        } else {
            node_selector(&required, out);
        }
    }
    let mut found = 0;
    for name in SOURCES {
        let source = spec.get(name);
        if source.value.is_null() {
            continue;
        }
        found += 1;
        if found > 1 {
            source.forbidden(out, "may not specify more than 1 volume type");
            continue;
        }
        if matches!(name, "hostPath" | "local") {
            source.get("path").must(out);
        }
        if name == "local" && affinity.value.is_null() {
            affinity.required(out, "Local volume requires node affinity");
        }
    }
    if found == 0 {
        spec.required(out, "must specify a volume type");
    }
    if spec.get("hostPath.path").text() == "/" && policy.text() == "Recycle" {
        policy.forbidden(out, "may not be 'recycle' for a hostPath mount of '/'");
    }
    let class = spec.get("storageClassName");
    if class.is_set() {
        class.each(out, format::subdomain(class.text()));
    }
    spec.get("volumeMode").one_of_if_set(out, &["Block", "Filesystem"]);
}

pub(crate) const CLAIM: Behavior = Behavior {
    default: |object| {
        fill::apply(object, &[("spec.volumeMode", Str("Filesystem")), ("status+.phase", Str("Pending"))]);
        mirror_source(object);
    },
    prepare_create: |object| object["status"] = json!({"phase": "Pending"}),
    validate_create: |object| validated(object, claim),
    validate_update: update_claim,
    ..WITH_STATUS
};

/// `dataSource` and `dataSourceRef` say the same where they can.
fn mirror_source(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let (old, new) = (spec.get("dataSource").cloned(), spec.get("dataSourceRef").cloned());
    match (old, new) {
        (Some(source), None) => drop(spec.insert("dataSourceRef".to_owned(), source)),
        (None, Some(source)) if source.get("namespace").is_none() => {
            drop(spec.insert("dataSource".to_owned(), source));
        }
        _ => {}
    }
}

fn claim(at: &At<'_>, out: &mut Errors) {
    let spec = at.get("spec");
    access_modes(&spec.get("accessModes"), "at least 1 access mode is required", out);
    selector(&spec.get("selector"), out);
    let request = spec.get("resources.requests.storage");
    if request.value.is_null() {
        out.push(FieldError::required(&spec.get("resources").path.key("storage"), ""));
    } else if quantity(request.value).is_some_and(|amount| amount.is_negative() || amount.is_zero()) {
        out.push(FieldError::invalid(
            &spec.get("resources").path.key("storage"),
            request.value.clone(),
            "must be greater than zero",
        ));
    }
    let class = spec.get("storageClassName");
    if class.is_set() {
        class.each(out, format::subdomain(class.text()));
    }
    spec.get("volumeMode").one_of_if_set(out, &["Block", "Filesystem"]);
}

fn update_claim(new: &Value, old: &Value) -> Vec<FieldError> {
    validated(new, |at, out| {
        claim(at, out);
        let mut spec = new["spec"].clone();
        let was = &old["spec"];
        if fill::text(was, "volumeName").is_empty() {
            spec["volumeName"] = was.get("volumeName").cloned().unwrap_or_default();
        }
        if was.get("storageClassName").is_none() {
            spec["storageClassName"] = Value::Null;
        }
        let bound = fill::text(old, "status.phase") == "Bound";
        if bound {
            spec["resources"]["requests"] = was["resources"]["requests"].clone();
            spec["volumeAttributesClassName"] =
                was.get("volumeAttributesClassName").cloned().unwrap_or_default();
        }
        if !same(&spec, was) {
            at.get("spec").forbidden(
                out,
                "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
            );
        }
        let amount = |object: &Value, path: &str| fill::find(object, path).and_then(quantity);
        if bound
            && let (Some(now), Some(have)) =
                (amount(new, "spec.resources.requests.storage"), amount(old, "status.capacity.storage"))
            && now < have
        {
            at.get("spec.resources.requests.storage")
                .forbidden(out, "field can not be less than status.capacity");
        }
    })
}

pub(crate) const CLASS: Behavior = Behavior {
    default: |object| {
        fill::apply(object, &[("reclaimPolicy", Str("Delete")), ("volumeBindingMode", Str("Immediate"))]);
    },
    validate_create: |object| validated(object, class),
    validate_update: |new, old| {
        validated(new, |at, out| {
            class(at, out);
            for field in ["parameters", "provisioner", "reclaimPolicy"] {
                if !same(at.get(field).value, old.get(field).unwrap_or(&Value::Null)) {
                    at.get(field).forbidden(out, format!("updates to {field} are forbidden."));
                }
            }
            at.get("volumeBindingMode").immutable(out, &old["volumeBindingMode"]);
        })
    },
    ..GENERIC
};

fn class(at: &At<'_>, out: &mut Errors) {
    let provisioner = at.get("provisioner");
    if provisioner.must(out) {
        for message in format::qualified_name(&provisioner.text().to_lowercase()) {
            provisioner.invalid(out, message);
        }
    }
    at.get("reclaimPolicy").one_of_if_set(out, &["Delete", "Retain"]);
    at.get("volumeBindingMode").one_of_if_set(out, &["Immediate", "WaitForFirstConsumer"]);
}

pub(crate) const CSI_DRIVER: Behavior = Behavior {
    default: |object| {
        fill::apply(
            object,
            &[
                ("spec+.attachRequired", Bool(true)),
                ("spec.podInfoOnMount", Bool(false)),
                ("spec.storageCapacity", Bool(false)),
                ("spec.fsGroupPolicy", Str("ReadWriteOnceWithFSType")),
                ("spec.requiresRepublish", Bool(false)),
                ("spec.seLinuxMount", Bool(false)),
            ],
        );
        if fill::list(object, "spec.volumeLifecycleModes").is_empty() {
            object["spec"]["volumeLifecycleModes"] = json!(["Persistent"]);
        }
    },
    validate_create: |object| {
        validated(object, |at, out| {
            let spec = at.get("spec");
            spec.get("fsGroupPolicy").one_of_if_set(out, &["File", "None", "ReadWriteOnceWithFSType"]);
            for mode in spec.get("volumeLifecycleModes").items() {
                if !matches!(mode.text(), "Persistent" | "Ephemeral") {
                    out.push(FieldError::not_supported(
                        &spec.get("volumeLifecycleModes").path,
                        mode.text(),
                        &["Persistent", "Ephemeral"],
                    ));
                }
            }
        })
    },
    ..GENERIC
};

pub(crate) const CSI_NODE: Behavior = Behavior { unconditional_update: false, ..GENERIC };

pub(crate) const ATTACHMENT: Behavior = Behavior {
    validate_update: |new, old| validated(new, |at, out| at.get("spec").immutable(out, &old["spec"])),
    unconditional_update: false,
    ..WITH_STATUS_ALONE
};
