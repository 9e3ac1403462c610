//! What is wrong with the containers of a pod.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::check::seccomp;
use crate::field::FieldError;
use crate::kind::check::{At, Errors};
use crate::kind::format;
use crate::kind::quantity::Quantity;

type Volumes<'a> = HashMap<&'a str, &'a Value>;

/// Checks all containers of a pod spec.
pub(crate) fn all(spec: &At<'_>, volumes: &Volumes<'_>, out: &mut Errors) {
    let containers = spec.get("containers");
    if containers.len() == 0 {
        containers.required(out, "");
    }
    let mut names = HashSet::new();
    for container in containers.items() {
        one(&container, volumes, &mut names, out);
        if container.get("restartPolicy").is_set() {
            container.get("restartPolicy").one_of(out, &["Always", "Never", "OnFailure"]);
        }
    }
    host_port_conflicts(&containers, out);
    for container in spec.get("initContainers").items() {
        one(&container, volumes, &mut names, out);
        init(&container, out);
    }
    for container in spec.get("ephemeralContainers").items() {
        ephemeral(&container, &containers, volumes, &mut names, out);
    }
}

fn one<'a>(at: &At<'a>, volumes: &Volumes<'_>, names: &mut HashSet<&'a str>, out: &mut Errors) {
    name(at, names, out);
    if !at.get("image").is_set() {
        at.get("image").required(out, "");
    } else if at.get("image").text().trim() != at.get("image").text() {
        at.get("image").invalid(out, "must not have leading or trailing whitespace");
    }
    common(at, volumes, out);
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        probe(&at.get(kind), out);
    }
    let liveness = at.get("livenessProbe.successThreshold");
    for probe in [liveness, at.get("startupProbe.successThreshold")] {
        if probe.int().is_some_and(|threshold| threshold > 1) {
            probe.invalid(out, "must be 1");
        }
    }
    for hook in ["lifecycle.postStart", "lifecycle.preStop"] {
        let hook = at.get(hook);
        if !hook.value.is_null() {
            handler(&hook, &["exec", "httpGet", "tcpSocket", "sleep"], out);
        }
    }
}

fn name<'a>(at: &At<'a>, names: &mut HashSet<&'a str>, out: &mut Errors) {
    let name = at.get("name");
    if !name.is_set() {
        name.required(out, "");
    } else {
        name.each(out, format::label(name.text()));
    }
    if !names.insert(name.text()) {
        name.duplicate(out);
    }
}

fn common(at: &At<'_>, volumes: &Volumes<'_>, out: &mut Errors) {
    at.get("terminationMessagePolicy").one_of_if_set(out, &["FallbackToLogsOnError", "File"]);
    ports(&at.get("ports"), out);
    at.get("env").items().for_each(|variable| env(&variable, out));
    at.get("envFrom").items().for_each(|source| env_from(&source, out));
    mounts(&at.get("volumeMounts"), volumes, out);
    devices(at, volumes, out);
    at.get("imagePullPolicy").one_of_if_set(out, &["Always", "IfNotPresent", "Never"]);
    resources(&at.get("resources"), out);
    let context = at.get("securityContext");
    for field in ["runAsUser", "runAsGroup"] {
        let id = context.get(field);
        if id.int().is_some_and(|id| !(0..=i64::from(i32::MAX)).contains(&id)) {
            id.invalid(out, "must be between 0 and 2147483647, inclusive");
        }
    }
    seccomp(&context.get("seccompProfile"), out);
    if context.get("privileged").flag()
        && context.get("allowPrivilegeEscalation").value == &Value::Bool(false)
    {
        context.invalid(out, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
    }
}

fn init(at: &At<'_>, out: &mut Errors) {
    let policy = at.get("restartPolicy");
    if policy.is_set() {
        policy.one_of(out, &["Always", "Never", "OnFailure"]);
    }
    if policy.text() == "Always" {
        return;
    }
    if at.get("lifecycle").is_set() {
        at.get("lifecycle").forbidden(out, "may not be set for init containers without restartPolicy=Always");
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if at.get(probe).is_set() {
            at.get(probe).forbidden(out, "may not be set for init containers without restartPolicy=Always");
        }
    }
}

/// What an ephemeral container may not have.
const NOT_EPHEMERAL: [&str; 7] =
    ["ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resources", "resizePolicy"];

fn ephemeral<'a>(
    at: &At<'a>,
    containers: &At<'a>,
    volumes: &Volumes<'_>,
    names: &mut HashSet<&'a str>,
    out: &mut Errors,
) {
    name(at, names, out);
    if !at.get("image").is_set() {
        at.get("image").required(out, "");
    }
    common(at, volumes, out);
    let target = at.get("targetContainerName");
    if target.is_set() && !containers.items().any(|container| container.get("name").text() == target.text()) {
        out.push(FieldError::not_found(&target.path, target.text()));
    }
    for field in NOT_EPHEMERAL {
        let field = at.get(field);
        if field.len() > 0 {
            field.forbidden(out, "cannot be set for an Ephemeral Container");
        }
    }
}

