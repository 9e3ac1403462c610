//! What a pod, or a volume, names of other objects: pure tables of paths.

use serde_json::Value;

use crate::object;

/// Pods of files on a node have this annotation. They give the node nothing: it could make up any.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Where pods name objects: the resource, and the places.
const PLACES: &[(&str, &[&str])] = &[
    (
        "configmaps",
        &[
            "spec.[containers].envFrom[].configMapRef.name",
            "spec.[containers].env[].valueFrom.configMapKeyRef.name",
            "spec.volumes[].configMap.name",
            "spec.volumes[].projected.sources[].configMap.name",
        ],
    ),
    (
        "secrets",
        &[
            "spec.imagePullSecrets[].name",
            "spec.[containers].envFrom[].secretRef.name",
            "spec.[containers].env[].valueFrom.secretKeyRef.name",
            "spec.volumes[].azureFile.secretName",
            "spec.volumes[].cephfs.secretRef.name",
            "spec.volumes[].cinder.secretRef.name",
            "spec.volumes[].csi.nodePublishSecretRef.name",
            "spec.volumes[].flexVolume.secretRef.name",
            "spec.volumes[].iscsi.secretRef.name",
            "spec.volumes[].projected.sources[].secret.name",
            "spec.volumes[].rbd.secretRef.name",
            "spec.volumes[].scaleIO.secretRef.name",
            "spec.volumes[].secret.secretName",
            "spec.volumes[].storageos.secretRef.name",
        ],
    ),
    ("serviceaccounts", &["spec.serviceAccountName"]),
    ("persistentvolumeclaims", &["spec.volumes[].persistentVolumeClaim.claimName"]),
    (
        "resourceclaims",
        &[
            "spec.resourceClaims[].resourceClaimName",
            "status.resourceClaimStatuses[].resourceClaimName",
            "status.extendedResourceClaimStatus.resourceClaimName",
        ],
    ),
];

/// What `[containers]` stands for in a path.
const CONTAINERS: &[&str] = &["containers[]", "initContainers[]", "ephemeralContainers[]"];

/// Where volumes name secrets; each is an object with a name and perhaps a namespace.
const VOLUME_SECRETS: &[&str] = &[
    "cephfs.secretRef",
    "cinder.secretRef",
    "csi.controllerExpandSecretRef",
    "csi.controllerPublishSecretRef",
    "csi.nodeExpandSecretRef",
    "csi.nodePublishSecretRef",
    "csi.nodeStageSecretRef",
    "flexVolume.secretRef",
    "iscsi.secretRef",
    "rbd.secretRef",
    "scaleIO.secretRef",
    "storageos.secretRef",
];

/// Whether a pod names an object of its namespace.
pub(super) fn names(pod: &Value, resource: &str, name: &str) -> bool {
    if object::meta_value(pod, "annotations").is_some_and(|annotations| annotations.get(MIRROR).is_some()) {
        return false;
    }
    let places = PLACES.iter().find(|(of, _)| *of == resource).map_or(&[][..], |(_, places)| places);
    let named = places.iter().any(|place| spread(place).any(|path| at(pod, &path, &|found| found == name)));
    named || resource == "persistentvolumeclaims" && has_ephemeral(pod, name)
}

/// Sorts of volumes that lead to other objects, and to which.
const VOLUMES: &[(&str, &str)] = &[
    ("configMap", "configmaps (via configmap volumes)"),
    ("secret", "secrets (via secret volumes)"),
    ("csi", "csidrivers (via CSI volumes)"),
    ("glusterfs", "endpoints (via glusterFS volumes)"),
    ("persistentVolumeClaim", "persistentvolumeclaims"),
    ("ephemeral", "persistentvolumeclaims (via ephemeral volumes)"),
    ("azureFile", "secrets (via azureFile volumes)"),
];

/// The first sort of objects that a pod names, in upstream's words; `None` where it stands for itself.
pub(crate) fn named_by(pod: &Value) -> Option<&'static str> {
    let places = |resource: &str| PLACES.iter().find(|(of, _)| *of == resource).map_or(&[][..], |(_, at)| at);
    let named =
        |resource: &&str| places(resource).iter().any(|place| spread(place).any(|path| any(pod, &path)));
    let first = ["serviceaccounts", "secrets", "configmaps", "resourceclaims"].into_iter().find(named);
    let mut volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    first.or_else(|| {
        volumes.find_map(|volume| {
            let sort =
                VOLUMES.iter().find(|(field, _)| volume.get(field).is_some_and(|value| !value.is_null()));
            let sources = volume["projected"]["sources"].as_array().into_iter().flatten();
            // Of what is projected only what the node knows by itself stands for itself.
            let asks = |source: &Value| source.get("downwardAPI").is_none();
            sort.map(|(_, text)| *text)
                .or_else(|| sources.into_iter().any(asks).then_some("other objects (via projected volumes)"))
        })
    })
}

