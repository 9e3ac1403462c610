//! Where Ingresses are reached, by the nodes there are, and whose turn it is to say so.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::{Ingress, Node};

/// Who sets this label on a node does not want traffic from outside through it.
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// The addresses of all nodes that are ready, sorted: of each the external ones, or else the internal ones. Where no
/// nodes are registered at all, that of our own.
pub fn addresses(nodes: &[Arc<Node>], own: Option<IpAddr>) -> Vec<IpAddr> {
    if nodes.is_empty() {
        return own.into_iter().collect();
    }
    let mut all = BTreeSet::new();
    for node in nodes.iter().filter(|node| serves(node)) {
        let of = |kind: &str| -> Vec<IpAddr> {
            let addresses = node.status.addresses.iter().filter(|address| address.type_ == kind);
            addresses.filter_map(|address| address.address.parse().ok()).collect()
        };
        let external = of("ExternalIP");
        all.extend(if external.is_empty() { of("InternalIP") } else { external });
    }
    all.into_iter().collect()
}

fn serves(node: &Node) -> bool {
    let is_ready = node.status.conditions.iter().any(|it| it.type_ == "Ready" && it.status == "True");
    is_ready && !node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(EXCLUDED))
}

/// How many others are to write before the daemon on this node.
pub fn turn(nodes: &[Arc<Node>], own: &str) -> u32 {
    let ready = nodes.iter().filter(|node| serves(node));
    let before = ready.filter(|node| node.metadata.name.as_deref().unwrap_or_default() < own);
    u32::try_from(before.count()).unwrap_or(u32::MAX)
}

/// Where an Ingress says that it is reached.
pub fn told(ingress: &Ingress) -> Vec<String> {
    let balancer = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let entries = balancer.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
    entries.map(|entry| entry.ip.clone().or_else(|| entry.hostname.clone()).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(name: &str, ready: &str, labels: Value, addresses: &[(&str, &str)]) -> Arc<Node> {
        let addresses: Vec<Value> =
            addresses.iter().map(|(kind, address)| json!({"type": kind, "address": address})).collect();
        let value = json!({"metadata": {"name": name, "labels": labels},
            "status": {"addresses": addresses, "conditions": [{"type": "Ready", "status": ready}]}});
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn all_daemons_say_the_same_and_one_says_it_first() {
        let nodes = [
            node("b", "True", json!({}), &[("InternalIP", "10.0.0.10"), ("Hostname", "b")]),
            node("c", "True", json!({}), &[("InternalIP", "10.0.0.9"), ("ExternalIP", "192.0.2.1")]),
            node("a", "False", json!({}), &[("InternalIP", "10.0.0.8")]),
            node("d", "True", json!({EXCLUDED: ""}), &[("InternalIP", "10.0.0.7")]),
            node("e", "True", json!({}), &[("InternalIP", "10.0.0.9")]),
        ];
        let texts = |nodes: &[Arc<Node>], own: Option<&str>| -> Vec<String> {
            let own = own.map(|own| own.parse().unwrap());
            addresses(nodes, own).iter().map(ToString::to_string).collect()
        };
        assert_eq!(texts(&nodes, Some("10.9.9.9")), ["10.0.0.9", "10.0.0.10", "192.0.2.1"]);
        assert_eq!(texts(&nodes[2..3], Some("10.9.9.9")), [""; 0]);
        assert_eq!(texts(&[], Some("10.9.9.9")), ["10.9.9.9"]);
        assert_eq!(texts(&[], None), [""; 0]);
        let turns = ["a", "b", "c", "d", "e"].map(|name| turn(&nodes, name));
        assert_eq!(turns, [0, 0, 1, 2, 2]);
    }
}
