//! Services and EndpointSlices boiled down to what the rules depend on.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use client::Key;
use client::k8s_openapi::api::core::v1::{self as core, ServicePort, ServiceSpec};
use client::k8s_openapi::api::discovery::v1::EndpointSlice;
use ipnet::Ipv4Net;

/// The label by which a slice names its Service.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Who sets this label proxies the Service by other means.
pub(crate) const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";

/// The label of Services without a cluster address, and of their slices.
pub(crate) const HEADLESS: &str = "service.kubernetes.io/headless";

/// The older place of `spec.loadBalancerSourceRanges`.
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

/// How long a client sticks to an endpoint unless the Service says otherwise, in seconds: the API's default.
const AFFINITY_SECONDS: u64 = 10_800;

/// What the transport is called in rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

/// One Service with a cluster address, and the endpoints of each of its ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    pub key: Key,
    pub cluster_ip: Ipv4Addr,
    /// `spec.externalIPs`.
    pub external_ips: BTreeSet<Ipv4Addr>,
    /// Addresses that a load balancer hands on without translating.
    pub balancer_ips: BTreeSet<Ipv4Addr>,
    /// Who may use the balancer's addresses; empty means everybody.
    pub source_ranges: BTreeSet<Ipv4Net>,
    /// For how many seconds a client sticks to an endpoint.
    pub affinity: Option<u64>,
    pub internal_local: bool,
    pub external_local: bool,
    /// Where a load balancer asks whether this node has endpoints.
    pub health_port: Option<u16>,
    pub ports: Vec<Port>,
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub protocol: Protocol,
    pub port: u16,
    pub node_port: Option<u16>,
    pub endpoints: BTreeSet<Endpoint>,
}

/// One place that a Service's port leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    pub address: Ipv4Addr,
    pub port: u16,
    /// Whether it is on this node.
    pub local: bool,
    pub ready: bool,
    pub serving: bool,
    pub terminating: bool,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

impl Protocol {
    fn parse(text: Option<&str>) -> Option<Self> {
        match text {
            None | Some("" | "TCP") => Some(Self::Tcp),
            Some("UDP") => Some(Self::Udp),
            Some("SCTP") => Some(Self::Sctp),
            Some(_) => None,
        }
    }
}

impl Service {
    /// What this node, called `node`, must know of a Service; nothing where it has no address to proxy.
    pub fn of(service: &core::Service, slices: &[Arc<EndpointSlice>], node: &str) -> Option<Self> {
        let spec = service.spec.as_ref()?;
        let labels = service.metadata.labels.as_ref();
        if spec.type_.as_deref() == Some("ExternalName")
            || labels.is_some_and(|all| all.contains_key(PROXY_NAME))
        {
            return None;
        }
        let local = |policy: &Option<String>| policy.as_deref() == Some("Local");
        let balanced = spec.type_.as_deref() == Some("LoadBalancer");
        let external_local = local(&spec.external_traffic_policy);
        Some(Self {
            key: Key::of(service),
            cluster_ip: cluster_ip(spec)?,
            external_ips: addresses(spec.external_ips.iter().flatten()),
            balancer_ips: if balanced { balancer_ips(service) } else { BTreeSet::new() },
            source_ranges: if balanced { source_ranges(service, spec) } else { BTreeSet::new() },
            affinity: affinity(spec),
            internal_local: local(&spec.internal_traffic_policy),
            external_local,
            health_port: spec.health_check_node_port.filter(|_| balanced && external_local).and_then(port),
            ports: spec.ports.iter().flatten().filter_map(|port| Port::of(port, slices, node)).collect(),
        })
    }

    /// Whether anybody outside the cluster has an address for this port.
    pub fn is_external(&self, port: &Port) -> bool {
        port.node_port.is_some() || !self.external_ips.is_empty() || !self.balancer_ips.is_empty()
    }
}