/// The paths that a place stands for.
fn spread(place: &str) -> impl Iterator<Item = String> + use<> {
    let paths: Vec<String> = match place.split_once("[containers]") {
        Some((head, rest)) => CONTAINERS.iter().map(|list| format!("{head}{list}{rest}")).collect(),
        None => vec![place.to_owned()],
    };
    paths.into_iter()
}

/// Whether a volume of the pod brings its own claim of this name.
fn has_ephemeral(pod: &Value, claim: &str) -> bool {
    let volume = claim.strip_prefix(object::meta(pod, "name")).and_then(|rest| rest.strip_prefix('-'));
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    volume.is_some_and(|name| {
        volumes.into_iter().any(|volume| volume["name"] == name && volume.get("ephemeral").is_some())
    })
}

/// Whether any text is at a path.
fn any(value: &Value, path: &str) -> bool {
    at(value, path, &|found| found.as_str().is_some_and(|text| !text.is_empty()))
}

/// Whether something like this is at a path; `[]` after a name stands for every element of a list.
fn at(value: &Value, path: &str, wanted: &dyn Fn(&Value) -> bool) -> bool {
    let (head, rest) = path.split_once('.').unwrap_or((path, ""));
    let on = |value: &Value| if rest.is_empty() { wanted(value) } else { at(value, rest, wanted) };
    match head.strip_suffix("[]") {
        Some(list) => value.get(list).and_then(Value::as_array).into_iter().flatten().any(on),
        None => value.get(head).is_some_and(on),
    }
}

/// Whether a persistent volume cannot be mounted without a secret.
pub(super) fn volume_needs_secret(volume: &Value, namespace: &str, name: &str) -> bool {
    let spec = &volume["spec"];
    let home = spec["claimRef"]["namespace"].as_str().unwrap_or_default();
    let is = |reference: &Value, name_field: &str, namespace_field: &str| {
        let place = reference.get(namespace_field).and_then(Value::as_str).filter(|place| !place.is_empty());
        reference.get(name_field).is_some_and(|found| found == name) && place.unwrap_or(home) == namespace
    };
    let references =
        VOLUME_SECRETS.iter().filter_map(|path| path.split('.').try_fold(spec, |value, key| value.get(key)));
    references.into_iter().any(|reference| is(reference, "name", "namespace"))
        || spec.get("azureFile").is_some_and(|file| is(file, "secretName", "secretNamespace"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_pods_name() {
        let pod = json!({
            "metadata": {"name": "p"},
            "spec": {
                "serviceAccountName": "sa",
                "imagePullSecrets": [{"name": "pull"}],
                "initContainers": [{"envFrom": [{"secretRef": {"name": "from"}}]}],
                "containers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": "key"}}}]}],
                "volumes": [
                    {"name": "a", "secret": {"secretName": "mounted"}},
                    {"name": "b", "projected": {"sources": [{"configMap": {"name": "root"}}]}},
                    {"name": "c", "persistentVolumeClaim": {"claimName": "claim"}},
                    {"name": "d", "ephemeral": {}},
                ],
            },
        });
        let cases = [
            ("serviceaccounts", "sa", true),
            ("serviceaccounts", "default", false),
            ("secrets", "pull", true),
            ("secrets", "from", true),
            ("secrets", "mounted", true),
            ("secrets", "key", false),
            ("configmaps", "key", true),
            ("configmaps", "root", true),
            ("persistentvolumeclaims", "claim", true),
            ("persistentvolumeclaims", "p-d", true),
            ("persistentvolumeclaims", "p-c", false),
            ("deployments", "sa", false),
        ];
        for (resource, name, expected) in cases {
            assert_eq!(names(&pod, resource, name), expected, "{resource} {name}");
        }
        let mut mirror = pod;
        mirror["metadata"]["annotations"] = json!({MIRROR: "x"});
        assert!(!names(&mirror, "secrets", "pull"));
    }

    #[test]
    fn what_volumes_need() {
        let volume = json!({"spec": {
            "claimRef": {"namespace": "x"},
            "csi": {"nodeStageSecretRef": {"name": "s", "namespace": "y"}},
            "azureFile": {"secretName": "t"},
        }});
        for (namespace, name, expected) in [("y", "s", true), ("x", "s", false), ("x", "t", true)] {
            assert_eq!(volume_needs_secret(&volume, namespace, name), expected, "{namespace}/{name}");
        }
    }
}
