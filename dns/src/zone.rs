//! Which names are ours, and what each is about.

use std::net::IpAddr;

use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{Name, RData, Record};
use ipnet::IpNet;

/// For how many seconds an answer from the cluster may be kept: CoreDNS' figure for Kubernetes.
pub const TTL: u32 = 5;

/// Seconds between two looks of a secondary server, between its retries and until it gives up: nobody transfers the
/// zone, so these are only what CoreDNS says.
const SECONDARY: (i32, i32, i32) = (7200, 1800, 86_400);

/// The cluster's domain and its ranges of addresses.
#[derive(Debug, Clone)]
pub struct Zone {
    domain: Name,
    depth: usize,
    /// The addresses at which pods find this server.
    pub cluster_dns: Vec<IpAddr>,
    ranges: Vec<IpNet>,
}

/// What a name is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// The cluster's domain itself.
    Apex,
    /// `dns-version`: the version of the specification.
    Version,
    /// `ns.dns`: the name server.
    NameServer,
    /// A name that only has names below it.
    Branch,
    /// `NS.svc` or `NS.pod`.
    Namespace(&'a str),
    Service(&'a str, &'a str),
    /// `_PROTOCOL.SVC.NS.svc`: has names below it where the Service has such ports.
    Protocol(&'a str, &'a str, &'a str),
    /// `ENDPOINT.SVC.NS.svc`.
    Endpoint(&'a str, &'a str, &'a str),
    /// `_PORT._PROTOCOL.SVC.NS.svc`: namespace, service, port, protocol.
    Port(&'a str, &'a str, &'a str, &'a str),
    /// `1-2-3-4.NS.pod`.
    Pod(&'a str, &'a str),
    /// A name in the domain that no object can have.
    Nothing,
    /// An address, or a network, in `in-addr.arpa` or `ip6.arpa`.
    Reverse(IpNet),
    /// A name of somebody else's.
    Foreign,
}

impl Zone {
    pub fn new(domain: &Name, cluster_dns: Vec<IpAddr>, ranges: Vec<IpNet>) -> Self {
        let mut domain = domain.to_lowercase();
        domain.set_fqdn(true);
        Self { depth: domain.iter().count(), domain, cluster_dns, ranges }
    }

    /// The domain of the cluster.
    pub fn domain(&self) -> &Name {
        &self.domain
    }

    /// What a name in lower case is about.
    pub fn subject<'a>(&self, name: &'a Name) -> Subject<'a> {
        if !self.domain.zone_of(name) {
            return name.parse_arpa_name().map_or(Subject::Foreign, Subject::Reverse);
        }
        let labels: Option<Vec<&str>> = name.iter().map(|label| std::str::from_utf8(label).ok()).collect();
        let Some(labels) = labels else { return Subject::Nothing };
        match labels[..labels.len() - self.depth] {
            [] => Subject::Apex,
            ["dns-version"] => Subject::Version,
            ["ns", "dns"] => Subject::NameServer,
            ["dns" | "svc" | "pod"] => Subject::Branch,
            [namespace, "svc" | "pod"] => Subject::Namespace(namespace),
            [address, namespace, "pod"] => Subject::Pod(namespace, address),
            [service, namespace, "svc"] => Subject::Service(namespace, service),
            [first, service, namespace, "svc"] => match first.strip_prefix('_') {
                Some(protocol) => Subject::Protocol(namespace, service, protocol),
                None => Subject::Endpoint(namespace, service, first),
            },
            [port, protocol, service, namespace, "svc"] => {
                match (port.strip_prefix('_'), protocol.strip_prefix('_')) {
                    (Some(port), Some(protocol)) => Subject::Port(namespace, service, port, protocol),
                    _ => Subject::Nothing,
                }
            }
            _ => Subject::Nothing,
        }
    }

    /// The top of the reverse zone of ours that holds this name about `net`; none where the network is not ours.
    ///
    /// Reverse zones end at a label, so a range that does not is several of them.
    pub fn reverse_origin(&self, name: &Name, net: IpNet) -> Option<Name> {
        let bits: u8 = if net.addr().is_ipv4() { 8 } else { 4 };
        let labels = self.ranges.iter().find_map(|range| {
            let labels = range.prefix_len().div_ceil(bits);
            let inside = range.contains(&net.addr()) && net.prefix_len() >= labels * bits;
            inside.then_some(labels)
        })?;
        /// `in-addr` and `arpa`.
        const SUFFIX: usize = 2;
        Some(name.trim_to(usize::from(labels) + SUFFIX))
    }

    /// Whether an address is one of the cluster's.
    pub fn holds(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(&address))
    }

    /// The name of this server.
    pub fn name_server(&self) -> Name {
        self.below("ns.dns")
    }

    /// A name in the domain, such as `web.demo.svc`; the domain itself where it would be no name.
    pub fn below(&self, labels: &str) -> Name {
        let relative = Name::from_ascii(labels).and_then(|name| name.append_domain(&self.domain));
        relative.unwrap_or_else(|_| self.domain.clone())
    }

    /// The record of authority over a zone of ours.
    pub fn authority(&self, origin: Name, serial: u32) -> Record {
        let (refresh, retry, expire) = SECONDARY;
        let (server, person) = (self.name_server(), self.below("hostmaster"));
        let soa = SOA::new(server, person, serial, refresh, retry, expire, TTL);
        Record::from_rdata(origin, TTL, RData::SOA(soa))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone() -> Zone {
        let range = |text: &str| text.parse::<IpNet>().unwrap();
        let ranges = vec![range("10.42.0.0/16"), range("10.96.0.0/12"), range("fd00:43::/112")];
        Zone::new(&Name::from_ascii("Cluster.Local").unwrap(), Vec::new(), ranges)
    }

    #[test]
    fn names_and_what_they_are_about() {
        let cases = [
            ("cluster.local.", Subject::Apex),
            ("local.", Subject::Foreign),
            ("example.com.", Subject::Foreign),
            ("dns-version.cluster.local.", Subject::Version),
            ("svc.cluster.local.", Subject::Branch),
            ("demo.svc.cluster.local.", Subject::Namespace("demo")),
            ("web.demo.svc.cluster.local.", Subject::Service("demo", "web")),
            ("h.web.demo.svc.cluster.local.", Subject::Endpoint("demo", "web", "h")),
            ("_tcp.web.demo.svc.cluster.local.", Subject::Protocol("demo", "web", "tcp")),
            ("_http._tcp.web.demo.svc.cluster.local.", Subject::Port("demo", "web", "http", "tcp")),
            ("http._tcp.web.demo.svc.cluster.local.", Subject::Nothing),
            ("a._http._tcp.web.demo.svc.cluster.local.", Subject::Nothing),
            ("1-2-3-4.demo.pod.cluster.local.", Subject::Pod("demo", "1-2-3-4")),
            ("a.1-2-3-4.demo.pod.cluster.local.", Subject::Nothing),
            ("web.demo.cluster.local.", Subject::Nothing),
            ("4.3.2.1.in-addr.arpa.", Subject::Reverse("1.2.3.4/32".parse().unwrap())),
            ("2.1.in-addr.arpa.", Subject::Reverse("1.2.0.0/16".parse().unwrap())),
            ("x.2.1.in-addr.arpa.", Subject::Foreign),
        ];
        for (name, expected) in cases {
            assert_eq!(zone().subject(&Name::from_ascii(name).unwrap()), expected, "{name}");
        }
    }

    #[test]
    fn reverse_zones_end_at_labels() {
        let cases = [
            ("1.2.42.10.in-addr.arpa.", Some("42.10.in-addr.arpa.")),
            ("42.10.in-addr.arpa.", Some("42.10.in-addr.arpa.")),
            ("10.in-addr.arpa.", None),
            ("43.10.in-addr.arpa.", None),
            ("1.2.100.10.in-addr.arpa.", Some("100.10.in-addr.arpa.")),
            (
                "a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.3.4.0.0.0.0.d.f.ip6.arpa.",
                Some("0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.3.4.0.0.0.0.d.f.ip6.arpa."),
            ),
        ];
        for (name, expected) in cases {
            let name = Name::from_ascii(name).unwrap();
            let origin = zone().reverse_origin(&name, name.parse_arpa_name().unwrap());
            assert_eq!(origin.map(|origin| origin.to_ascii()).as_deref(), expected, "{name}");
        }
    }
}
