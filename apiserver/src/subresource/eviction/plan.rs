//! Whether a pod may be evicted, and what that does to its budget.

use serde_json::{Value, json};

use crate::fault::Fault;
use crate::kind::fill;
use crate::object::meta;
use crate::registry::delete::Options;

/// How many evictions a budget may wait for; upstream's figure, which keeps its object small.
const MOST_DISRUPTED: usize = 2000;

/// What may be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The pod may go.
    Free,
    /// It may go in the state it is in: in another one a budget may count on it.
    FreeAsSeen,
    /// It may go if this budget can spare it.
    Spend(String),
}

/// Whether budgets must be asked about a pod.
pub(super) fn judge(pod: &Value, budgets: &[Value]) -> Result<Verdict, Fault> {
    let phase = fill::text(pod, "status.phase");
    if matches!(phase, "Succeeded" | "Failed") || fill::find(pod, "metadata.deletionTimestamp").is_some() {
        return Ok(Verdict::Free);
    }
    if phase == "Pending" {
        return Ok(Verdict::FreeAsSeen);
    }
    let budget = match budgets {
        [] => return Ok(Verdict::Free),
        [budget] => budget,
        _ => {
            let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(Fault::new(500, "", why));
        }
    };
    let number = |path| fill::int(budget, path).unwrap_or(0);
    let (healthy, wanted) = (number("status.currentHealthy"), number("status.desiredHealthy"));
    let always = fill::text(budget, "spec.unhealthyPodEvictionPolicy") == "AlwaysAllow";
    if !is_ready(pod) && (always || healthy >= wanted && wanted > 0) {
        return Ok(Verdict::FreeAsSeen);
    }
    Ok(Verdict::Spend(meta(budget, "name").to_owned()))
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    fill::list(object, "status.conditions").iter().find(|condition| condition["type"] == kind)
}

fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition["status"] == "True")
}

/// Too many disruptions, because of a budget.
fn too_many(retry_after: u32, why: String) -> Fault {
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    Fault::too_many_requests(message, retry_after).cause("DisruptionBudget", why, "")
}

/// Takes a pod out of a budget.
pub(super) fn spend(budget: &mut Value, pod: &str, now: &str) -> Result<(), Fault> {
    let name = meta(budget, "name").to_owned();
    let number = |path| fill::int(budget, path).unwrap_or(0);
    if number("status.observedGeneration") < number("metadata.generation") {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(too_many(10, why));
    }
    let forbidden = |why| Fault::forbidden("policy", "poddisruptionbudget", &name, why);
    let allowed = number("status.disruptionsAllowed");
    let disrupted = fill::find(budget, "status.disruptedPods").and_then(Value::as_object);
    if allowed < 0 {
        return Err(forbidden("pdb disruptions allowed is negative"));
    }
    if disrupted.is_some_and(|pods| pods.len() > MOST_DISRUPTED) {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(forbidden(why));
    }
    if allowed == 0 {
        return Err(too_many(0, refusal(budget, &name)));
    }
    let generation = number("status.observedGeneration");
    let status = fill::child(budget, "status");
    status["disruptionsAllowed"] = (allowed - 1).into();
    fill::child(status, "disruptedPods")[pod] = now.into();
    if allowed == 1 {
        set_insufficient(budget, generation, now);
    }
    Ok(())
}

/// Why a budget allows nothing.
fn refusal(budget: &Value, name: &str) -> String {
    let number = |path| fill::int(budget, path).unwrap_or(0);
    let (healthy, wanted) = (number("status.currentHealthy"), number("status.desiredHealthy"));
    let denied = condition(budget, "DisruptionAllowed")
        .filter(|condition| condition["status"] == "False" && !fill::text(condition, "message").is_empty())
        .map(|condition| (fill::text(condition, "reason"), fill::text(condition, "message")));
    let not_now = format!("The disruption budget {name} does not allow evicting pods currently");
    match denied {
        Some(("SyncFailed", message)) => format!("{not_now} because it failed sync: {message}"),
        _ if healthy <= wanted => {
            format!("The disruption budget {name} needs {wanted} healthy pods and has {healthy} currently")
        }
        Some((reason, message)) => format!("{not_now} ({reason}): {message}"),
        None => not_now,
    }
}

