//! The columns of volumes, claims and what provides them.

use serde_json::Value;

use super::{AGE, Cell, Column, NAME, Table, boolean, integer, show, text};
use crate::kind::fill;

pub(super) const TABLE: Table = &[
    ("", "PersistentVolume", VOLUME),
    ("", "PersistentVolumeClaim", CLAIM),
    ("storage.k8s.io", "CSIDriver", CSI_DRIVER),
    ("storage.k8s.io", "CSINode", CSI_NODE),
    ("storage.k8s.io", "StorageClass", CLASS),
    ("storage.k8s.io", "VolumeAttachment", ATTACHMENT),
    ("storage.k8s.io", "VolumeAttributesClass", ATTRIBUTES_CLASS),
];

const ATTRIBUTES: Column =
    text("VolumeAttributesClass", Cell::TextOr("spec.volumeAttributesClassName", "<unset>"));
const MODE: Column = text("VolumeMode", Cell::TextOr("spec.volumeMode", "<unset>")).wide();
const STATUS: Column = text("Status", Cell::Made(phase));
const STORAGE_CLASS: Column = text("StorageClass", Cell::Made(class));

const VOLUME: &[Column] = &[
    NAME,
    text("Capacity", Cell::Made(|object| amount(object, "spec.capacity"))),
    text("Access Modes", Cell::Made(|object| modes(object, "spec.accessModes"))),
    text("Reclaim Policy", Cell::Text("spec.persistentVolumeReclaimPolicy")),
    STATUS,
    text("Claim", Cell::Made(claim)),
    STORAGE_CLASS,
    ATTRIBUTES,
    text("Reason", Cell::Text("status.reason")),
    AGE,
    MODE,
];

const CLAIM: &[Column] = &[
    NAME,
    STATUS,
    text("Volume", Cell::Text("spec.volumeName")),
    text("Capacity", Cell::Made(|object| if_bound(object, |object| amount(object, "status.capacity")))),
    text("Access Modes", Cell::Made(|object| if_bound(object, |object| modes(object, "status.accessModes")))),
    STORAGE_CLASS,
    ATTRIBUTES,
    AGE,
    MODE,
];

const CLASS: &[Column] = &[
    Column { cell: Cell::Made(class_name), ..NAME },
    text("Provisioner", Cell::Text("provisioner")),
    text("ReclaimPolicy", Cell::TextOr("reclaimPolicy", "Delete")),
    text("VolumeBindingMode", Cell::TextOr("volumeBindingMode", "Immediate")),
    text("AllowVolumeExpansion", Cell::Flag("allowVolumeExpansion", false)),
    AGE,
];

const ATTRIBUTES_CLASS: &[Column] = &[NAME, text("DriverName", Cell::Text("driverName")), AGE];

const ATTACHMENT: &[Column] = &[
    NAME,
    Column { format: "name", ..text("Attacher", Cell::Text("spec.attacher")) },
    text("PV", Cell::Text("spec.source.persistentVolumeName")),
    text("Node", Cell::Text("spec.nodeName")),
    boolean("Attached", Cell::Flag("status.attached", false)),
    AGE,
];

const CSI_NODE: &[Column] = &[NAME, integer("Drivers", Cell::Count("spec.drivers")), AGE];

const CSI_DRIVER: &[Column] = &[
    NAME,
    boolean("AttachRequired", Cell::Flag("spec.attachRequired", true)),
    boolean("PodInfoOnMount", Cell::Flag("spec.podInfoOnMount", false)),
    boolean("StorageCapacity", Cell::Flag("spec.storageCapacity", false)),
    text("TokenRequests", Cell::Made(audiences)),
    boolean("RequiresRepublish", Cell::Flag("spec.requiresRepublish", false)),
    text(
        "Modes",
        Cell::Made(|object| show::or_none(&show::texts(object, "spec.volumeLifecycleModes").join(","))),
    ),
    AGE,
];

/// Modes of access and how they are shown, in the order they are shown in.
const MODES: [(&str, &str); 4] = [
    ("ReadWriteOnce", "RWO"),
    ("ReadOnlyMany", "ROX"),
    ("ReadWriteMany", "RWX"),
    ("ReadWriteOncePod", "RWOP"),
];

fn modes(object: &Value, path: &str) -> String {
    let found = show::texts(object, path);
    let shown = MODES.iter().filter(|(mode, _)| found.contains(mode)).map(|(_, short)| *short);
    shown.collect::<Vec<_>>().join(",")
}

fn amount(object: &Value, path: &str) -> String {
    match fill::find(object, path).map_or("", |amounts| fill::text(amounts, "storage")) {
        "" => "0".to_owned(),
        amount => amount.to_owned(),
    }
}

fn if_bound(claim: &Value, show: fn(&Value) -> String) -> String {
    if fill::text(claim, "spec.volumeName").is_empty() { String::new() } else { show(claim) }
}

fn phase(object: &Value) -> String {
    if show::is_going(object) {
        return "Terminating".to_owned();
    }
    fill::text(object, "status.phase").to_owned()
}

fn class(object: &Value) -> String {
    let old = fill::find(object, "metadata.annotations")
        .and_then(|annotations| annotations.get("volume.beta.kubernetes.io/storage-class"))
        .and_then(Value::as_str);
    old.unwrap_or_else(|| fill::text(object, "spec.storageClassName")).to_owned()
}

fn claim(volume: &Value) -> String {
    fill::find(volume, "spec.claimRef").map_or_else(String::new, |claim| {
        format!("{}/{}", fill::text(claim, "namespace"), fill::text(claim, "name"))
    })
}

fn class_name(class: &Value) -> String {
    let name = fill::text(class, "metadata.name");
    let default =
        ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"]
            .iter()
            .any(|annotation| show::annotation(class, annotation) == "true");
    if default { format!("{name} (default)") } else { name.to_owned() }
}

fn audiences(driver: &Value) -> String {
    match fill::find(driver, "spec.tokenRequests") {
        Some(_) => show::joined(driver, "spec.tokenRequests", "audience"),
        None => "<unset>".to_owned(),
    }
}
