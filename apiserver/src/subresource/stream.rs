//! Exec, attach and port-forward: the kubelet of the pod's node speaks with the client through us.

use super::{Subresource, place};
use crate::authz;
use crate::backend::{Place, upgrade};
use crate::fault::Fault;
use crate::kind::fill;
use crate::request::{Call, RequestInfo, Response};
use crate::server::Server;
use serde_json::Value;

pub(super) const TABLE: &[Subresource] = &[row("exec"), row("attach"), row("portforward")];

const fn row(name: &'static str) -> Subresource {
    Subresource { group: "", resource: "pods", name, handler: |server, call| Box::pin(connect(server, call)) }
}

async fn connect(server: &Server, call: Call) -> Result<Response, Fault> {
    let info = &call.info;
    if info.verb != "create" {
        // Who may only read must not run commands, though WebSockets begin with a GET.
        let create = RequestInfo { verb: "create".to_owned(), ..info.clone() };
        authz::authorize(server, &call.user, &create).await?;
    }
    let pod = pod(server, info).await?;
    let (namespace, name) = (&info.namespace, &info.name);
    let path = if info.subresource == "portforward" {
        format!("/portForward/{namespace}/{name}{}", place::forward_query(info)?)
    } else {
        let container = place::container(&pod, info.param("container"))?;
        format!("/{}/{namespace}/{name}/{container}{}", info.subresource, place::stream_query(info))
    };
    let Some(place) = kubelet(server, &pod, true).await? else {
        return Err(Fault::bad_request(format!("pod {name} does not have a host assigned")));
    };
    upgrade::pass(server, call, &place, &path).await
}

/// The pod that a request is about.
pub(super) async fn pod(server: &Server, info: &RequestInfo) -> Result<Value, Fault> {
    let pod = server.read("", "pods", &info.namespace, &info.name).await?;
    pod.ok_or_else(|| Fault::not_found("", "pods", &info.name))
}

/// Where the kubelet of a pod's node listens; `None` where the pod has no node yet.
pub(super) async fn kubelet(server: &Server, pod: &Value, verified: bool) -> Result<Option<Place>, Fault> {
    match fill::text(pod, "spec.nodeName") {
        "" => Ok(None),
        node => kubelet_of(server, node, verified).await.map(Some),
    }
}

/// Where the kubelet of a node listens.
pub(super) async fn kubelet_of(server: &Server, node: &str, verified: bool) -> Result<Place, Fault> {
    let found = server.read("", "nodes", "", node).await?;
    let found = found.ok_or_else(|| Fault::not_found("", "nodes", node))?;
    place::kubelet(&found, &server.settings().kubelet_preferred_address_types, verified)
}