impl Port {
    fn of(spec: &ServicePort, slices: &[Arc<EndpointSlice>], node: &str) -> Option<Self> {
        let protocol = Protocol::parse(spec.protocol.as_deref())?;
        let name = spec.name.as_deref().unwrap_or_default();
        let mut endpoints = BTreeSet::new();
        for slice in slices.iter().filter(|slice| slice.address_type == "IPv4") {
            let numbers = slice.ports.iter().flatten().filter(|port| {
                port.name.as_deref().unwrap_or_default() == name
                    && Protocol::parse(port.protocol.as_deref()) == Some(protocol)
            });
            for number in numbers.filter_map(|offered| offered.port.and_then(port)) {
                endpoints.extend(slice.endpoints.iter().flatten().filter_map(|endpoint| {
                    let conditions = endpoint.conditions.as_ref();
                    Some(Endpoint {
                        address: endpoint.addresses.first()?.parse().ok()?,
                        port: number,
                        local: endpoint.node_name.as_deref() == Some(node),
                        ready: conditions.and_then(|c| c.ready).unwrap_or(true),
                        serving: conditions.and_then(|c| c.serving).unwrap_or(true),
                        terminating: conditions.and_then(|c| c.terminating).unwrap_or(false),
                    })
                }));
            }
        }
        Some(Self {
            protocol,
            port: port(spec.port)?,
            node_port: spec.node_port.and_then(port),
            endpoints: without_repeats(endpoints),
        })
    }

    /// The endpoints to use for traffic that may go anywhere, or only to this node: the ready ones or, while all
    /// are going down, those that still serve.
    pub fn usable(&self, local_only: bool) -> Vec<Endpoint> {
        let here = || self.endpoints.iter().copied().filter(|endpoint| endpoint.local || !local_only);
        let ready: Vec<Endpoint> = here().filter(|endpoint| endpoint.ready).collect();
        if !ready.is_empty() {
            return ready;
        }
        here().filter(|endpoint| endpoint.serving && endpoint.terminating).collect()
    }
}

/// An address that several slices list counts once: a ready sighting over one that is not.
fn without_repeats(endpoints: BTreeSet<Endpoint>) -> BTreeSet<Endpoint> {
    let mut seen = BTreeSet::new();
    // Sorted ascending, the ready one of equal addresses comes last.
    endpoints.into_iter().rev().filter(|endpoint| seen.insert((endpoint.address, endpoint.port))).collect()
}

/// A port number of the API; zero means that there is none.
fn port(number: i32) -> Option<u16> {
    u16::try_from(number).ok().filter(|number| *number != 0)
}

fn addresses<'a>(texts: impl Iterator<Item = &'a String>) -> BTreeSet<Ipv4Addr> {
    texts.filter_map(|text| text.parse().ok()).collect()
}

fn cluster_ip(spec: &ServiceSpec) -> Option<Ipv4Addr> {
    let all = spec.cluster_ips.iter().flatten();
    all.chain(spec.cluster_ip.iter()).find_map(|text| text.parse().ok())
}

fn affinity(spec: &ServiceSpec) -> Option<u64> {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let seconds = config.and_then(|client| client.timeout_seconds);
    Some(
        seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .filter(|s| *s > 0)
            .unwrap_or(AFFINITY_SECONDS),
    )
}

fn balancer_ips(service: &core::Service) -> BTreeSet<Ipv4Addr> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|balancer| balancer.ingress.as_ref());
    // In mode Proxy the balancer talks to node ports, and its own address must be left alone.
    let direct = ingress.into_iter().flatten().filter(|at| at.ip_mode.as_deref() != Some("Proxy"));
    addresses(direct.filter_map(|at| at.ip.as_ref()))
}

fn source_ranges(service: &core::Service, spec: &ServiceSpec) -> BTreeSet<Ipv4Net> {
    let annotation = service.metadata.annotations.as_ref().and_then(|all| all.get(SOURCE_RANGES));
    let given: Vec<&str> = match &spec.load_balancer_source_ranges {
        Some(ranges) if !ranges.is_empty() => ranges.iter().map(String::as_str).collect(),
        _ => annotation.into_iter().flat_map(|text| text.split(',')).collect(),
    };
    given.iter().filter_map(|text| text.trim().parse::<Ipv4Net>().ok()).map(|net| net.trunc()).collect()
}