/// Sets or replaces a condition; the time of its last transition stays where its status does.
fn set_condition(object: &mut Value, mut condition: Value, now: &str) {
    let status = fill::child(object, "status");
    let mut all = status["conditions"].as_array().cloned().unwrap_or_default();
    let old = all.iter_mut().find(|old| old["type"] == condition["type"]);
    let since = match &old {
        Some(old) if old["status"] == condition["status"] => old["lastTransitionTime"].clone(),
        _ => now.into(),
    };
    condition["lastTransitionTime"] = since;
    match old {
        Some(old) => *old = condition,
        None => all.push(condition),
    }
    status["conditions"] = all.into();
}

fn set_insufficient(budget: &mut Value, generation: i64, now: &str) {
    let condition = json!({"type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods",
        "message": "", "observedGeneration": generation});
    set_condition(budget, condition, now);
}

/// Says in a pod that it was evicted.
pub(super) fn mark(pod: &mut Value, now: &str) {
    let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastProbeTime": null});
    set_condition(pod, condition, now);
}

/// Whether a pod is the one that the caller means, in the state they mean.
pub(super) fn meant(pod: &Value, delete: &Options) -> Result<(), Fault> {
    let checks = [(&delete.uid, "uid", "UID"), (&delete.revision, "resourceVersion", "ResourceVersion")];
    for (wanted, field, shown) in checks {
        let Some(wanted) = wanted.as_deref().filter(|wanted| !wanted.is_empty()) else { continue };
        let own = meta(pod, field);
        if wanted != own {
            let after = if field == "uid" { "deleted and then recreated" } else { "modified" };
            let why = format!(
                "the {shown} in the precondition ({wanted}) does not match the {shown} in record ({own}). The object \
                 might have been {after}"
            );
            return Err(Fault::conflict("", "Pod", meta(pod, "name"), &why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(status: Value) -> Value {
        json!({"metadata": {"name": "b", "generation": 2}, "spec": {}, "status": status})
    }

    #[test]
    fn which_pods_are_free_to_go() {
        let guard = [budget(json!({"currentHealthy": 2, "desiredHealthy": 2}))];
        let short = [budget(json!({"currentHealthy": 1, "desiredHealthy": 2}))];
        let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        let cases: [(Value, &[Value], Verdict); 6] = [
            (json!({"phase": "Succeeded"}), &guard, Verdict::Free),
            (json!({"phase": "Pending"}), &guard, Verdict::FreeAsSeen),
            (json!({"phase": "Running"}), &[], Verdict::Free),
            (json!({"phase": "Running"}), &guard, Verdict::FreeAsSeen),
            (json!({"phase": "Running"}), &short, Verdict::Spend("b".to_owned())),
            (ready, &guard, Verdict::Spend("b".to_owned())),
        ];
        for (status, budgets, expected) in cases {
            let pod = json!({"metadata": {"name": "p"}, "status": status});
            assert_eq!(judge(&pod, budgets).unwrap(), expected, "{pod}");
        }
        let two = [budget(json!({})), budget(json!({}))];
        let running = json!({"status": {"phase": "Running"}});
        assert_eq!(judge(&running, &two).unwrap_err().code, 500);
    }

    #[test]
    fn what_budgets_spare() {
        let now = "2026-01-02T03:04:05Z";
        let sick =
            json!([{"type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "message": "m"}]);
        let cases = [
            (json!({"observedGeneration": 2, "disruptionsAllowed": 1}), Ok("False")),
            (json!({"observedGeneration": 2, "disruptionsAllowed": 2}), Ok("")),
            (
                json!({"observedGeneration": 1, "disruptionsAllowed": 1}),
                Err((429, "The disruption budget b is still being processed by the server.")),
            ),
            (
                json!({"observedGeneration": 2, "desiredHealthy": 2, "currentHealthy": 1}),
                Err((429, "The disruption budget b needs 2 healthy pods and has 1 currently")),
            ),
            (
                json!({"observedGeneration": 2, "conditions": sick}),
                Err((
                    429,
                    "The disruption budget b does not allow evicting pods currently because it failed sync: m",
                )),
            ),
        ];
        for (status, expected) in cases {
            let mut budget = budget(status);
            let found = spend(&mut budget, "p", now);
            match (found, expected) {
                (Ok(()), Ok(condition)) => {
                    assert_eq!(budget["status"]["disruptedPods"]["p"], now);
                    assert_eq!(
                        budget["status"]["conditions"][0]["status"].as_str().unwrap_or_default(),
                        condition
                    );
                }
                (Err(fault), Err((code, cause))) => {
                    let causes = fault.details.unwrap().causes;
                    assert_eq!((fault.code, causes[0].message.as_str()), (code, cause));
                }
                (found, _) => panic!("{found:?}: {budget}"),
            }
        }
    }
}
