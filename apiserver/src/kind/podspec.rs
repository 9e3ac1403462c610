//! Pod specs, wherever they stand: in pods and in the templates of workloads.

pub(crate) mod check;
mod container;
mod volume;

use serde_json::{Value, json};

use super::fill::{self, Default, Fill::Bool, Fill::Int, Fill::Object, Fill::Str};
use super::quantity::Quantity;

/// The lists of containers in a pod spec.
pub(crate) const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// File mode 0644 of files in volumes.
const FILE_MODE: i64 = 0o644;

const POD_SPEC: &[Default] = &[
    ("dnsPolicy", Str("ClusterFirst")),
    ("restartPolicy", Str("Always")),
    ("securityContext", Object),
    ("terminationGracePeriodSeconds", Int(30)),
    ("schedulerName", Str("default-scheduler")),
    ("volumes[].secret.defaultMode", Int(FILE_MODE)),
    ("volumes[].configMap.defaultMode", Int(FILE_MODE)),
    ("volumes[].downwardAPI.defaultMode", Int(FILE_MODE)),
    ("volumes[].downwardAPI.items[].fieldRef.apiVersion", Str("v1")),
    ("volumes[].downwardAPI.items[].resourceFieldRef.divisor", Str("0")),
    ("volumes[].projected.defaultMode", Int(FILE_MODE)),
    ("volumes[].projected.sources[].serviceAccountToken.expirationSeconds", Int(3600)),
    ("volumes[].projected.sources[].downwardAPI.items[].fieldRef.apiVersion", Str("v1")),
    ("volumes[].projected.sources[].downwardAPI.items[].resourceFieldRef.divisor", Str("0")),
    ("volumes[].iscsi.iscsiInterface", Str("default")),
    ("volumes[].rbd.pool", Str("rbd")),
    ("volumes[].rbd.user", Str("admin")),
    ("volumes[].rbd.keyring", Str("/etc/ceph/keyring")),
    ("volumes[].azureDisk.cachingMode", Str("ReadWrite")),
    ("volumes[].azureDisk.kind", Str("Shared")),
    ("volumes[].azureDisk.fsType", Str("ext4")),
    ("volumes[].azureDisk.readOnly", Bool(false)),
    ("volumes[].scaleIO.storageMode", Str("ThinProvisioned")),
    ("volumes[].scaleIO.fsType", Str("xfs")),
    ("volumes[].ephemeral.volumeClaimTemplate.metadata", Object),
    ("volumes[].ephemeral.volumeClaimTemplate.spec.volumeMode", Str("Filesystem")),
];

const CONTAINER: &[Default] = &[
    ("resources", Object),
    ("terminationMessagePath", Str("/dev/termination-log")),
    ("terminationMessagePolicy", Str("File")),
    ("ports[].protocol", Str("TCP")),
    ("env[].valueFrom.fieldRef.apiVersion", Str("v1")),
    ("env[].valueFrom.resourceFieldRef.divisor", Str("0")),
    ("env[].valueFrom.fileKeyRef.optional", Bool(false)),
    ("lifecycle.postStart.httpGet.path", Str("/")),
    ("lifecycle.postStart.httpGet.scheme", Str("HTTP")),
    ("lifecycle.preStop.httpGet.path", Str("/")),
    ("lifecycle.preStop.httpGet.scheme", Str("HTTP")),
];

const PROBE: &[Default] = &[
    ("httpGet.path", Str("/")),
    ("httpGet.scheme", Str("HTTP")),
    ("timeoutSeconds", Int(1)),
    ("periodSeconds", Int(10)),
    ("successThreshold", Int(1)),
    ("failureThreshold", Int(3)),
];

/// Fills in what a pod spec leaves out, in a pod and in a template alike.
pub(crate) fn fill(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    fill_volumes(spec);
    fill::apply(spec, POD_SPEC);
    mirror_service_account(spec);
    for list in CONTAINER_LISTS {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            fill_container(container);
        }
    }
}

/// Fills in the pod spec of the template at `path`, as in `spec.template`.
pub(crate) fn fill_template(root: &mut Value, path: &str) {
    fill::each(root, path, &mut |template| {
        fill::put(template, "metadata", json!({}));
        fill(fill::child(template, "spec"));
    });
}

/// Gives each request that is missing the value of its limit; only pods do so, templates do not.
pub(crate) fn requests_from_limits(spec: &mut Value) {
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(limits) = container["resources"]["limits"].as_object().cloned() else { continue };
            let requests = fill::child(fill::child(container, "resources"), "requests");
            for (name, limit) in limits {
                fill::put(requests, &name, limit);
            }
        }
    }
}

