//! The columns of nodes, namespaces, what pods read, events, and what keeps a cluster going.

use jiff::Timestamp;
use serde_json::Value;

use super::{AGE, Cell, Column, NAME, Table, boolean, integer, show, text};
use crate::kind::fill;

pub(super) const TABLE: Table = &[
    ("", "ComponentStatus", COMPONENT_STATUS),
    ("", "ConfigMap", CONFIG_MAP),
    ("", "Event", EVENT),
    ("", "Namespace", NAMESPACE),
    ("", "Node", NODE),
    ("", "ResourceQuota", RESOURCE_QUOTA),
    ("", "Secret", SECRET),
    ("", "ServiceAccount", &[NAME, AGE]),
    ("apiregistration.k8s.io", "APIService", API_SERVICE),
    ("coordination.k8s.io", "Lease", LEASE),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema", FLOW_SCHEMA),
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration", PRIORITY_LEVEL),
    ("node.k8s.io", "RuntimeClass", RUNTIME_CLASS),
    ("resource.k8s.io", "DeviceClass", &[NAME, AGE]),
    ("resource.k8s.io", "ResourceClaim", RESOURCE_CLAIM),
    ("resource.k8s.io", "ResourceClaimTemplate", &[NAME, AGE]),
    ("resource.k8s.io", "ResourceSlice", RESOURCE_SLICE),
    ("scheduling.k8s.io", "PriorityClass", PRIORITY_CLASS),
];

const NAMESPACE: &[Column] = &[NAME, text("Status", Cell::Text("status.phase")), AGE];

const NODE: &[Column] = &[
    NAME,
    text("Status", Cell::Made(node_status)),
    text("Roles", Cell::Made(roles)),
    AGE,
    text("Version", Cell::Text("status.nodeInfo.kubeletVersion")),
    text("Internal-IP", Cell::Made(|node| address(node, "InternalIP"))).wide(),
    text("External-IP", Cell::Made(|node| address(node, "ExternalIP"))).wide(),
    text("OS-Image", Cell::TextOr("status.nodeInfo.osImage", "<unknown>")).wide(),
    text("Kernel-Version", Cell::Made(kernel)).wide(),
    text("Container-Runtime", Cell::TextOr("status.nodeInfo.containerRuntimeVersion", "<unknown>")).wide(),
];

const CONFIG_MAP: &[Column] = &[
    NAME,
    text(
        "Data",
        Cell::Any(|object| (show::count(object, "data") + show::count(object, "binaryData")).into()),
    ),
    AGE,
];

const SECRET: &[Column] = &[NAME, text("Type", Cell::Text("type")), text("Data", Cell::Count("data")), AGE];

const EVENT: &[Column] = &[
    text("Last Seen", Cell::Timed(last_seen)),
    text("Type", Cell::Text("type")),
    text("Reason", Cell::Text("reason")),
    text("Object", Cell::Made(involved)),
    text("Subobject", Cell::Text("involvedObject.fieldPath")).wide(),
    text("Source", Cell::Made(source)).wide(),
    text("Message", Cell::Made(|event| fill::text(event, "message").trim().to_owned())),
    text("First Seen", Cell::Timed(first_seen)).wide(),
    text("Count", Cell::Any(times)).wide(),
    NAME.wide(),
];

const LEASE: &[Column] = &[NAME, text("Holder", Cell::Text("spec.holderIdentity")), AGE];

const RUNTIME_CLASS: &[Column] = &[NAME, text("Handler", Cell::Text("handler")), AGE];

const PRIORITY_CLASS: &[Column] = &[
    NAME,
    integer("Value", Cell::Number("value")),
    boolean("Global-Default", Cell::Flag("globalDefault", false)),
    AGE,
    text("PreemptionPolicy", Cell::Text("preemptionPolicy")),
];

const RESOURCE_QUOTA: &[Column] = &[
    NAME,
    text("Request", Cell::Made(|quota| used(quota, false))),
    text("Limit", Cell::Made(|quota| used(quota, true))),
    AGE,
];

const COMPONENT_STATUS: &[Column] = &[
    NAME,
    text("Status", Cell::Made(health)),
    text("Message", Cell::Made(|object| healthy(object, "message"))),
    text("Error", Cell::Made(|object| healthy(object, "error"))),
];

const API_SERVICE: &[Column] =
    &[NAME, text("Service", Cell::Made(backend)), text("Available", Cell::Made(available)), AGE];

const FLOW_SCHEMA: &[Column] = &[
    NAME,
    text("PriorityLevel", Cell::Text("spec.priorityLevelConfiguration.name")),
    text("MatchingPrecedence", Cell::Number("spec.matchingPrecedence")),
    text("DistinguisherMethod", Cell::TextOr("spec.distinguisherMethod.type", "<none>")),
    AGE,
    text("MissingPL", Cell::Made(dangling)),
];

const PRIORITY_LEVEL: &[Column] = &[
    NAME,
    text("Type", Cell::Text("spec.type")),
    text(
        "NominalConcurrencyShares",
        Cell::Any(|object| limit(object, "spec.limited.nominalConcurrencyShares")),
    ),
    text("Queues", Cell::Any(|object| limit(object, "spec.limited.limitResponse.queuing.queues"))),
    text("HandSize", Cell::Any(|object| limit(object, "spec.limited.limitResponse.queuing.handSize"))),
    text(
        "QueueLengthLimit",
        Cell::Any(|object| limit(object, "spec.limited.limitResponse.queuing.queueLengthLimit")),
    ),
    AGE,
];

const RESOURCE_CLAIM: &[Column] = &[NAME, text("State", Cell::Made(claim_state)), AGE];

