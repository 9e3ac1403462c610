//! When a pod must leave a node because of the node's taints.

use client::k8s_openapi::api::core::v1::{Pod, Taint};
use jiff::{SignedDuration, Timestamp};

use crate::pod;
use crate::taint::tolerates;

/// What the taints mean for a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stay {
    /// It may stay.
    Forever,
    /// It must leave at this moment.
    Until(Timestamp),
}

/// What a node's taints mean for a pod. `seen`: since when the pod is known to be under them, for a taint that
/// does not say.
pub(super) fn stay(pod: &Pod, taints: &[Taint], seen: Timestamp) -> Stay {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    // A pod that came to a tainted node has its time from then on.
    let began = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    let came = began.or(pod.metadata.creation_timestamp.as_ref()).map(|time| time.0);
    let mut end: Option<Timestamp> = None;
    for taint in taints.iter().filter(|taint| taint.effect == "NoExecute") {
        let since = taint.time_added.as_ref().map_or(seen, |time| time.0);
        let since = came.map_or(since, |came| came.max(since));
        let mut covered = tolerations.iter().filter(|toleration| tolerates(toleration, taint)).peekable();
        if covered.peek().is_none() {
            return Stay::Until(since.min(seen));
        }
        for seconds in covered.filter_map(|toleration| toleration.toleration_seconds) {
            let until =
                since.saturating_add(SignedDuration::from_secs(seconds.max(0))).unwrap_or(Timestamp::MAX);
            end = Some(end.map_or(until, |end| end.min(until)));
        }
    }
    end.map_or(Stay::Forever, Stay::Until)
}

/// Whether taints concern a pod at all.
pub(super) fn concerns(pod: &Pod) -> bool {
    !pod::is_finished(pod) && !pod::is_leaving(pod)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn how_long_a_pod_stays() {
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let pod = |tolerations: Value, start: i64| -> Pod {
            serde_json::from_value(json!({"spec": {"containers": [], "tolerations": tolerations},
                "status": {"startTime": at(start).to_string()}}))
            .unwrap()
        };
        let taint = |effect: &str| -> Taint {
            serde_json::from_value(json!({"key": "k", "effect": effect, "timeAdded": at(10).to_string()}))
                .unwrap()
        };
        let cases = [
            (json!([]), 0, "NoSchedule", Stay::Forever),
            (json!([]), 0, "NoExecute", Stay::Until(at(10))),
            (json!([{"operator": "Exists"}]), 0, "NoExecute", Stay::Forever),
            (json!([{"operator": "Exists", "tolerationSeconds": 30}]), 0, "NoExecute", Stay::Until(at(40))),
            (json!([{"operator": "Exists", "tolerationSeconds": 30}]), 25, "NoExecute", Stay::Until(at(55))),
            (
                json!([{"operator": "Exists", "tolerationSeconds": 30}, {"key": "k", "operator": "Exists",
                    "tolerationSeconds": 5}]),
                0,
                "NoExecute",
                Stay::Until(at(15)),
            ),
        ];
        for (tolerations, start, effect, expected) in cases {
            let pod = pod(tolerations.clone(), start);
            assert_eq!(stay(&pod, &[taint(effect)], at(50)), expected, "{tolerations} {effect}");
        }
    }
}