fn ports(at: &At<'_>, out: &mut Errors) {
    let mut names = HashSet::new();
    for port in at.items() {
        let name = port.get("name");
        if name.is_set() {
            let messages = format::port_name(name.text());
            if messages.is_empty() && !names.insert(name.text()) {
                name.duplicate(out);
            }
            name.each(out, messages);
        }
        let number = port.get("containerPort");
        if number.int().unwrap_or_default() == 0 {
            number.required(out, "");
        } else {
            number.port(out);
        }
        let host = port.get("hostPort");
        if host.int().unwrap_or_default() != 0 {
            host.port(out);
        }
        let protocol = port.get("protocol");
        if protocol.must(out) {
            protocol.one_of(out, &["SCTP", "TCP", "UDP"]);
        }
    }
}

fn host_port_conflicts(containers: &At<'_>, out: &mut Errors) {
    let mut seen = HashSet::new();
    for container in containers.items() {
        for port in container.get("ports").items() {
            let Some(number) = port.get("hostPort").int().filter(|number| *number != 0) else { continue };
            let key = format!("{}/{}/{number}", port.get("protocol").text(), port.get("hostIP").text());
            if !seen.insert(key.clone()) {
                port.get("hostPort").out_duplicate(out, key);
            }
        }
    }
}

fn env(at: &At<'_>, out: &mut Errors) {
    let name = at.get("name");
    if !name.is_set() {
        name.required(out, "");
    } else {
        name.each(out, format::env_name(name.text()));
    }
    let from = at.get("valueFrom");
    if from.value.is_null() {
        return;
    }
    let kinds = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
    let found: Vec<_> =
        kinds.iter().map(|kind| from.get(kind)).filter(|source| !source.value.is_null()).collect();
    match found.len() {
        0 => from.out_of(
            out,
            &"".into(),
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
                .to_owned(),
        ),
        1 if at.get("value").is_set() => {
            from.out_of(out, &"".into(), "may not be specified when `value` is not empty".to_owned());
        }
        1 => {}
        _ => from.out_of(out, &"".into(), "may not have more than one field specified at a time".to_owned()),
    }
    field_ref(&from.get("fieldRef"), out);
    for kind in ["configMapKeyRef", "secretKeyRef"] {
        let source = from.get(kind);
        if source.value.is_null() {
            continue;
        }
        source.get("name").must(out);
        let key = source.get("key");
        if key.must(out) {
            key.each(out, format::config_key(key.text()));
        }
    }
    let resource = from.get("resourceFieldRef");
    if !resource.value.is_null() {
        resource.get("resource").must(out);
    }
}

const FIELD_REFS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

fn field_ref(at: &At<'_>, out: &mut Errors) {
    if at.value.is_null() {
        return;
    }
    let path = at.get("fieldPath");
    if !at.get("apiVersion").must(out) || !path.must(out) {
        return;
    }
    let subscript =
        ["metadata.annotations['", "metadata.labels['"].iter().any(|start| path.text().starts_with(start));
    if !subscript && !FIELD_REFS.contains(&path.text()) {
        path.not_supported(out, &FIELD_REFS);
    }
}

fn env_from(at: &At<'_>, out: &mut Errors) {
    let prefix = at.get("prefix");
    if prefix.is_set() {
        prefix.each(out, format::env_name(prefix.text()));
    }
    let found: Vec<_> = ["configMapRef", "secretRef"]
        .iter()
        .map(|kind| at.get(kind))
        .filter(|s| !s.value.is_null())
        .collect();
    for source in &found {
        source.get("name").must(out);
    }
    match found.len() {
        0 => at.out_of(out, &"".into(), "must specify one of: `configMapRef` or `secretRef`".to_owned()),
        1 => {}
        _ => at.out_of(out, &"".into(), "may not have more than one field specified at a time".to_owned()),
    }
}

fn mounts(at: &At<'_>, volumes: &Volumes<'_>, out: &mut Errors) {
    let mut paths = HashSet::new();
    for mount in at.items() {
        let (name, path) = (mount.get("name"), mount.get("mountPath"));
        if !name.is_set() {
            name.required(out, "");
        } else if !volumes.contains_key(name.text()) {
            out.push(FieldError::not_found(&name.path, name.text()));
        }
        if !path.is_set() {
            path.required(out, "");
        }
        if !paths.insert(path.text()) {
            path.invalid(out, "must be unique");
        }
        let (sub, expr) = (mount.get("subPath"), mount.get("subPathExpr"));
        if sub.is_set() {
            super::volume::local_path(&sub, out);
        }
        if expr.is_set() {
            if sub.is_set() {
                expr.invalid(out, "subPathExpr and subPath are mutually exclusive");
            }
            super::volume::local_path(&expr, out);
        }
        mount.get("mountPropagation").one_of_if_set(out, &["Bidirectional", "HostToContainer", "None"]);
    }
}

