//! The columns of what makes pods: deployments, sets, jobs, and what watches over them.

use jiff::Timestamp;
use serde_json::Value;

use super::{AGE, Cell, Column, NAME, Table, boolean, integer, show, text};
use crate::kind::fill;

pub(super) const TABLE: Table = &[
    ("", "PodTemplate", POD_TEMPLATE),
    ("", "ReplicationController", REPLICATION_CONTROLLER),
    ("apps", "ControllerRevision", CONTROLLER_REVISION),
    ("apps", "DaemonSet", DAEMON_SET),
    ("apps", "Deployment", DEPLOYMENT),
    ("apps", "ReplicaSet", REPLICA_SET),
    ("apps", "StatefulSet", STATEFUL_SET),
    ("autoscaling", "HorizontalPodAutoscaler", AUTOSCALER),
    ("autoscaling", "Scale", SCALE),
    ("batch", "CronJob", CRON_JOB),
    ("batch", "Job", JOB),
    ("policy", "PodDisruptionBudget", DISRUPTION_BUDGET),
];

const CONTAINERS: Column =
    text("Containers", Cell::Made(|object| show::joined(object, "spec.template.spec.containers", "name")));
const IMAGES: Column =
    text("Images", Cell::Made(|object| show::joined(object, "spec.template.spec.containers", "image")));
const SELECTOR: Column =
    text("Selector", Cell::Made(|object| show::selector_or_none(object, "spec.selector"))).wide();
const READY_OF: Column = text("Ready", Cell::Made(ready_of));

const POD_TEMPLATE: &[Column] = &[
    NAME,
    text("Containers", Cell::Made(|object| show::joined(object, "template.spec.containers", "name"))),
    text("Images", Cell::Made(|object| show::joined(object, "template.spec.containers", "image"))),
    text("Pod Labels", Cell::Made(|object| show::labels(object, "template.metadata.labels"))),
];

const REPLICATION_CONTROLLER: &[Column] = &[
    NAME,
    integer("Desired", Cell::Number("spec.replicas")),
    integer("Current", Cell::Number("status.replicas")),
    integer("Ready", Cell::Number("status.readyReplicas")),
    AGE,
    CONTAINERS.wide(),
    IMAGES.wide(),
    text("Selector", Cell::Made(|object| show::labels(object, "spec.selector"))).wide(),
];

const REPLICA_SET: &[Column] = &[
    NAME,
    integer("Desired", Cell::Number("spec.replicas")),
    integer("Current", Cell::Number("status.replicas")),
    integer("Ready", Cell::Number("status.readyReplicas")),
    AGE,
    CONTAINERS.wide(),
    IMAGES.wide(),
    SELECTOR,
];

const DAEMON_SET: &[Column] = &[
    NAME,
    integer("Desired", Cell::Number("status.desiredNumberScheduled")),
    integer("Current", Cell::Number("status.currentNumberScheduled")),
    integer("Ready", Cell::Number("status.numberReady")),
    integer("Up-to-date", Cell::Number("status.updatedNumberScheduled")),
    integer("Available", Cell::Number("status.numberAvailable")),
    text("Node Selector", Cell::Made(|object| show::labels(object, "spec.template.spec.nodeSelector"))),
    AGE,
    CONTAINERS.wide(),
    IMAGES.wide(),
    SELECTOR,
];

const DEPLOYMENT: &[Column] = &[
    NAME,
    READY_OF,
    text("Up-to-date", Cell::Number("status.updatedReplicas")),
    text("Available", Cell::Number("status.availableReplicas")),
    AGE,
    CONTAINERS.wide(),
    IMAGES.wide(),
    text(
        "Selector",
        Cell::Made(|object| {
            show::selector(object, "spec.selector").unwrap_or_else(|| "<invalid>".to_owned())
        }),
    )
    .wide(),
];

const STATEFUL_SET: &[Column] = &[NAME, READY_OF, AGE, CONTAINERS.wide(), IMAGES.wide()];

const CONTROLLER_REVISION: &[Column] =
    &[NAME, text("Controller", Cell::Made(controller)), text("Revision", Cell::Number("revision")), AGE];

const SCALE: &[Column] = &[
    Column { format: "", ..NAME },
    integer("Desired", Cell::Number("spec.replicas")),
    integer("Available", Cell::Number("status.replicas")),
    AGE,
];

const JOB: &[Column] = &[
    NAME,
    text("Status", Cell::Made(job_status)),
    text("Completions", Cell::Made(completions)),
    text("Duration", Cell::Timed(job_duration)),
    AGE,
    CONTAINERS.wide(),
    IMAGES.wide(),
    SELECTOR,
];

/// Where a cron job has the containers of its pods.
const CRON_CONTAINERS: &str = "spec.jobTemplate.spec.template.spec.containers";

const CRON_JOB: &[Column] = &[
    NAME,
    text("Schedule", Cell::Text("spec.schedule")),
    text("Timezone", Cell::TextOr("spec.timeZone", "<none>")),
    boolean("Suspend", Cell::Made(suspended)),
    integer("Active", Cell::Count("status.active")),
    text("Last Schedule", Cell::Timed(last_schedule)),
    AGE,
    text("Containers", Cell::Made(|object| show::joined(object, CRON_CONTAINERS, "name"))).wide(),
    text("Images", Cell::Made(|object| show::joined(object, CRON_CONTAINERS, "image"))).wide(),
    text("Selector", Cell::Made(|object| show::selector_or_none(object, "spec.jobTemplate.spec.selector")))
        .wide(),
];

