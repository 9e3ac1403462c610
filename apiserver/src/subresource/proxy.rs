//! Proxying to pods, services and nodes: a request's path below `proxy` is asked of them.

use std::net::IpAddr;

use http::{Method, header};
use rand::Rng;
use serde_json::Value;

use super::{Subresource, stream};
use crate::backend::{Place, plain, upgrade};
use crate::body;
use crate::fault::Fault;
use crate::request::{Call, Response};
use crate::server::Server;

mod answer;

use answer::{Asked, is_global, place_of_pod, rest, service_port, slots};

pub(super) const TABLE: &[Subresource] = &[row("nodes"), row("pods"), row("services")];

const fn row(resource: &'static str) -> Subresource {
    Subresource { group: "", resource, name: "proxy", handler: |server, call| Box::pin(proxy(server, call)) }
}

async fn proxy(server: &Server, call: Call) -> Result<Response, Fault> {
    let asked = Asked::read(&call.info.name, &call.info.resource)?;
    let place = match call.info.resource.as_str() {
        "pods" => pod(server, &call, &asked).await?,
        "services" => service(server, &call, &asked).await?,
        _ => node(server, &asked).await?,
    };
    let rest = rest(call.parts.uri.path(), !call.info.namespace.is_empty()).to_owned();
    let query = call.parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let is_upgrade = upgrade::is_upgrade(&call.parts.headers);
    if rest.is_empty() && !is_upgrade && matches!(call.parts.method, Method::GET | Method::HEAD) {
        // Relative links of the page would lead astray without the slash.
        let to = format!("{}/{query}", call.parts.uri.path());
        let mut response = body::response(301, "text/plain", "");
        response.headers_mut().insert(header::LOCATION, to.parse().map_err(Fault::internal)?);
        return Ok(response);
    }
    let path = format!("{}{query}", if rest.is_empty() { "/" } else { &rest });
    if is_upgrade {
        return upgrade::pass(server, call, &place, &path).await;
    }
    let outer = call.parts.uri.path();
    let prefix = outer.strip_suffix(rest.as_str()).unwrap_or(outer).to_owned();
    plain::pass(server, call, &place, &path, &prefix).await
}

async fn pod(server: &Server, call: &Call, asked: &Asked<'_>) -> Result<Place, Fault> {
    let pod = server.read("", "pods", &call.info.namespace, asked.name).await?;
    let pod = pod.ok_or_else(|| Fault::not_found("", "pods", asked.name))?;
    place_of_pod(&pod, asked)
}

/// A pod behind the service, any of them.
async fn service(server: &Server, call: &Call, asked: &Asked<'_>) -> Result<Place, Fault> {
    let (namespace, name) = (call.info.namespace.as_str(), asked.name);
    let missing = || Fault::not_found("", "services", name);
    let service = server.read("", "services", namespace, name).await?.ok_or_else(&missing)?;
    let port = service_port(&service, asked)?;
    server.fresh().await?;
    let slices: Vec<Value> = server
        .list("discovery.k8s.io", "endpointslices", namespace)
        .iter()
        .filter(|entry| entry.label("kubernetes.io/service-name") == Some(name))
        .map(|entry| entry.value())
        .collect();
    if slices.is_empty() {
        return Err(missing());
    }
    let slots = slots(&slices, port);
    if slots.is_empty() {
        let asked = &call.info.name;
        return Err(Fault::unavailable(format!("no endpoints available for service {asked:?}")));
    }
    let (host, port) = slots[rand::rng().random_range(0..slots.len())].clone();
    Ok(Place { security: asked.security, host, port })
}

async fn node(server: &Server, asked: &Asked<'_>) -> Result<Place, Fault> {
    let kubelet = stream::kubelet_of(server, asked.name, true).await?;
    let forbidden = || Fault::bad_request("address not allowed");
    match kubelet.host.parse::<IpAddr>() {
        Ok(address) if !is_global(address) => return Err(forbidden()),
        Ok(_) => {}
        Err(_) => {
            let found = tokio::net::lookup_host((kubelet.host.as_str(), kubelet.port)).await;
            let mut found = found.map_err(|error| Fault::bad_request(error.to_string()))?;
            if !found.all(|address| is_global(address.ip())) {
                return Err(forbidden());
            }
        }
    }
    match asked.port {
        "" => Ok(kubelet),
        port if *port == kubelet.port.to_string() => Ok(kubelet),
        port => Ok(Place { security: asked.security, port: answer::number(port)?, ..kubelet }),
    }
}