fn devices(at: &At<'_>, volumes: &Volumes<'_>, out: &mut Errors) {
    let mut seen = HashSet::new();
    for device in at.get("volumeDevices").items() {
        let (name, path) = (device.get("name"), device.get("devicePath"));
        if !name.is_set() {
            name.required(out, "");
        } else if !volumes.contains_key(name.text()) {
            out.push(FieldError::not_found(&name.path, name.text()));
        }
        if !path.is_set() {
            path.required(out, "");
        } else if !seen.insert(path.text()) {
            path.invalid(out, "must be unique");
        }
    }
}

/// The resources that need no domain in their names.
const RESOURCES: [&str; 4] = ["cpu", "memory", "ephemeral-storage", "storage"];

/// Requests and limits of a container.
pub(crate) fn resources(at: &At<'_>, out: &mut Errors) {
    let limits = at.get("limits");
    for list in [&limits, &at.get("requests")] {
        for (name, amount) in list.entries() {
            resource_name(name, &amount, out);
            let Some(quantity) = quantity(amount.value) else {
                continue;
            };
            if quantity.is_negative() {
                amount.out_of(
                    out,
                    &quantity.canonical().into(),
                    "must be greater than or equal to 0".to_owned(),
                );
            }
        }
    }
    for (name, amount) in at.get("requests").entries() {
        let limit = limits.value.get(name).and_then(quantity);
        match (quantity(amount.value), limit) {
            (Some(request), Some(limit)) if request > limit => out.push(FieldError::invalid(
                &at.get("requests").path,
                request.canonical(),
                format!("must be less than or equal to {name} limit of {}", limit.canonical()),
            )),
            (Some(request), Some(limit)) if request != limit && !overcommits(name) => {
                out.push(FieldError::invalid(
                    &at.get("requests").path,
                    request.canonical(),
                    format!("must be equal to {name} limit of {}", limit.canonical()),
                ))
            }
            (Some(_), None) if !overcommits(name) => {
                out.push(FieldError::required(
                    &at.get("limits").path,
                    "Limit must be set for non overcommitable resources",
                ));
            }
            _ => {}
        }
    }
}

fn overcommits(name: &str) -> bool {
    !name.contains('/') && !name.starts_with("hugepages-")
}

fn resource_name(name: &str, at: &At<'_>, out: &mut Errors) {
    for message in format::qualified_name(name) {
        out.push(FieldError::invalid(&at.path, name, message));
    }
    if !name.contains('/') && !RESOURCES.contains(&name) && !name.starts_with("hugepages-") {
        out.push(FieldError::invalid(&at.path, name, "must be a standard resource type or fully qualified"));
        out.push(FieldError::invalid(&at.path, name, "must be a standard resource for containers"));
    }
}

/// The amount in a value.
pub(crate) fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text),
        Value::Number(number) => Quantity::parse(&number.to_string()),
        _ => None,
    }
}

fn probe(at: &At<'_>, out: &mut Errors) {
    if at.value.is_null() {
        return;
    }
    handler(at, &["exec", "httpGet", "tcpSocket", "grpc"], out);
    for field in
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
    {
        at.get(field).not_negative(out);
    }
    let grace = at.get("terminationGracePeriodSeconds");
    if grace.int().is_some_and(|seconds| seconds <= 0) {
        grace.invalid(out, "must be greater than 0");
    }
}

fn handler(at: &At<'_>, kinds: &[&str], out: &mut Errors) {
    let mut found = 0;
    for kind in kinds {
        let action = at.get(kind);
        if action.value.is_null() {
            continue;
        }
        found += 1;
        if found > 1 {
            action.forbidden(out, "may not specify more than 1 handler type");
            continue;
        }
        match *kind {
            "exec" if action.get("command").len() == 0 => action.get("command").required(out, ""),
            "httpGet" => http_get(&action, out),
            "tcpSocket" => action.get("port").port_or_name(out),
            "grpc" => action.get("port").port(out),
            "sleep" if action.get("seconds").int().unwrap_or_default() < 0 => {
                action.get("seconds").invalid(out, "must be non-negative");
            }
            _ => {}
        }
    }
    if found == 0 {
        at.required(out, "must specify a handler type");
    }
}

fn http_get(at: &At<'_>, out: &mut Errors) {
    if !at.get("path").is_set() {
        at.get("path").required(out, "");
    }
    at.get("port").port_or_name(out);
    at.get("scheme").one_of(out, &["HTTP", "HTTPS"]);
    for header in at.get("httpHeaders").items() {
        let name = header.get("name");
        let fits =
            !name.text().is_empty() && name.text().bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
        if !fits {
            name.invalid(
                out,
                "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used \
                 for validation is '[-A-Za-z0-9]+')",
            );
        }
    }
}