const DISRUPTION_BUDGET: &[Column] = &[
    NAME,
    text("Min Available", Cell::Made(|object| show::number_or_text(object, "spec.minAvailable", "N/A"))),
    text("Max Unavailable", Cell::Made(|object| show::number_or_text(object, "spec.maxUnavailable", "N/A"))),
    integer("Allowed Disruptions", Cell::Number("status.disruptionsAllowed")),
    AGE,
];

const AUTOSCALER: &[Column] = &[
    NAME,
    text("Reference", Cell::Made(|object| pair(object, "spec.scaleTargetRef"))),
    text("Targets", Cell::Made(targets)),
    text("MinPods", Cell::Made(|object| show::number_or_text(object, "spec.minReplicas", "<unset>"))),
    text("MaxPods", Cell::Number("spec.maxReplicas")),
    text("Replicas", Cell::Number("status.currentReplicas")),
    AGE,
];

fn pair(object: &Value, path: &str) -> String {
    let found = fill::find(object, path).unwrap_or(&Value::Null);
    format!("{}/{}", fill::text(found, "kind"), fill::text(found, "name"))
}

fn ready_of(object: &Value) -> String {
    let number = |path| fill::int(object, path).unwrap_or(0);
    format!("{}/{}", number("status.readyReplicas"), number("spec.replicas"))
}

fn controller(object: &Value) -> String {
    let owners = fill::list(object, "metadata.ownerReferences");
    let Some(owner) = owners.iter().find(|owner| fill::flag(owner, "controller")) else {
        return "<none>".to_owned();
    };
    let group = fill::text(owner, "apiVersion").rsplit_once('/').map_or("", |(group, _)| group);
    let kind = crate::fault::qualified(group, fill::text(owner, "kind")).to_lowercase();
    format!("{kind}/{}", fill::text(owner, "name"))
}

/// The conditions that a job's state is called after, the strongest first: of one that is over, and of one under way.
const JOB_STATES: ([&str; 2], [&str; 3]) =
    (["Complete", "Failed"], ["Suspended", "FailureTarget", "SuccessCriteriaMet"]);

fn job_status(job: &Value) -> String {
    let holds = |kind: &&&str| show::is_true(job, "status.conditions", kind);
    let (over, under_way) = JOB_STATES;
    let state = over.iter().find(holds).copied();
    let state = state.or_else(|| show::is_going(job).then_some("Terminating"));
    let state = state.or_else(|| under_way.iter().find(holds).copied());
    state.unwrap_or("Running").to_owned()
}

fn completions(job: &Value) -> String {
    let succeeded = fill::int(job, "status.succeeded").unwrap_or(0);
    match (fill::int(job, "spec.completions"), fill::int(job, "spec.parallelism").unwrap_or(0)) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallel) if parallel > 1 => format!("{succeeded}/1 of {parallel}"),
        (None, _) => format!("{succeeded}/1"),
    }
}

fn job_duration(job: &Value, now: Timestamp) -> String {
    let time = |path| fill::text(job, path).parse::<Timestamp>().ok();
    match (time("status.startTime"), time("status.completionTime")) {
        (None, _) => String::new(),
        (Some(start), end) => show::duration(end.unwrap_or(now).as_second() - start.as_second()),
    }
}

fn suspended(job: &Value) -> String {
    match fill::find(job, "spec.suspend").and_then(Value::as_bool) {
        Some(true) => "True",
        Some(false) => "False",
        None => "<unset>",
    }
    .to_owned()
}

fn last_schedule(job: &Value, now: Timestamp) -> String {
    match fill::text(job, "status.lastScheduleTime") {
        "" => "<none>".to_owned(),
        time => show::since(time, now),
    }
}

/// How many metrics a cell shows.
const METRICS_SHOWN: usize = 2;

fn targets(autoscaler: &Value) -> String {
    let specs = fill::list(autoscaler, "spec.metrics");
    let statuses = fill::list(autoscaler, "status.currentMetrics");
    if specs.is_empty() {
        return "<none>".to_owned();
    }
    let all: Vec<String> =
        specs.iter().enumerate().map(|(at, spec)| target(spec, statuses.get(at))).collect();
    if all.len() > METRICS_SHOWN {
        return format!("{} + {} more...", all[..METRICS_SHOWN].join(", "), all.len() - METRICS_SHOWN);
    }
    all.join(", ")
}

/// One metric: what it is, and what it should be.
fn target(spec: &Value, status: Option<&Value>) -> String {
    let field = match fill::text(spec, "type") {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".to_owned(),
    };
    let spec = &spec[field];
    let current = |name: &str| {
        let found = status.and_then(|status| status[field]["current"].get(name));
        found.filter(|value| !value.is_null()).cloned()
    };
    let quantity = |name: &str| match current(name) {
        Some(Value::String(text)) => text,
        _ => "<unknown>".to_owned(),
    };
    let name = fill::text(spec, "name");
    let average = fill::text(spec, "target.averageValue");
    match field {
        "pods" => format!("{}/{average}", quantity("averageValue")),
        "external" | "object" if !average.is_empty() => {
            format!("{}/{average} (avg)", quantity("averageValue"))
        }
        "external" | "object" => format!("{}/{}", quantity("value"), fill::text(spec, "target.value")),
        _ if !average.is_empty() => format!("{name}: {}/{average}", quantity("averageValue")),
        _ => {
            let percent = |value: Option<i64>, other: &str| {
                value.map_or_else(|| other.to_owned(), |value| format!("{value}%"))
            };
            let is = percent(current("averageUtilization").and_then(|value| value.as_i64()), "<unknown>");
            let wanted = percent(fill::int(spec, "target.averageUtilization"), "<auto>");
            format!("{name}: {is}/{wanted}")
        }
    }
}
