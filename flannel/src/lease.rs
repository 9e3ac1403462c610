//! What Nodes say about the network: which addresses a node has for its pods, and where and how it is reached.
//!
//! The annotations are upstream flannel's, so that both can be in one cluster.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use client::k8s_openapi::api::core::v1::Node;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::config::Backend;
use crate::netlink::{Mac, mac_of, mac_text};

const BACKEND_DATA: &str = "flannel.alpha.coreos.com/backend-data";
const BACKEND_TYPE: &str = "flannel.alpha.coreos.com/backend-type";
const MANAGED: &str = "flannel.alpha.coreos.com/kube-subnet-manager";
const PUBLIC_IP: &str = "flannel.alpha.coreos.com/public-ip";
const PUBLIC_IP_OVERWRITE: &str = "flannel.alpha.coreos.com/public-ip-overwrite";

/// The condition by which a node without a network keeps pods away.
pub(crate) const NETWORK_UNAVAILABLE: &str = "NetworkUnavailable";

/// How a node is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The addresses of its pods.
    pub subnet: Ipv4Net,
    /// Where it is.
    pub public_ip: Ipv4Addr,
    pub backend: Backend,
    /// The hardware address of its end of the vxlan.
    pub vtep: Option<Mac>,
}

/// What this node's own object says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// The addresses of its pods.
    pub subnet: Ipv4Net,
    /// The address that the kubelet reports.
    pub internal_ip: Option<Ipv4Addr>,
    /// An address that somebody wrote down to be used in place of ours.
    pub overwritten_ip: Option<Ipv4Addr>,
    /// The hardware address that was announced before.
    pub vtep: Option<Mac>,
    /// What is announced now.
    pub announced: BTreeMap<String, String>,
    /// Whether the node still counts as without a network.
    pub unavailable: bool,
}

/// The node and all others that can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    pub own: Own,
    pub peers: Vec<Peer>,
}

#[derive(Debug, Serialize, Deserialize)]
struct VxlanData {
    #[serde(rename = "VNI")]
    vni: u32,
    #[serde(rename = "VtepMAC")]
    mac: String,
}

impl View {
    /// What the nodes say, seen from the one called `name`; nothing while that one has no addresses for pods.
    pub fn of<'a>(nodes: impl Iterator<Item = &'a Node>, name: &str) -> Option<Self> {
        let (mut own, mut peers) = (None, Vec::new());
        for node in nodes {
            if node.metadata.name.as_deref() == Some(name) {
                own = Own::of(node);
            } else {
                peers.extend(Peer::of(node));
            }
        }
        Some(Self { own: own?, peers })
    }
}

fn annotation<'a>(node: &'a Node, name: &str) -> Option<&'a str> {
    node.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// The IPv4 range of a node's pods.
fn subnet(node: &Node) -> Option<Ipv4Net> {
    let spec = node.spec.as_ref()?;
    let all = spec.pod_cidrs.iter().flatten().chain(spec.pod_cidr.iter());
    all.filter_map(|text| text.parse::<Ipv4Net>().ok()).map(|net| net.trunc()).next()
}

fn vtep(node: &Node) -> Option<Mac> {
    let data: VxlanData = serde_json::from_str(annotation(node, BACKEND_DATA)?).ok()?;
    mac_of(&data.mac)
}

impl Peer {
    fn of(node: &Node) -> Option<Self> {
        if annotation(node, MANAGED) != Some("true") {
            return None;
        }
        let backend = match annotation(node, BACKEND_TYPE)? {
            "vxlan" => Backend::Vxlan,
            "host-gw" => Backend::HostGateway,
            _ => return None,
        };
        let public_ip = annotation(node, PUBLIC_IP)?.parse().ok()?;
        Some(Self { subnet: subnet(node)?, public_ip, backend, vtep: vtep(node) })
    }
}

