//! The status of certificate signing requests: who may approve is asked elsewhere; here is what an approval or a
//! signature may change.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use x509_parser::pem::Pem;

use super::check::{At, Errors};
use super::{fill, keep_all_but_status_and_metadata, pod::validated};
use crate::field::FieldError;
use crate::object;

/// The conditions that only an approval may set.
const VERDICTS: [&str; 2] = ["Approved", "Denied"];

/// The conditions that, once there, stay, and can only be true.
const LASTING: [&str; 3] = ["Approved", "Denied", "Failed"];

const CONDITIONS: &str = "status.conditions";

/// Keeps the spec, and of the status everything but the conditions.
pub(crate) fn prepare_approval(new: &mut Value, old: &Value) {
    let conditions = fill::find(new, CONDITIONS).cloned();
    prepare(new, old);
    let dated = fill::find(new, CONDITIONS).cloned().or(conditions);
    new["status"] = old.get("status").cloned().unwrap_or_default();
    fill::child(new, "status")["conditions"] = dated.unwrap_or_default();
}

/// Keeps the spec, and in the status the verdicts as they were.
pub(crate) fn prepare_status(new: &mut Value, old: &Value) {
    for kind in VERDICTS {
        let before: Vec<Value> = of_kind(old, kind).cloned().collect();
        let places: Vec<usize> = fill::list(new, CONDITIONS)
            .iter()
            .enumerate()
            .filter(|(_, condition)| condition["type"] == kind)
            .map(|(place, _)| place)
            .collect();
        // One that was added or removed is complained of later.
        if before.len() == places.len() {
            for (place, was) in places.into_iter().zip(before) {
                new["status"]["conditions"][place] = was;
            }
        }
    }
    prepare(new, old);
}

/// Keeps the spec, and dates new conditions.
fn prepare(new: &mut Value, old: &Value) {
    keep_all_but_status_and_metadata(new, old);
    let now = object::time(object::now());
    let Some(Value::Array(conditions)) =
        new.get_mut("status").and_then(|status| status.get_mut("conditions"))
    else {
        return;
    };
    for condition in conditions {
        if fill::text(condition, "lastUpdateTime").is_empty() {
            condition["lastUpdateTime"] = now.as_str().into();
        }
        if fill::text(condition, "lastTransitionTime").is_empty() {
            let since = fill::list(old, CONDITIONS)
                .iter()
                .filter(|was| was["type"] == condition["type"] && was["status"] == condition["status"])
                .map(|was| fill::text(was, "lastTransitionTime"))
                .find(|time| !time.is_empty());
            condition["lastTransitionTime"] = since.unwrap_or(&now).into();
        }
    }
}

/// What is wrong with an approval.
pub(crate) fn validate_approval(new: &Value, old: &Value) -> Vec<FieldError> {
    validated(new, |at, out| {
        conditions(&at.get(CONDITIONS), old, out);
        removed(at, old, out);
        if fill::text(new, "status.certificate") != fill::text(old, "status.certificate") {
            at.get("status.certificate").forbidden(out, "updates may not set certificate content");
        }
    })
}

/// What is wrong with a change of the status.
pub(crate) fn validate_status(new: &Value, old: &Value) -> Vec<FieldError> {
    validated(new, |at, out| {
        conditions(&at.get(CONDITIONS), old, out);
        let certificate = at.get("status.certificate");
        let was = fill::text(old, "status.certificate");
        if let Err(why) = readable(certificate.text())
            && readable(was).is_ok()
        {
            certificate.out_of(out, &"<certificate data>".into(), why);
        }
        removed(at, old, out);
        for kind in VERDICTS {
            let (after, before) = (of_kind(new, kind), of_kind(old, kind));
            let (after, before): (Vec<&Value>, Vec<&Value>) = (after.collect(), before.collect());
            let what = match after.len().cmp(&before.len()) {
                std::cmp::Ordering::Greater => "add",
                std::cmp::Ordering::Equal if after != before => "modify",
                _ => continue,
            };
            at.get(CONDITIONS).forbidden(out, format!("updates may not {what} a condition of type {kind:?}"));
        }
        if certificate.text() != was && !was.is_empty() {
            certificate.forbidden(out, "updates may not modify existing certificate content");
        }
    })
}

