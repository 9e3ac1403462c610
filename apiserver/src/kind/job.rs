//! Jobs and CronJobs.

use serde_json::{Value, json};

use super::check::{At, Errors, is_selector, matches, same, selector};
use super::fill::{self, Default, Fill::Bool, Fill::Int, Fill::Str};
use super::pod::validated;
use super::podspec::{self, check};
use super::{Behavior, WITH_STATUS};
use crate::field::FieldError;

pub(crate) const JOB: Behavior = Behavior {
    default: default_job,
    prepare_create: prepare_job,
    validate_create: |object| validated(object, job),
    validate_update: update_job,
    validate_status: |new, _| validated(new, job_status),
    selectable_fields: &[("status.successful", |job| {
        fill::int(job, "status.succeeded").unwrap_or_default().to_string()
    })],
    generation: true,
    ..WITH_STATUS
};

pub(crate) const CRON_JOB: Behavior = Behavior {
    default: default_cron_job,
    validate_create: |object| validated(object, cron_job),
    validate_update: |new, _| validated(new, cron_job),
    generation: true,
    ..WITH_STATUS
};

const UID: &str = "batch.kubernetes.io/controller-uid";
const NAME: &str = "batch.kubernetes.io/job-name";
const OLD_UID: &str = "controller-uid";
const OLD_NAME: &str = "job-name";

const SPEC: &[Default] = &[
    ("spec.parallelism", Int(1)),
    ("spec.completionMode", Str("NonIndexed")),
    ("spec.suspend", Bool(false)),
    ("spec.manualSelector", Bool(false)),
    ("spec.podFailurePolicy.rules[].onPodConditions[].status", Str("True")),
];

fn default_job(object: &mut Value) {
    fill::child(object, "spec");
    podspec::fill_template(object, "spec.template");
    if fill::find(object, "spec.completions").is_none() && fill::find(object, "spec.parallelism").is_none() {
        object["spec"]["completions"] = 1.into();
    }
    let per_index = fill::find(object, "spec.backoffLimitPerIndex").is_some();
    fill::apply(object, SPEC);
    let limit = if per_index { i64::from(i32::MAX) } else { 6 };
    fill::apply(object, &[("spec.backoffLimit", Int(limit))]);
    let policy =
        if fill::find(object, "spec.podFailurePolicy").is_some() { "Failed" } else { "TerminatingOrFailed" };
    fill::apply(object, &[("spec.podReplacementPolicy", Str(policy))]);
    let labels = fill::find(object, "spec.template.metadata.labels").cloned();
    if let Some(labels) = labels
        && fill::find(object, "metadata.labels").is_none_or(|own| own == &json!({}))
    {
        fill::child(object, "metadata")["labels"] = labels;
    }
}

/// Unless the client wants to select by itself, a Job selects by its uid, which is put on its pods.
fn prepare_job(job: &mut Value) {
    super::drop_status(job);
    if fill::flag(job, "spec.manualSelector") {
        return;
    }
    let uid = job["metadata"]["uid"].clone();
    let name = job["metadata"]["name"].clone();
    let metadata = fill::child(fill::child(fill::child(job, "spec"), "template"), "metadata");
    let labels = fill::child(metadata, "labels");
    for (key, value) in [(OLD_NAME, &name), (NAME, &name), (OLD_UID, &uid), (UID, &uid)] {
        fill::put(labels, key, value.clone());
    }
    let spec = fill::child(job, "spec");
    let selector = fill::child(spec, "selector");
    let match_labels = fill::child(selector, "matchLabels");
    if match_labels.get(OLD_UID).is_none() {
        fill::put(match_labels, UID, uid);
    }
    // The labels of the template are the Job's own ones where it has none.
    let labels = job["spec"]["template"]["metadata"]["labels"].clone();
    let own = fill::child(fill::child(job, "metadata"), "labels");
    if own.as_object().is_none_or(serde_json::Map::is_empty) || is_subset(own, &labels) {
        *own = labels;
    }
}

fn is_subset(part: &Value, whole: &Value) -> bool {
    part.as_object().into_iter().flatten().all(|(key, value)| whole.get(key) == Some(value))
}

fn spec(at: &At<'_>, out: &mut Errors) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        at.get(field).not_negative(out);
    }
    let mode = at.get("completionMode");
    mode.one_of_if_set(out, &["Indexed", "NonIndexed"]);
    if mode.text() == "Indexed" && at.get("completions").int().is_none() {
        at.get("completions").required(out, "when completion mode is Indexed");
    }
    if mode.text() != "Indexed" && at.get("backoffLimitPerIndex").is_set() {
        at.get("backoffLimitPerIndex").invalid(out, "requires indexed completion mode");
    }
    check::template(&at.get("template"), out);
    let restart = at.get("template.spec.restartPolicy");
    match restart.text() {
        "OnFailure" | "Never" => {}
        "" | "Always" => restart.required(out, "valid values: \"OnFailure\", \"Never\""),
        _ => restart.not_supported(out, &["OnFailure", "Never"]),
    }
    at.get("podReplacementPolicy").one_of_if_set(out, &["Failed", "TerminatingOrFailed"]);
}

