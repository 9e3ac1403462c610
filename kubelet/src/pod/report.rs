//! Writes pods' status to the API server, and ends pods there that have ended here.

use std::collections::HashMap;
use std::sync::Arc;

use client::k8s_openapi::api::core::v1::{Pod, PodStatus};
use client::kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use client::kube::{Api, Client};
use client::{Cache, Next, Queue};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::status::owned_conditions;
use super::{HASH, MIRROR, annotation, is_static, name, namespace};

/// Status writes in flight: a slow answer must not hold up the others, nor may we flood a small server.
pub const WRITERS: usize = 8;

/// What is to be said of a pod.
#[derive(Debug, Clone)]
struct Report {
    pod: Arc<Pod>,
    status: PodStatus,
    /// The pod has ended here and shall end there.
    ended: bool,
    /// What the API server is known to have.
    known: Option<PodStatus>,
}

/// The latest report of each pod, and the queue of those to write.
#[derive(Debug, Default)]
pub struct Reports {
    reports: Mutex<HashMap<Arc<str>, Report>>,
    queue: Queue<Arc<str>>,
}

impl Reports {
    /// Notes what is to be said of a pod; an older note that was not yet written is replaced.
    pub fn put(&self, uid: &Arc<str>, pod: &Arc<Pod>, status: &PodStatus) {
        let mut reports = self.reports.lock();
        let old = reports.remove(uid);
        let ended = old.as_ref().is_some_and(|report| report.ended);
        let known = old.and_then(|report| report.known);
        let report = Report { pod: Arc::clone(pod), status: status.clone(), ended, known };
        reports.insert(Arc::clone(uid), report);
        drop(reports);
        self.queue.add(Arc::clone(uid));
    }

    /// Notes that a pod has ended here, whatever was last said of it.
    pub fn end(&self, uid: &Arc<str>, pod: &Arc<Pod>) {
        if let Some(report) = self.reports.lock().get_mut(uid) {
            report.pod = Arc::clone(pod);
            report.ended = true;
        }
        self.queue.add(Arc::clone(uid));
    }

    /// What was last said of a pod.
    pub fn status(&self, uid: &str) -> Option<PodStatus> {
        self.reports.lock().get(uid).map(|report| report.status.clone())
    }

    pub fn forget(&self, uid: &str) {
        self.reports.lock().remove(uid);
    }

    pub fn queue(&self) -> Queue<Arc<str>> {
        self.queue.clone()
    }

    /// Writes the report of one pod.
    ///
    /// # Errors
    /// Where the API server does not take it; it comes again later.
    pub async fn write(&self, client: &Client, pods: &Cache<Pod>, uid: &Arc<str>) -> anyhow::Result<Next> {
        let Some(report) = self.reports.lock().get(uid).cloned() else { return Ok(Next::Wait) };
        let Some(target) = target(&report.pod, pods) else { return Ok(Next::Wait) };
        let api: Api<Pod> = Api::namespaced(client.clone(), namespace(&target));
        let target_uid = target.metadata.uid.clone().unwrap_or_default();
        let known = report.known.or_else(|| target.status.clone()).unwrap_or_default();
        if let Some(status) = difference(&known, &report.status)? {
            let patch = json!({"metadata": {"uid": target_uid}, "status": status});
            let patched =
                api.patch_status(name(&target), &PatchParams::default(), &Patch::Strategic(patch)).await;
            let Some(patched) = client::object::found(patched)? else { return Ok(Next::Wait) };
            if let Some(current) = self.reports.lock().get_mut(uid) {
                current.known = patched.status;
            }
        }
        if report.ended && target.metadata.deletion_timestamp.is_some() {
            let preconditions = Preconditions { uid: Some(target_uid), resource_version: None };
            let at_once = DeleteParams {
                grace_period_seconds: Some(0),
                preconditions: Some(preconditions),
                ..DeleteParams::default()
            };
            let deleted = api.delete(name(&target), &at_once).await;
            client::object::found(deleted)?;
        }
        Ok(Next::Wait)
    }
}

