//! What is wrong with the volumes of a pod.

use std::collections::HashMap;

use serde_json::Value;

use crate::kind::check::{At, Errors};
use crate::kind::format;

/// Checks all volumes; gives those with a usable name.
pub(crate) fn all<'a>(at: &At<'a>, out: &mut Errors) -> HashMap<&'a str, &'a Value> {
    let mut seen = HashMap::new();
    for volume in at.items() {
        let before = out.len();
        source(&volume, out);
        let name = volume.get("name");
        if !name.is_set() {
            name.required(out, "");
        } else {
            name.each(out, format::label(name.text()));
        }
        if seen.contains_key(name.text()) {
            name.duplicate(out);
        }
        if out.len() == before {
            seen.insert(name.text(), volume.value);
        }
    }
    seen
}

type Check = fn(&At<'_>, &mut Errors);

/// The sources a volume can have, in the order upstream looks at them.
const SOURCES: &[(&str, Check)] = &[
    ("emptyDir", |_, _| {}),
    ("hostPath", host_path),
    ("gitRepo", |at, out| require(at, &["repository"], out)),
    ("gcePersistentDisk", |at, out| require(at, &["pdName"], out)),
    ("awsElasticBlockStore", |at, out| require(at, &["volumeID"], out)),
    ("secret", secret),
    ("nfs", |at, out| require(at, &["server", "path"], out)),
    ("iscsi", |at, out| require(at, &["targetPortal", "iqn"], out)),
    ("glusterfs", |at, out| require(at, &["endpoints", "path"], out)),
    ("flocker", |_, _| {}),
    ("persistentVolumeClaim", |at, out| require(at, &["claimName"], out)),
    ("rbd", |at, out| require(at, &["monitors", "image"], out)),
    ("cinder", |at, out| require(at, &["volumeID"], out)),
    ("cephfs", |at, out| require(at, &["monitors"], out)),
    ("quobyte", |at, out| require(at, &["registry", "volume"], out)),
    ("downwardAPI", |at, out| {
        mode(&at.get("defaultMode"), out);
        at.get("items").items().for_each(|item| downward_file(&item, out));
    }),
    ("fc", |_, _| {}),
    ("flexVolume", |at, out| require(at, &["driver"], out)),
    ("configMap", config_map),
    ("azureFile", |at, out| require(at, &["secretName", "shareName"], out)),
    ("vsphereVolume", |at, out| require(at, &["volumePath"], out)),
    ("photonPersistentDisk", |at, out| require(at, &["pdID"], out)),
    ("portworxVolume", |at, out| require(at, &["volumeID"], out)),
    ("azureDisk", |at, out| require(at, &["diskName", "diskURI"], out)),
    ("storageos", |_, _| {}),
    ("projected", projected),
    ("scaleIO", |at, out| require(at, &["gateway", "system", "volumeName"], out)),
    ("csi", |at, out| require(at, &["driver"], out)),
    ("ephemeral", |at, out| require(at, &["volumeClaimTemplate"], out)),
    ("image", |at, out| require(at, &["reference"], out)),
];

fn source(volume: &At<'_>, out: &mut Errors) {
    let mut found = 0;
    for (name, check) in SOURCES {
        let source = volume.get(name);
        if source.value.is_null() {
            continue;
        }
        found += 1;
        if found > 1 {
            source.forbidden(out, "may not specify more than 1 volume type");
        } else {
            check(&source, out);
        }
    }
    if found == 0 {
        volume.required(out, "must specify a volume type");
    }
}

fn require(at: &At<'_>, fields: &[&str], out: &mut Errors) {
    for field in fields {
        at.get(field).must(out);
    }
}

const HOST_PATH_TYPES: [&str; 8] =
    ["", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"];

/// A path on the node.
pub(crate) fn host_path(at: &At<'_>, out: &mut Errors) {
    let path = at.get("path");
    if path.must(out) {
        no_backsteps(&path, out);
    }
    at.get("type").one_of_if_set(out, &HOST_PATH_TYPES[1..]);
}

fn no_backsteps(at: &At<'_>, out: &mut Errors) {
    if at.text().split('/').any(|part| part == "..") {
        at.invalid(out, "must not contain '..'");
    }
}

/// The bits that a file mode may have.
const MODE_LIMIT: i64 = 0o777;

fn mode(at: &At<'_>, out: &mut Errors) {
    if at.int().is_some_and(|mode| !(0..=MODE_LIMIT).contains(&mode)) {
        at.invalid(out, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

fn secret(at: &At<'_>, out: &mut Errors) {
    at.get("secretName").must(out);
    mode(&at.get("defaultMode"), out);
    at.get("items").items().for_each(|item| key_to_path(&item, out));
}

fn config_map(at: &At<'_>, out: &mut Errors) {
    at.get("name").must(out);
    mode(&at.get("defaultMode"), out);
    at.get("items").items().for_each(|item| key_to_path(&item, out));
}

fn key_to_path(at: &At<'_>, out: &mut Errors) {
    at.get("key").must(out);
    let path = at.get("path");
    if path.must(out) {
        local_path(&path, out);
    }
    mode(&at.get("mode"), out);
}

/// A path below the volume's root.
pub(crate) fn local_path(at: &At<'_>, out: &mut Errors) {
    if at.text().starts_with('/') {
        at.invalid(out, "must be a relative path");
    }
    no_backsteps(at, out);
    if at.text().starts_with("..") && !at.text().starts_with("../") && at.text() != ".." {
        at.invalid(out, "must not start with '..'");
    }
}

fn downward_file(at: &At<'_>, out: &mut Errors) {
    let path = at.get("path");
    if path.must(out) {
        local_path(&path, out);
    }
    let (field, resource) = (at.get("fieldRef"), at.get("resourceFieldRef"));
    match (field.value.is_null(), resource.value.is_null()) {
        (false, false) => {
            at.invalid(out, "fieldRef and resourceFieldRef can not be specified simultaneously")
        }
        (true, true) => at.required(out, "one of fieldRef and resourceFieldRef is required"),
        _ => {}
    }
    mode(&at.get("mode"), out);
}

/// The shortest life of a projected token, in seconds.
const TOKEN_LIFE: i64 = 10 * 60;

fn projected(at: &At<'_>, out: &mut Errors) {
    mode(&at.get("defaultMode"), out);
    for source in at.get("sources").items() {
        let kinds = [
            "secret",
            "configMap",
            "downwardAPI",
            "serviceAccountToken",
            "clusterTrustBundle",
            "podCertificate",
        ];
        let found: Vec<_> = kinds.iter().map(|k| source.get(k)).filter(|s| !s.value.is_null()).collect();
        for extra in found.iter().skip(1) {
            extra.forbidden(out, "may not specify more than 1 volume type per source");
        }
        if found.is_empty() {
            source.required(out, "must specify a volume type");
        }
        for name in ["secret", "configMap"] {
            let named = source.get(name);
            if !named.value.is_null() {
                named.get("name").must(out);
                named.get("items").items().for_each(|item| key_to_path(&item, out));
            }
        }
        source.get("downwardAPI.items").items().for_each(|item| downward_file(&item, out));
        let token = source.get("serviceAccountToken");
        if token.value.is_null() {
            continue;
        }
        let seconds = token.get("expirationSeconds");
        if seconds.int().is_some_and(|seconds| seconds < TOKEN_LIFE) {
            seconds.invalid(out, "may not specify a duration less than 10 minutes");
        }
        token.get("path").must(out);
    }
}