fn job(at: &At<'_>, out: &mut Errors) {
    let all = at.get("spec");
    generated_selector(at, out);
    let wanted = all.get("selector");
    if wanted.value.is_null() {
        wanted.required(out, "");
    } else {
        selector(&wanted, out);
    }
    let labels = all.get("template.metadata.labels");
    if is_selector(wanted.value) && !matches(wanted.value, labels.value) {
        labels.invalid(out, "`selector` does not match template `labels`");
    }
    spec(&all, out);
}

/// The labels that [`prepare_job`] makes must be as it makes them.
fn generated_selector(at: &At<'_>, out: &mut Errors) {
    if at.get("spec.manualSelector").flag() {
        return;
    }
    let labels = at.get("spec.template.metadata.labels");
    let (uid, name) = (at.get("metadata.uid").text(), at.get("metadata.name").text());
    for (key, expected) in [(OLD_UID, uid), (UID, uid), (OLD_NAME, name), (NAME, name)] {
        let found = labels.value.get(key).and_then(Value::as_str);
        if key.contains('/') && found.is_none() {
            out.push(FieldError::required(&labels.path.key(key), format!("must be '{expected}'")));
        } else if found.is_some_and(|found| found != expected) {
            out.push(FieldError::invalid(
                &labels.path.key(key),
                labels.value.clone(),
                format!("must be '{expected}'"),
            ));
        }
    }
    let selector = at.get("spec.selector");
    let expected = [OLD_UID, UID].iter().any(|key| selector.value == &json!({"matchLabels": {(*key): uid}}));
    if !expected {
        selector.invalid(out, "`selector` not auto-generated");
    }
}

fn update_job(new: &Value, old: &Value) -> Vec<FieldError> {
    validated(new, |at, out| {
        job(at, out);
        let (now, was) = (at.get("spec"), &old["spec"]);
        let indexed = fill::text(was, "completionMode") == "Indexed";
        let elastic = indexed
            && now.get("completions").value == now.get("parallelism").value
            && !now.get("completions").value.is_null();
        if !elastic {
            now.get("completions").immutable(out, &was["completions"]);
        }
        now.get("selector").immutable(out, &was["selector"]);
        if !same(&template_kept(new, old), &was["template"]) {
            now.get("template").invalid(out, super::check::IMMUTABLE);
        }
        for field in
            ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
        {
            now.get(field).immutable(out, was.get(field).unwrap_or(&Value::Null));
        }
    })
}

/// The template, with what may change of a suspended Job that never ran put back.
fn template_kept(new: &Value, old: &Value) -> Value {
    let mut template = new["spec"]["template"].clone();
    let suspended = fill::flag(old, "spec.suspend") && fill::find(old, "status.startTime").is_none();
    if suspended {
        for field in ["nodeSelector", "affinity", "tolerations", "schedulingGates"] {
            template["spec"][field] = old["spec"]["template"]["spec"].get(field).cloned().unwrap_or_default();
        }
        for field in ["annotations", "labels"] {
            template["metadata"][field] =
                old["spec"]["template"]["metadata"].get(field).cloned().unwrap_or_default();
        }
    }
    template
}

fn job_status(at: &At<'_>, out: &mut Errors) {
    let status = at.get("status");
    for field in ["active", "succeeded", "failed", "terminating"] {
        status.get(field).not_negative(out);
    }
    let is = |kind: &str| {
        status
            .get("conditions")
            .items()
            .any(|c| c.get("type").text() == kind && c.get("status").text() == "True")
    };
    let finished = is("Complete") || is("Failed");
    if finished && !status.get("startTime").is_set() {
        status.get("startTime").required(out, "startTime is required for finished job");
    }
    if is("Complete") && !status.get("completionTime").is_set() {
        status.get("completionTime").required(out, "completionTime is required for Complete jobs");
    }
    if is("Complete") && is("Failed") {
        status.get("conditions").out_bare(out, "cannot set Complete=True and Failed=true conditions");
    }
    if is("Complete") && !is("SuccessCriteriaMet") {
        status.get("conditions").out_bare(
            out,
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
        );
    }
    if is("Failed") && !is("FailureTarget") {
        status
            .get("conditions")
            .out_bare(out, "cannot set Failed=True condition without the FailureTarget=true condition");
    }
}

const CRON_SPEC: &[Default] = &[
    ("spec.concurrencyPolicy", Str("Allow")),
    ("spec.suspend", Bool(false)),
    ("spec.successfulJobsHistoryLimit", Int(3)),
    ("spec.failedJobsHistoryLimit", Int(1)),
    ("spec.jobTemplate.spec.podFailurePolicy.rules[].onPodConditions[].status", Str("True")),
];