/// The API's object for a pod: itself, or the picture of a static one.
fn target(pod: &Arc<Pod>, pods: &Cache<Pod>) -> Option<Arc<Pod>> {
    let found = pods.get(&client::Key::of(&**pod))?;
    let same = if is_static(pod) {
        annotation(&found, MIRROR) == annotation(pod, HASH)
    } else {
        found.metadata.uid == pod.metadata.uid
    };
    same.then_some(found)
}

/// What of a status must be written, as a strategic merge patch; none where nothing has changed. Only what the
/// kubelet owns is touched, so that others may write their parts at the same time.
fn difference(known: &PodStatus, wanted: &PodStatus) -> anyhow::Result<Option<Value>> {
    let (Value::Object(known), Value::Object(mut wanted)) =
        (serde_json::to_value(known)?, serde_json::to_value(wanted)?)
    else {
        anyhow::bail!("a pod status is not an object");
    };
    const FOREIGN: [&str; 3] = ["nominatedNodeName", "resourceClaimStatuses", "extendedResourceClaimStatus"];
    let mut patch = Map::new();
    let old: Vec<Value> = known.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    if let Some(Value::Array(conditions)) = wanted.remove("conditions") {
        let changed: Vec<Value> = conditions
            .into_iter()
            .filter(|condition| {
                condition["type"].as_str().is_some_and(owned_conditions) && !old.contains(condition)
            })
            .map(|condition| with_nulls(condition, &old))
            .collect();
        if !changed.is_empty() {
            patch.insert("conditions".to_owned(), Value::Array(changed));
        }
    }
    for key in known.keys().filter(|key| *key != "conditions" && !FOREIGN.contains(&key.as_str())) {
        if !wanted.contains_key(key) {
            patch.insert(key.clone(), Value::Null);
        }
    }
    for (key, value) in wanted {
        if known.get(&key) != Some(&value) && !FOREIGN.contains(&key.as_str()) {
            patch.insert(key.clone(), replacing(&key, value, &known));
        }
    }
    Ok((!patch.is_empty()).then_some(Value::Object(patch)))
}

/// Lists that a strategic merge would merge element by element are replaced whole.
fn replacing(key: &str, value: Value, known: &Map<String, Value>) -> Value {
    match value {
        Value::Array(mut list) if matches!(key, "podIPs" | "hostIPs") && known.contains_key(key) => {
            list.push(json!({"$patch": "replace"}));
            Value::Array(list)
        }
        value => value,
    }
}

/// A condition in which what is no longer said is taken back.
fn with_nulls(mut condition: Value, old: &[Value]) -> Value {
    let before = old.iter().find(|before| before["type"] == condition["type"]);
    for key in before.and_then(Value::as_object).into_iter().flat_map(Map::keys) {
        if condition.get(key).is_none() {
            condition[key] = Value::Null;
        }
    }
    condition
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_and_is_ours() {
        let status = |value: Value| -> PodStatus { serde_json::from_value(value).unwrap() };
        let known = json!({
            "phase": "Pending", "reason": "Old", "podIPs": [{"ip": "1.1.1.1"}],
            "conditions": [
                {"type": "Ready", "status": "False", "reason": "ContainersNotReady"},
                {"type": "Foreign", "status": "True"},
            ],
        });
        let cases = [
            (known.clone(), None),
            (
                json!({"phase": "Running", "podIPs": [{"ip": "1.1.1.2"}], "conditions": [{"type": "Ready", "status": "True"}]}),
                Some(json!({
                    "phase": "Running", "reason": null,
                    "podIPs": [{"ip": "1.1.1.2"}, {"$patch": "replace"}],
                    "conditions": [{"type": "Ready", "status": "True", "reason": null}],
                })),
            ),
        ];
        for (wanted, expected) in cases {
            assert_eq!(difference(&status(known.clone()), &status(wanted)).unwrap(), expected);
        }
    }
}
