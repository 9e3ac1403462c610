//! What a runtime class does to the pods that name it: its overhead, and the nodes it is on.

use serde_json::{Map, Value};

use super::{Attributes, Operation, Plugin};
use crate::fault::Fault;
use crate::kind::fill;
use crate::server::Server;

/// Gives pods the overhead and the nodes of their runtime class.
#[derive(Debug)]
pub(super) struct RuntimeClass;

#[async_trait::async_trait]
impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.is_for("", "pods") && attributes.operation == Operation::Create
    }

    async fn admit(
        &self,
        attributes: &Attributes<'_>,
        pod: &mut Value,
        server: &Server,
    ) -> Result<(), Fault> {
        let name = fill::text(pod, "spec.runtimeClassName").to_owned();
        let class = if name.is_empty() {
            None
        } else {
            let found = server.read("node.k8s.io", "runtimeclasses", "", &name).await?;
            let missing =
                || attributes.refused(pod, &format!("pod rejected: RuntimeClass {name:?} not found"));
            Some(found.ok_or_else(missing)?)
        };
        let result = apply(fill::child(pod, "spec"), class.as_ref());
        result.map_err(|why| attributes.refused(pod, &why))
    }
}

const MISMATCH: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
const UNEXPECTED: &str = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";

/// Puts into a pod's spec what its class says.
fn apply(spec: &mut Value, class: Option<&Value>) -> Result<(), String> {
    let own = fill::find(spec, "overhead").filter(|own| own.as_object().is_none_or(|own| !own.is_empty()));
    match (own, class.and_then(|class| fill::find(class, "overhead.podFixed"))) {
        (Some(own), Some(fixed)) if own != fixed => return Err(MISMATCH.to_owned()),
        (Some(_), None) => return Err(UNEXPECTED.to_owned()),
        (_, Some(fixed)) => spec["overhead"] = fixed.clone(),
        (None, None) => {}
    }
    let Some(scheduling) = class.and_then(|class| fill::find(class, "scheduling")) else { return Ok(()) };
    let empty = Map::new();
    let selector = fill::find(scheduling, "nodeSelector").and_then(Value::as_object).unwrap_or(&empty);
    for (key, value) in selector {
        let slot = &mut fill::child(spec, "nodeSelector")[key];
        if !slot.is_null() && slot != value {
            let shown = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                shown(value),
                shown(slot)
            ));
        }
        *slot = value.clone();
    }
    let wanted = fill::list(scheduling, "tolerations");
    let more: Vec<Value> =
        wanted.iter().filter(|one| !fill::list(spec, "tolerations").contains(one)).cloned().collect();
    if !more.is_empty() {
        let all = [fill::list(spec, "tolerations"), &more].concat();
        spec["tolerations"] = all.into();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn classes_and_their_pods() {
        let class = json!({"overhead": {"podFixed": {"cpu": "1"}},
            "scheduling": {"nodeSelector": {"rt": "x"}, "tolerations": [{"key": "rt", "operator": "Exists"}]}});
        let given = json!({"overhead": {"cpu": "1"}, "nodeSelector": {"rt": "x"},
            "tolerations": [{"key": "rt", "operator": "Exists"}]});
        let cases = [
            (json!({}), Some(&class), Ok(given.clone())),
            (given.clone(), Some(&class), Ok(given)),
            (json!({}), None, Ok(json!({}))),
            (json!({"overhead": {"cpu": "2"}}), Some(&class), Err(MISMATCH.to_owned())),
            (json!({"overhead": {"cpu": "2"}}), None, Err(UNEXPECTED.to_owned())),
            (
                json!({"nodeSelector": {"rt": "y"}}),
                Some(&class),
                Err("conflict: runtimeClass.scheduling.nodeSelector[rt] = x; pod.spec.nodeSelector[rt] = y"
                    .to_owned()),
            ),
        ];
        for (mut spec, class, expected) in cases {
            let shown = spec.to_string();
            assert_eq!(apply(&mut spec, class).map(|()| spec), expected, "{shown}");
        }
    }
}