/// On the host's network a container port is the host's port.
pub(crate) fn host_ports(spec: &mut Value) {
    if !fill::flag(spec, "hostNetwork") {
        return;
    }
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
                if fill::int(port, "hostPort").unwrap_or_default() == 0 {
                    port["hostPort"] = port["containerPort"].clone();
                }
            }
        }
    }
}

/// The default pull policy: a moving tag is looked up each time.
fn pull_policy(image: &str) -> &'static str {
    let digest = image.contains('@');
    let tag = image.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(_, tag)| tag);
    match tag {
        _ if digest => "IfNotPresent",
        None | Some("latest") => "Always",
        Some(_) => "IfNotPresent",
    }
}

fn fill_container(container: &mut Value) {
    if !container.is_object() {
        return;
    }
    let policy = pull_policy(fill::text(container, "image"));
    fill::apply(container, CONTAINER);
    fill::put(container, "imagePullPolicy", policy.into());
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe).filter(|probe| probe.is_object()) {
            fill::apply(probe, PROBE);
            for key in ["timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
                if probe[key] == 0 {
                    probe[key] = PROBE
                        .iter()
                        .find(|(name, _)| *name == key)
                        .map_or(Value::Null, |(_, fill)| (*fill).into());
                }
            }
            if let Some(grpc) =
                probe.get_mut("grpc").filter(|grpc| grpc.is_object() && grpc["service"].is_null())
            {
                grpc["service"] = "".into();
            }
        }
    }
    round_resources(container);
}

/// Amounts finer than a thousandth are rounded up.
fn round_resources(container: &mut Value) {
    for list in ["limits", "requests"] {
        let Some(Value::Object(amounts)) =
            container.get_mut("resources").and_then(|resources| resources.get_mut(list))
        else {
            continue;
        };
        for amount in amounts.values_mut() {
            let parsed = match &*amount {
                Value::String(text) => Quantity::parse(text),
                Value::Number(number) => Quantity::parse(&number.to_string()),
                _ => None,
            };
            if let Some(quantity) = parsed {
                *amount = quantity.to_milli().canonical().into();
            }
        }
    }
}

/// A volume that names no source is an empty directory; a host path has a type, if an empty one.
fn fill_volumes(spec: &mut Value) {
    for volume in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        let Value::Object(volume) = volume else { continue };
        if !volume.iter().any(|(key, value)| key != "name" && !value.is_null()) {
            volume.insert("emptyDir".to_owned(), json!({}));
        }
        if let Some(Value::Object(path)) = volume.get_mut("hostPath") {
            path.entry("type").or_insert_with(|| "".into());
        }
        if let Some(image) = volume.get_mut("image").filter(|image| image.is_object()) {
            let policy = pull_policy(fill::text(image, "reference"));
            fill::put(image, "pullPolicy", policy.into());
        }
    }
}

/// The old name of the service account's field and the new one always say the same.
fn mirror_service_account(spec: &mut Value) {
    let Value::Object(map) = spec else { return };
    let name = ["serviceAccountName", "serviceAccount"]
        .iter()
        .find_map(|key| map.get(*key).filter(|value| !fill::is_absent(Some(value))).cloned());
    if let Some(name) = name {
        map.insert("serviceAccountName".to_owned(), name.clone());
        map.insert("serviceAccount".to_owned(), name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pull_policies() {
        for (image, policy) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1", "IfNotPresent"),
            ("localhost:5000/nginx", "Always"),
            ("localhost:5000/nginx:1", "IfNotPresent"),
            ("nginx@sha256:00", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }

    #[test]
    fn a_short_spec_is_filled() {
        let mut spec = json!({"containers": [{"name": "c", "image": "i:1", "ports": [{"containerPort": 1}],
            "readinessProbe": {"httpGet": {"port": 1}}, "resources": {"limits": {"cpu": "1000m"}}}],
            "volumes": [{"name": "v"}, {"name": "h", "hostPath": {"path": "/"}}], "serviceAccount": "a"});
        fill(&mut spec);
        assert_eq!(
            spec,
            json!({"containers": [{"name": "c", "image": "i:1", "ports": [{"containerPort": 1, "protocol": "TCP"}],
                "readinessProbe": {"httpGet": {"port": 1, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1,
                    "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
                "resources": {"limits": {"cpu": "1"}}, "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File", "imagePullPolicy": "IfNotPresent"}],
                "volumes": [{"name": "v", "emptyDir": {}}, {"name": "h", "hostPath": {"path": "/", "type": ""}}],
                "serviceAccount": "a", "serviceAccountName": "a", "dnsPolicy": "ClusterFirst",
                "restartPolicy": "Always", "securityContext": {}, "terminationGracePeriodSeconds": 30,
                "schedulerName": "default-scheduler"})
        );
    }
}