const RESOURCE_SLICE: &[Column] = &[
    NAME,
    text("Node", Cell::Text("spec.nodeName")),
    text("Driver", Cell::Text("spec.driver")),
    text("Pool", Cell::Text("spec.pool.name")),
    AGE,
];

fn node_status(node: &Value) -> String {
    let ready = match show::condition(node, "status.conditions", "Ready") {
        Some(condition) if fill::text(condition, "status") == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    if fill::flag(node, "spec.unschedulable") {
        return format!("{ready},SchedulingDisabled");
    }
    ready.to_owned()
}

/// What labels that name a role of their node begin with.
const ROLE_PREFIX: &str = "node-role.kubernetes.io/";

fn roles(node: &Value) -> String {
    let labels = fill::find(node, "metadata.labels").and_then(Value::as_object);
    let mut roles: Vec<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_PREFIX) {
            Some(role) => Some(role),
            None => value.as_str().filter(|_| key == "kubernetes.io/role"),
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    show::or_none(&roles.join(","))
}

fn address(node: &Value, kind: &str) -> String {
    let found = show::condition(node, "status.addresses", kind);
    found.map_or_else(|| "<none>".to_owned(), |address| fill::text(address, "address").to_owned())
}

fn kernel(node: &Value) -> String {
    let version = match fill::text(node, "status.nodeInfo.kernelVersion") {
        "" => "<unknown>",
        version => version,
    };
    match fill::text(node, "status.nodeInfo.architecture") {
        "" => version.to_owned(),
        architecture => format!("{version} ({architecture})"),
    }
}

fn first_seen(event: &Value, now: Timestamp) -> String {
    let time = match fill::text(event, "firstTimestamp") {
        "" => fill::text(event, "eventTime"),
        time => time,
    };
    show::since(time, now)
}

fn last_seen(event: &Value, now: Timestamp) -> String {
    if fill::find(event, "series").is_some() {
        return show::since(fill::text(event, "series.lastObservedTime"), now);
    }
    match fill::text(event, "lastTimestamp") {
        "" => first_seen(event, now),
        time => show::since(time, now),
    }
}

fn times(event: &Value) -> Value {
    let count = match fill::find(event, "series") {
        Some(series) => fill::int(series, "count").unwrap_or(0),
        // An event that happened once need not say so.
        None => fill::int(event, "count").unwrap_or(0).max(1),
    };
    count.into()
}

fn involved(event: &Value) -> String {
    let kind = fill::text(event, "involvedObject.kind").to_lowercase();
    match fill::text(event, "involvedObject.name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

fn source(event: &Value) -> String {
    let first = |one, other| match fill::text(event, one) {
        "" => fill::text(event, other),
        text => text,
    };
    let component = first("source.component", "reportingComponent");
    match first("source.host", "reportingInstance") {
        "" => component.to_owned(),
        instance => format!("{component}, {instance}"),
    }
}

fn used(quota: &Value, limits: bool) -> String {
    let hard = fill::find(quota, "status.hard").and_then(Value::as_object);
    let used = fill::find(quota, "status.used");
    let mut rows: Vec<(&str, String)> = hard
        .into_iter()
        .flatten()
        .filter(|(name, _)| name.starts_with("limits.") == limits)
        .map(|(name, hard)| {
            let used = used.and_then(|used| used.get(name)).and_then(Value::as_str).unwrap_or("0");
            (name.as_str(), format!("{name}: {used}/{}", hard.as_str().unwrap_or_default()))
        })
        .collect();
    rows.sort_unstable();
    rows.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(", ")
}

fn health(component: &Value) -> String {
    match show::condition(component, "conditions", "Healthy") {
        Some(condition) if fill::text(condition, "status") == "True" => "Healthy",
        Some(_) => "Unhealthy",
        None => "Unknown",
    }
    .to_owned()
}

fn healthy(component: &Value, field: &str) -> String {
    let condition = show::condition(component, "conditions", "Healthy");
    condition.map_or_else(String::new, |condition| fill::text(condition, field).to_owned())
}

fn backend(service: &Value) -> String {
    fill::find(service, "spec.service").map_or_else(
        || "Local".to_owned(),
        |found| format!("{}/{}", fill::text(found, "namespace"), fill::text(found, "name")),
    )
}

fn available(service: &Value) -> String {
    let Some(condition) = show::condition(service, "status.conditions", "Available") else {
        return "Unknown".to_owned();
    };
    match (fill::text(condition, "status"), fill::text(condition, "reason")) {
        (status, reason) if status != "True" && !reason.is_empty() => format!("{status} ({reason})"),
        (status, _) => status.to_owned(),
    }
}

fn dangling(schema: &Value) -> String {
    let condition = show::condition(schema, "status.conditions", "Dangling");
    condition.map_or_else(|| "?".to_owned(), |condition| fill::text(condition, "status").to_owned())
}

fn limit(level: &Value, path: &str) -> Value {
    let part = path.rsplit_once('.').map_or("", |(parent, _)| parent);
    match (fill::find(level, part), fill::find(level, path)) {
        (None, _) => "<none>".into(),
        (Some(_), found) => found.cloned().unwrap_or_else(|| 0.into()),
    }
}

fn claim_state(claim: &Value) -> String {
    let going = show::is_going(claim);
    let allocated = fill::find(claim, "status.allocation").is_some();
    let states = [
        (going, "deleted"),
        (!allocated && !going, "pending"),
        (allocated, "allocated"),
        (allocated && show::count(claim, "status.reservedFor") > 0, "reserved"),
    ];
    states.into_iter().filter(|(is, _)| *is).map(|(_, text)| text).collect::<Vec<_>>().join(",")
}
