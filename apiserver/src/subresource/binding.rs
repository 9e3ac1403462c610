//! Binding: a pod gets its node, once.

use serde_json::{Value, json};

use super::Subresource;
use crate::body;
use crate::fault::Fault;
use crate::kind::fill;
use crate::request::{Call, Response};
use crate::server::Server;

pub(super) const TABLE: &[Subresource] = &[Subresource {
    group: "",
    resource: "pods",
    name: "binding",
    handler: |server, call| Box::pin(bind(server, call)),
}];

async fn bind(server: &Server, call: Call) -> Result<Response, Fault> {
    let binding = crate::handler::decode(
        &call,
        proto::kind::find_kind("", "v1", "Binding").ok_or_else(Fault::no_such_path)?,
    )?;
    let name = call.info.name.clone();
    let target = fill::text(&binding, "target.name").to_owned();
    if target.is_empty() {
        let error = crate::field::FieldError::required("target.name", "");
        return Err(Fault::invalid("", "Binding", &name, &[error]));
    }
    let uid = fill::text(&binding, "metadata.uid").to_owned();
    let change = |pod: &mut Value| assign(pod, &binding, &name, &uid, &target);
    if call.info.param("dryRun").is_none() {
        server.update("", "pods", &call.info.namespace, &name, &change).await?;
    }
    let status =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(body::response(201, "application/json", status.to_string()))
}

/// Puts the node into the pod, with what the scheduler says of it.
fn assign(pod: &mut Value, binding: &Value, name: &str, uid: &str, node: &str) -> Result<(), Fault> {
    let conflict = |why: String| Fault::conflict("", "pods/binding", name, &why);
    let own = fill::text(pod, "metadata.uid");
    if !uid.is_empty() && uid != own {
        return Err(conflict(format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {own}"
        )));
    }
    if fill::find(pod, "metadata.deletionTimestamp").is_some() {
        return Err(conflict(format!("pod {name} is being deleted, cannot be assigned to a host")));
    }
    let host = fill::text(pod, "spec.nodeName");
    if !host.is_empty() {
        return Err(conflict(format!("pod {name} is already assigned to node {host:?}")));
    }
    if !fill::list(pod, "spec.schedulingGates").is_empty() {
        return Err(conflict(format!("pod {name} has non-empty .spec.schedulingGates")));
    }
    pod["spec"]["nodeName"] = node.into();
    for field in ["annotations", "labels"] {
        for (key, value) in binding["metadata"].get(field).and_then(Value::as_object).into_iter().flatten() {
            fill::child(fill::child(pod, "metadata"), field)[key] = value.clone();
        }
    }
    let status = fill::child(pod, "status");
    let mut conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    conditions.retain(|condition| condition["type"] != "PodScheduled");
    let now = crate::object::time(crate::object::now());
    conditions.push(json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": now}));
    status["conditions"] = conditions.into();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_bound_once() {
        let mut pod = json!({"metadata": {"name": "a", "uid": "u"}, "spec": {}});
        assert!(assign(&mut pod, &json!({}), "a", "other", "n").is_err());
        assert!(assign(&mut pod, &json!({}), "a", "u", "n").is_ok());
        assert_eq!(pod["spec"]["nodeName"], "n");
        assert_eq!(pod["status"]["conditions"][0]["type"], "PodScheduled");
        assert!(assign(&mut pod, &json!({}), "a", "", "m").is_err());
    }
}