impl Own {
    fn of(node: &Node) -> Option<Self> {
        let names = [BACKEND_DATA, BACKEND_TYPE, MANAGED, PUBLIC_IP];
        let announced =
            names.iter().filter_map(|name| Some(((*name).to_owned(), annotation(node, name)?.to_owned())));
        let status = node.status.as_ref();
        let addresses = status.and_then(|status| status.addresses.as_ref());
        let internal = addresses.into_iter().flatten().filter(|address| address.type_ == "InternalIP");
        let conditions = status.and_then(|status| status.conditions.as_ref());
        let network =
            conditions.into_iter().flatten().find(|condition| condition.type_ == NETWORK_UNAVAILABLE);
        Some(Self {
            subnet: subnet(node)?,
            internal_ip: internal.filter_map(|address| address.address.parse().ok()).next(),
            overwritten_ip: annotation(node, PUBLIC_IP_OVERWRITE).and_then(|text| text.parse().ok()),
            vtep: vtep(node),
            announced: announced.collect(),
            unavailable: network.is_none_or(|condition| condition.status != "False"),
        })
    }
}

/// The annotations that tell the others how to reach this node.
pub fn announcement(
    backend: Backend,
    public_ip: Ipv4Addr,
    vxlan: Option<(u32, Mac)>,
) -> BTreeMap<String, String> {
    let data = vxlan.map(|(vni, mac)| VxlanData { vni, mac: mac_text(mac) });
    // Upstream writes null for backends that need no data.
    let data = serde_json::to_string(&data).unwrap_or_else(|_| "null".to_owned());
    BTreeMap::from([
        (BACKEND_DATA.to_owned(), data),
        (BACKEND_TYPE.to_owned(), backend.name().to_owned()),
        (MANAGED.to_owned(), "true".to_owned()),
        (PUBLIC_IP.to_owned(), public_ip.to_string()),
    ])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, cidr: &str, annotations: serde_json::Value) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": name, "annotations": annotations},
            "spec": {"podCIDR": cidr, "podCIDRs": [cidr]},
            "status": {
                "addresses": [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": "192.168.9.1"}],
                "conditions": [{"type": "NetworkUnavailable", "status": "False"}],
            },
        }))
        .unwrap()
    }

    const MAC: Mac = [0x0a, 0, 0, 0, 0, 0x0b];

    #[test]
    fn what_is_announced_is_understood() {
        let announced = announcement(Backend::Vxlan, Ipv4Addr::new(192, 168, 9, 2), Some((1, MAC)));
        assert_eq!(announced[BACKEND_DATA], r#"{"VNI":1,"VtepMAC":"0a:00:00:00:00:0b"}"#);
        let nodes = [
            node("here", "10.42.0.0/24", json!(announced)),
            node("there", "10.42.1.0/24", json!(announced)),
            node("new", "10.42.2.0/24", json!({})),
            node(
                "other",
                "10.42.3.0/24",
                json!({MANAGED: "true", BACKEND_TYPE: "udp", PUBLIC_IP: "1.1.1.1"}),
            ),
        ];
        let view = View::of(nodes.iter(), "here").unwrap();
        assert_eq!(view.own.announced, announced);
        assert_eq!((view.own.vtep, view.own.unavailable), (Some(MAC), false));
        assert_eq!(view.own.internal_ip, Some(Ipv4Addr::new(192, 168, 9, 1)));
        let there = Peer {
            subnet: "10.42.1.0/24".parse().unwrap(),
            public_ip: Ipv4Addr::new(192, 168, 9, 2),
            backend: Backend::Vxlan,
            vtep: Some(MAC),
        };
        assert_eq!(view.peers, [there]);
    }

    #[test]
    fn host_gateways_need_no_data() {
        let announced = announcement(Backend::HostGateway, Ipv4Addr::LOCALHOST, None);
        assert_eq!((announced[BACKEND_DATA].as_str(), announced[BACKEND_TYPE].as_str()), ("null", "host-gw"));
    }

    #[test]
    fn without_addresses_for_pods_there_is_nothing_to_do() {
        assert_eq!(View::of([node("here", "", json!({}))].iter(), "here"), None);
        assert_eq!(View::of([].iter(), "here"), None);
    }
}
