//! What a Job's pod failure policy makes of a failed pod.

use client::k8s_openapi::api::batch::v1::{PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement};
use client::k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::pod::condition;

/// What follows from a pod's failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It counts towards the limit.
    Count,
    /// It counts for nothing.
    Ignore,
    /// The whole Job has failed, for this reason.
    FailJob(String),
}

/// Applies the first rule that fits; where none does, the failure counts.
pub(super) fn judge(policy: Option<&PodFailurePolicy>, pod: &Pod) -> Verdict {
    for (at, rule) in policy.into_iter().flat_map(|policy| &policy.rules).enumerate() {
        let by_code = rule.on_exit_codes.as_ref().and_then(|codes| exit_of(codes, pod));
        let by_condition = || {
            let patterns = rule.on_pod_conditions.iter().flatten();
            patterns
                .filter(|pattern| {
                    let status =
                        pattern.status.as_deref().filter(|status| !status.is_empty()).unwrap_or("True");
                    condition(pod, &pattern.type_).is_some_and(|condition| condition.status == status)
                })
                .map(|pattern| pattern.type_.clone())
                .next()
        };
        let name = client::Key::of(pod);
        let why = match (by_code, by_condition()) {
            (Some((container, code)), _) => {
                format!("Container {container} for pod {name} failed with exit code {code}")
            }
            (None, Some(kind)) => format!("Pod {name} has condition {kind}"),
            (None, None) => continue,
        };
        return match rule.action.as_str() {
            "FailJob" => Verdict::FailJob(format!("{why} matching {} rule at index {at}", rule.action)),
            "Ignore" => Verdict::Ignore,
            _ => Verdict::Count,
        };
    }
    Verdict::Count
}

/// The first container whose exit code fits, and the code. Success fits nothing.
fn exit_of(wanted: &PodFailurePolicyOnExitCodesRequirement, pod: &Pod) -> Option<(String, i32)> {
    let status = pod.status.as_ref()?;
    let containers = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    let code = |container: &ContainerStatus| Some(container.state.as_ref()?.terminated.as_ref()?.exit_code);
    let named = |container: &&ContainerStatus| {
        wanted.container_name.as_ref().is_none_or(|name| *name == container.name)
    };
    let fits = |code: i32| code != 0 && wanted.values.contains(&code) == (wanted.operator == "In");
    let mut exits =
        containers.filter(named).filter_map(|container| Some((container.name.clone(), code(container)?)));
    exits.find(|(_, code)| fits(*code))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_first_rule_that_fits_decides() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"namespace": "d", "name": "p"},
            "status": {"conditions": [{"type": "DisruptionTarget", "status": "True"}],
                "containerStatuses": [{"name": "c", "ready": false, "image": "i", "imageID": "i", "restartCount": 0,
                    "state": {"terminated": {"exitCode": 42}}}]}}))
        .unwrap();
        let code = |operator: &str, values: Value, action: &str| json!({"action": action, "onExitCodes": {"operator": operator, "values": values}});
        let disrupted = json!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]});
        let failed = "Container c for pod d/p failed with exit code 42 matching FailJob rule at index 0";
        let cases = [
            (vec![], Verdict::Count),
            (vec![code("In", json!([42]), "FailJob")], Verdict::FailJob(failed.to_owned())),
            (vec![code("In", json!([1]), "FailJob")], Verdict::Count),
            (vec![code("NotIn", json!([1]), "Ignore")], Verdict::Ignore),
            (vec![disrupted.clone(), code("In", json!([42]), "FailJob")], Verdict::Ignore),
            (vec![code("In", json!([42]), "Count"), disrupted], Verdict::Count),
        ];
        for (rules, expected) in cases {
            let policy: PodFailurePolicy = serde_json::from_value(json!({"rules": rules})).unwrap();
            assert_eq!(judge(Some(&policy), &pod), expected, "{rules:?}");
        }
        assert_eq!(judge(None, &pod), Verdict::Count);
    }
}