fn default_cron_job(object: &mut Value) {
    fill::child(object, "spec");
    fill::apply(object, CRON_SPEC);
    fill::each(object, "spec.jobTemplate", &mut |template| {
        fill::put(template, "metadata", json!({}));
        fill::child(template, "spec");
    });
    podspec::fill_template(object, "spec.jobTemplate.spec.template");
}

/// How long a CronJob's name may be, so that its Jobs' names fit.
const CRON_NAME: usize = 52;

fn cron_job(at: &At<'_>, out: &mut Errors) {
    let spec_at = at.get("spec");
    let schedule = spec_at.get("schedule");
    if schedule.is_set() {
        if let Err(message) = parse_schedule(schedule.text()) {
            schedule.invalid(out, message);
        }
    } else {
        schedule.required(out, "");
    }
    spec_at.get("startingDeadlineSeconds").not_negative(out);
    let policy = spec_at.get("concurrencyPolicy");
    if policy.must(out) {
        policy.one_of(out, &["Allow", "Forbid", "Replace"]);
    }
    time_zone(&spec_at.get("timeZone"), out);
    let template = spec_at.get("jobTemplate.spec");
    if template.get("manualSelector").flag() {
        template.get("manualSelector").not_supported(out, &["nil", "false"]);
    }
    spec(&template, out);
    for field in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        spec_at.get(field).not_negative(out);
    }
    if at.get("metadata.name").text().len() > CRON_NAME {
        at.get("metadata.name").invalid(out, format!("must be no more than {CRON_NAME} characters"));
    }
}

fn time_zone(at: &At<'_>, out: &mut Errors) {
    if at.value.is_null() {
        return;
    }
    let name = at.text();
    if name.is_empty() {
        at.invalid(out, "timeZone must be nil or non-empty string");
    } else if name.eq_ignore_ascii_case("local") {
        at.invalid(
            out,
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
        );
    } else if name != "UTC" && jiff::tz::TimeZone::get(name).is_err() {
        at.invalid(out, format!("unknown time zone {name}"));
    }
}

const SHORTHANDS: [&str; 7] =
    ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// The ranges of minute, hour, day of month, month and day of week.
const FIELDS: [(u32, u32, &[&str]); 5] = [
    (0, 59, &[]),
    (0, 23, &[]),
    (1, 31, &[]),
    (1, 12, &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    (0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
];

/// Whether a text is a schedule in cron's language.
fn parse_schedule(text: &str) -> Result<(), String> {
    if text.contains("TZ") {
        return Err("cannot use TZ or CRON_TZ in schedule, use timeZone field instead".to_owned());
    }
    if SHORTHANDS.contains(&text) || text.starts_with("@every ") {
        return Ok(());
    }
    if text.starts_with('@') {
        return Err(format!("unrecognized descriptor: {text}"));
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    for (field, (low, high, names)) in fields.iter().zip(FIELDS) {
        for part in field.split(',') {
            parse_part(part, low, high, names)?;
        }
    }
    Ok(())
}

fn parse_part(part: &str, low: u32, high: u32, names: &[&str]) -> Result<(), String> {
    let number = |text: &str| {
        let named = names
            .iter()
            .position(|name| text.eq_ignore_ascii_case(name))
            .and_then(|at| u32::try_from(at).ok());
        named.map(|at| at + low).or_else(|| text.parse().ok()).ok_or_else(|| {
            format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax")
        })
    };
    let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
    if let Some(step) = step
        && number(step)? == 0
    {
        return Err(format!("step of range should be a positive number: {part}"));
    }
    if matches!(range, "*" | "?") {
        return Ok(());
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last) = (number(first)?, number(last)?);
    if first < low {
        return Err(format!("beginning of range ({first}) below minimum ({low}): {part}"));
    }
    if last > high {
        return Err(format!("end of range ({last}) above maximum ({high}): {part}"));
    }
    if first > last {
        return Err(format!("beginning of range ({first}) beyond end of range ({last}): {part}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules() {
        for good in ["* * * * *", "*/5 0-3 1,2 jan mon-fri", "@daily", "0 0 1 1 0"] {
            assert_eq!(parse_schedule(good), Ok(()));
        }
        for bad in ["", "x", "* * * * * *", "TZ=UTC * * * * *", "60 * * * *", "5-1 * * * *", "*/0 * * * *"] {
            assert!(parse_schedule(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_job_selects_its_pods_by_uid() {
        let mut job = json!({"metadata": {"name": "a", "uid": "u"},
            "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
        default_job(&mut job);
        prepare_job(&mut job);
        assert_eq!(job["spec"]["selector"], json!({"matchLabels": {UID: "u"}}));
        assert_eq!(job["spec"]["template"]["metadata"]["labels"][NAME], "a");
        assert_eq!(validated(&job, super::job), []);
    }
}
