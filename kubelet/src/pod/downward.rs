//! The pod's own facts as text: `fieldRef` and `resourceFieldRef`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use client::k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use client::k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{name, namespace, spec};
use crate::quantity;

/// What a pod may learn of itself beyond its object.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub node: String,
    pub host_ips: Vec<IpAddr>,
    pub pod_ips: Vec<IpAddr>,
    /// What the node has to give; the limit of who names none.
    pub allocatable: BTreeMap<String, Quantity>,
}

fn listed(ips: &[IpAddr]) -> String {
    ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn first(ips: &[IpAddr]) -> String {
    ips.first().map(ToString::to_string).unwrap_or_default()
}

/// The value of a field of the pod.
///
/// # Errors
/// Where no such field is offered.
pub fn field(pod: &Pod, facts: &Facts, path: &str) -> Result<String, String> {
    let meta = &pod.metadata;
    if let Some((map, key)) = path.strip_suffix("']").and_then(|rest| rest.split_once("['")) {
        let map = match map {
            "metadata.labels" => meta.labels.as_ref(),
            "metadata.annotations" => meta.annotations.as_ref(),
            _ => return Err(format!("fieldPath \"{path}\" does not support subscript")),
        };
        return Ok(map.and_then(|map| map.get(key)).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => name(pod).to_owned(),
        "metadata.namespace" => namespace(pod).to_owned(),
        "metadata.uid" => meta.uid.clone().unwrap_or_default(),
        "metadata.labels" => lines(meta.labels.as_ref()),
        "metadata.annotations" => lines(meta.annotations.as_ref()),
        "spec.nodeName" => facts.node.clone(),
        "spec.serviceAccountName" => spec(pod).service_account_name.clone().unwrap_or_default(),
        "status.hostIP" => first(&facts.host_ips),
        "status.hostIPs" => listed(&facts.host_ips),
        "status.podIP" => first(&facts.pod_ips),
        "status.podIPs" => listed(&facts.pod_ips),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// A map as `key="value"` lines, in order.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let all: Vec<String> =
        map.into_iter().flatten().map(|(key, value)| format!("{key}={}", quoted(value))).collect();
    all.join("\n")
}

/// A text in double quotes as Go writes it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            letter if letter.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(letter))),
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

/// The value of a resource of a container.
///
/// # Errors
/// Where the container or the resource does not exist.
pub fn resource(
    pod: &Pod,
    own: Option<&Container>,
    facts: &Facts,
    selector: &ResourceFieldSelector,
) -> Result<String, String> {
    let spec = spec(pod);
    let named = selector.container_name.as_deref().filter(|name| !name.is_empty());
    let found = named.and_then(|name| super::member(&spec, name)).map(|member| member.container.into_owned());
    let container = match (named, found) {
        (Some(name), None) => return Err(format!("container {name} not found")),
        (_, Some(container)) => container,
        (None, None) => own.cloned().ok_or("a container name is required")?,
    };
    let Some((kind, resource)) = selector.resource.split_once('.') else {
        return Err(format!("unsupported container resource : {}", selector.resource));
    };
    let none = Quantity("0".to_owned());
    let quantity = match kind {
        "limits" => quantity::limit(&container, resource).or_else(|| facts.allocatable.get(resource)),
        "requests" => {
            quantity::request(&container, resource).or_else(|| quantity::limit(&container, resource))
        }
        _ => return Err(format!("unsupported container resource : {}", selector.resource)),
    };
    Ok(quantity::divided(quantity.unwrap_or(&none), selector.divisor.as_ref()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_and_resources() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "uid": "u", "labels": {"b": "2", "a": "1\"x"}},
            "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "250m", "memory": "64Mi"}}}]},
        }))
        .unwrap();
        let facts =
            Facts { node: "n".to_owned(), pod_ips: vec!["10.42.0.2".parse().unwrap()], ..Facts::default() };
        let fields = [
            ("metadata.name", "p"),
            ("metadata.labels", "a=\"1\\\"x\"\nb=\"2\""),
            ("metadata.labels['b']", "2"),
            ("spec.nodeName", "n"),
            ("status.podIP", "10.42.0.2"),
        ];
        for (path, expected) in fields {
            assert_eq!(field(&pod, &facts, path).unwrap(), expected);
        }
        assert!(field(&pod, &facts, "spec.nope").is_err());
        let resources = [
            ("limits.cpu", "", "1"),
            ("limits.cpu", "1m", "250"),
            ("limits.memory", "1Mi", "64"),
            ("requests.cpu", "1m", "250"),
        ];
        for (name, divisor, expected) in resources {
            let selector = ResourceFieldSelector {
                resource: name.to_owned(),
                divisor: (!divisor.is_empty()).then(|| Quantity(divisor.to_owned())),
                ..ResourceFieldSelector::default()
            };
            assert_eq!(resource(&pod, Some(&spec(&pod).containers[0]), &facts, &selector).unwrap(), expected);
        }
    }
}
