//! What a fresh server makes besides roles: the way to itself as a Service, address ranges, priorities. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde_json::{Value, json};

/// The name of the Service that leads to the API, and of all that belongs to it.
const API: &str = "kubernetes";

/// Priority classes: name, value, what they are for.
const PRIORITY_CLASSES: &[(&str, i64, &str)] = &[
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
];

/// The first address of a range that a Service can have.
fn first_address(range: &IpNet) -> IpAddr {
    match range.network() {
        IpAddr::V4(v4) => Ipv4Addr::from(u32::from(v4).wrapping_add(1)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6).wrapping_add(1)).into(),
    }
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// The Service by which pods reach the API.
pub(super) fn service(range: &IpNet, port: u16) -> Value {
    let address = first_address(range);
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": API,
            "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "clusterIP": address.to_string(),
            "clusterIPs": [address.to_string()],
            "internalTrafficPolicy": "Cluster",
            "ipFamilies": [family(address)],
            "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
            "sessionAffinity": "None",
            "type": "ClusterIP",
        },
    })
}

/// Where that Service leads.
pub(super) fn endpoints(address: IpAddr, port: u16) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": API,
            "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{
            "addresses": [{"ip": address.to_string()}],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        }],
    })
}

/// The same as a slice.
pub(super) fn endpoint_slice(address: IpAddr, port: u16) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": API,
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": API},
        },
        "addressType": family(address),
        "endpoints": [{"addresses": [address.to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    })
}

/// The ranges that Services get addresses from. They are ready at once: this server gives them out.
pub(super) fn service_cidr(ranges: &[IpNet], now: &str) -> Value {
    let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": API},
        "spec": {"cidrs": ranges},
        "status": {"conditions": [{
            "lastTransitionTime": now,
            "message": "Kubernetes default Service CIDR is ready",
            "reason": "",
            "status": "True",
            "type": "Ready",
        }]},
    })
}

/// The priorities of pods that a cluster cannot do without.
pub(super) fn priority_classes() -> impl Iterator<Item = Value> {
    PRIORITY_CLASSES.iter().map(|(name, value, description)| {
        json!({
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": value,
            "description": description,
            "preemptionPolicy": "PreemptLowerPriority",
        })
    })
}

/// What servers that extend the API must know to tell who asks them: names of fields and what they hold.
pub(super) fn authentication(data: &[(&str, String)]) -> Value {
    let data: serde_json::Map<String, Value> =
        data.iter().map(|(key, text)| ((*key).to_owned(), text.as_str().into())).collect();
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": data,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_addresses() {
        for (range, expected) in [("10.43.0.0/16", "10.43.0.1"), ("fd00:43::/112", "fd00:43::1")] {
            assert_eq!(first_address(&range.parse().unwrap()).to_string(), expected);
        }
    }
}