fn of_kind<'a>(object: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    fill::list(object, CONDITIONS).iter().filter(move |condition| condition["type"] == kind)
}

fn removed(at: &At<'_>, old: &Value, out: &mut Errors) {
    for kind in LASTING {
        if of_kind(at.value, kind).count() < of_kind(old, kind).count() {
            at.get(CONDITIONS).forbidden(out, format!("updates may not remove a condition of type {kind:?}"));
        }
    }
}

fn conditions(at: &At<'_>, old: &Value, out: &mut Errors) {
    let had_both = VERDICTS.iter().all(|kind| of_kind(old, kind).next().is_some());
    let mut seen: Vec<&str> = Vec::new();
    for condition in at.items() {
        let kind = condition.get("type");
        kind.must(out);
        let lasts = LASTING.contains(&kind.text());
        let allowed: &[&str] = if lasts { &["True"] } else { &["False", "True", "Unknown"] };
        if condition.get("status").must(out) {
            condition.get("status").one_of(out, allowed);
        }
        let verdict = VERDICTS.contains(&kind.text());
        let other = VERDICTS.iter().any(|verdict| *verdict != kind.text() && seen.contains(verdict));
        if verdict && other && !had_both {
            let why = "Approved and Denied conditions are mutually exclusive";
            at.out_of(out, kind.value, why.to_owned());
        }
        if seen.contains(&kind.text()) && of_kind(old, kind.text()).count() < 2 {
            kind.duplicate(out);
        }
        seen.push(kind.text());
    }
}

/// Whether a certificate, in PEM in Base64, can be read.
fn readable(certificate: &str) -> Result<(), String> {
    if certificate.is_empty() {
        return Ok(());
    }
    let bytes = STANDARD.decode(certificate).unwrap_or_default();
    let mut blocks = 0;
    for block in Pem::iter_from_buffer(&bytes) {
        let Ok(block) = block else { break };
        if block.label != "CERTIFICATE" {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {:?}", block.label));
        }
        block.parse_x509().map_err(|error| format!("x509: malformed certificate: {error}"))?;
        blocks += 1;
    }
    if blocks == 0 { Err("must contain at least one CERTIFICATE PEM block".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(conditions: Value) -> Value {
        json!({"metadata": {"name": "r"}, "spec": {"signerName": "a.b/c"}, "status": {"conditions": conditions}})
    }

    fn condition(kind: &str) -> Value {
        json!({"type": kind, "status": "True", "reason": "r"})
    }

    #[test]
    fn approvals() {
        let approved = json!([condition("Approved")]);
        let cases = [
            (json!([]), approved.clone(), ""),
            (
                json!([]),
                json!([condition("Approved"), condition("Denied")]),
                "status.conditions: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive",
            ),
            (
                approved.clone(),
                json!([]),
                "status.conditions: Forbidden: updates may not remove a condition of type \"Approved\"",
            ),
            (
                json!([]),
                json!([{"type": "Approved", "status": "False"}]),
                "status.conditions[0].status: Unsupported value: \"False\": supported values: \"True\"",
            ),
        ];
        for (before, after, expected) in cases {
            let old = request(before);
            let mut new = request(after);
            new["spec"]["signerName"] = "changed".into();
            new["status"]["certificate"] = "AAAA".into();
            prepare_approval(&mut new, &old);
            assert_eq!(new["spec"], old["spec"]);
            assert!(new["status"].get("certificate").is_none());
            let found = validate_approval(&new, &old);
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found.join("; "), expected);
        }
    }

    #[test]
    fn statuses() {
        let old = request(json!([condition("Approved")]));
        let mut new = request(json!([{"type": "Approved", "status": "True", "reason": "other"}]));
        new["status"]["certificate"] = "AAAA".into();
        prepare_status(&mut new, &old);
        assert_eq!(new["status"]["conditions"][0]["reason"], "r");
        let found = validate_status(&new, &old);
        assert_eq!(
            found[0].to_string(),
            "status.certificate: Invalid value: \"<certificate data>\": must contain at least one CERTIFICATE PEM block"
        );
        new["status"] = json!({"conditions": [condition("Approved"), condition("Denied")]});
        let found = validate_status(&new, &old);
        assert!(
            found.iter().any(|error| error.detail.contains("may not add a condition of type \"Denied\""))
        );
    }
}
