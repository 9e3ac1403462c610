//! Scales: how many pods a controller shall have, under one face for all kinds of controllers.

use proto::kind::{Kind, find};
use proto::selector::Selector;
use serde_json::{Value, json};

use super::Subresource;
use crate::fault::Fault;
use crate::field::FieldError;
use crate::handler::{self, Patch, Scope};
use crate::kind::check::NOT_NEGATIVE;
use crate::kind::fill;
use crate::object::{self, meta_value, set_meta};
use crate::present::Presenter;
use crate::registry::update::Part;
use crate::request::{Call, Response};
use crate::server::Server;

pub(super) const TABLE: &[Subresource] = &[
    row("", "replicationcontrollers"),
    row("apps", "deployments"),
    row("apps", "replicasets"),
    row("apps", "statefulsets"),
];

const fn row(group: &'static str, resource: &'static str) -> Subresource {
    Subresource { group, resource, name: "scale", handler: |server, call| Box::pin(scale(server, call)) }
}

/// What is read and written here, whatever the controller.
static SCALE: Kind = super::shape("autoscaling", "v1", "Scale", "k8s.io.api.autoscaling.v1.Scale");

async fn scale(server: &Server, call: Call) -> Result<Response, Fault> {
    let info = &call.info;
    let kind = find(&info.group, &info.version, &info.resource).ok_or_else(Fault::no_such_path)?;
    let resource = server.resources().of_kind(kind).ok_or_else(Fault::no_such_path)?;
    let options = match info.verb.as_str() {
        "update" => handler::options("UpdateOptions", &call)?,
        "patch" => handler::options("PatchOptions", &call)?,
        _ => Value::Null,
    };
    let scope = Scope::new(server, kind, resource, &call, &options)?;
    let changed = match info.verb.as_str() {
        "update" => {
            let mut wanted = handler::decode(&call, &SCALE)?;
            handler::same_namespace(&mut wanted, &scope.act)?;
            handler::same_name(&wanted, &scope.act)?;
            judge(&wanted)?;
            let make = |old: Option<&Value>| Ok(scaled(old.ok_or_else(|| scope.act.not_found())?, &wanted));
            Box::pin(scope.act.update(Part::Whole, &make)).await?.object
        }
        "patch" => {
            let patch = Patch::read(&call)?;
            let make = |old: Option<&Value>| {
                let old = old.ok_or_else(|| scope.act.not_found())?;
                let wanted = patch.apply(&SCALE, &scale_of(old))?;
                handler::same_name(&wanted, &scope.act)?;
                judge(&wanted)?;
                Ok(scaled(old, &wanted))
            };
            Box::pin(scope.act.update(Part::Whole, &make)).await?.object
        }
        _ => scope.act.current().await?.ok_or_else(|| scope.act.not_found())?.object,
    };
    let presenter = Presenter::of(handler::format(&call)?, &SCALE, &SCALE, info)?;
    presenter.answer(200, &object::encode(&SCALE, &scale_of(&changed))?)
}

/// The scale of a controller.
fn scale_of(controller: &Value) -> Value {
    let mut metadata = serde_json::Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = meta_value(controller, field) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    json!({
        "kind": SCALE.kind,
        "apiVersion": SCALE.api_version(),
        "metadata": metadata,
        "spec": {"replicas": fill::int(controller, "spec.replicas").unwrap_or(0)},
        "status": {
            "replicas": fill::int(controller, "status.replicas").unwrap_or(0),
            "selector": selector(controller),
        },
    })
}

/// The selector of a controller as text; replication controllers have plain labels for one.
fn selector(controller: &Value) -> String {
    let Some(found) = fill::find(controller, "spec.selector") else { return String::new() };
    let is_plain = fill::text(controller, "kind") == "ReplicationController";
    if is_plain {
        let labels = found.as_object().into_iter().flatten();
        let pairs = labels.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)));
        return Selector::from_labels(pairs).to_string();
    }
    Selector::from_json(found).map_or_else(|_| String::new(), |selector| selector.to_string())
}

fn judge(wanted: &Value) -> Result<(), Fault> {
    let replicas = fill::int(wanted, "spec.replicas").unwrap_or(0);
    if replicas >= 0 {
        return Ok(());
    }
    let error = FieldError::invalid("spec.replicas", replicas, NOT_NEGATIVE);
    Err(Fault::invalid(SCALE.group, SCALE.kind, object::meta(wanted, "name"), &[error]))
}

/// A controller with the scale wanted, and with what the scale says of the object it is meant for.
fn scaled(controller: &Value, wanted: &Value) -> Value {
    let mut new = controller.clone();
    fill::child(&mut new, "spec")["replicas"] = fill::int(wanted, "spec.replicas").unwrap_or(0).into();
    set_meta(&mut new, "resourceVersion", meta_value(wanted, "resourceVersion").cloned());
    if let Some(uid) = meta_value(wanted, "uid") {
        set_meta(&mut new, "uid", Some(uid.clone()));
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_and_their_controllers() {
        let set = json!({"kind": "ReplicaSet", "metadata": {"name": "a", "uid": "u", "resourceVersion": "7"},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"x": "y"},
                "matchExpressions": [{"key": "z", "operator": "In", "values": ["1", "2"]}]}},
            "status": {"replicas": 2}});
        let mut scale = scale_of(&set);
        assert_eq!(scale["metadata"], json!({"name": "a", "uid": "u", "resourceVersion": "7"}));
        assert_eq!(scale["spec"]["replicas"], 3);
        assert_eq!(scale["status"], json!({"replicas": 2, "selector": "x=y,z in (1,2)"}));
        scale["spec"]["replicas"] = 5.into();
        set_meta(&mut scale, "resourceVersion", None);
        let new = scaled(&set, &scale);
        assert_eq!((&new["spec"]["replicas"], object::meta(&new, "resourceVersion")), (&json!(5), ""));
        scale["spec"]["replicas"] = (-1).into();
        assert_eq!(judge(&scale).unwrap_err().code, 422);
        let controller = json!({"kind": "ReplicationController", "spec": {"selector": {"b": "c", "a": "b"}}});
        assert_eq!(selector(&controller), "a=b,b=c");
    }
}
