//! Flows that must be forgotten: UDP has no end that the kernel could see, so a flow would stay with an endpoint that
//! is gone, or with the address that nobody served.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::process::Stdio;

use tokio::process::Command;

use crate::model::{Port, Protocol, Service};

/// Which flows to forget: those to a port, and of these perhaps only those that were translated to one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flows {
    /// Where clients sent to; none for any address of the node.
    pub to: Option<Ipv4Addr>,
    pub port: u16,
    /// Where the packets went.
    pub endpoint: Option<Ipv4Addr>,
}

/// What to forget when a Service changes from one state to another.
pub fn stale(old: Option<&Service>, new: Option<&Service>) -> BTreeSet<Flows> {
    let mut flows = BTreeSet::new();
    let ports = |service: Option<&Service>| -> Vec<Port> {
        service
            .iter()
            .flat_map(|service| &service.ports)
            .filter(|port| port.protocol == Protocol::Udp)
            .cloned()
            .collect()
    };
    let (before, after) = (ports(old), ports(new));
    for port in &before {
        let now = after.iter().find(|now| now.port == port.port);
        let kept: BTreeSet<Ipv4Addr> =
            now.iter().flat_map(|now| now.usable(false)).map(|endpoint| endpoint.address).collect();
        for endpoint in port.usable(false) {
            if let Some(service) = old
                && !kept.contains(&endpoint.address)
            {
                flows.extend(towards(service, port, Some(endpoint.address)));
            }
        }
    }
    for port in &after {
        let then = before.iter().find(|then| then.port == port.port);
        let was_idle = then.is_none_or(|then| then.usable(false).is_empty());
        if let Some(service) = new
            && was_idle
            && !port.usable(false).is_empty()
        {
            flows.extend(towards(service, port, None));
        }
    }
    flows
}

fn towards(service: &Service, port: &Port, endpoint: Option<Ipv4Addr>) -> Vec<Flows> {
    let addresses =
        [&service.cluster_ip].into_iter().chain(&service.external_ips).chain(&service.balancer_ips);
    let mut flows: Vec<Flows> =
        addresses.map(|to| Flows { to: Some(*to), port: port.port, endpoint }).collect();
    flows.extend(port.node_port.map(|number| Flows { to: None, port: number, endpoint }));
    flows
}

impl Flows {
    /// The command line of conntrack(8) that forgets them.
    fn arguments(&self) -> Vec<String> {
        let mut words = vec!["-D".to_owned(), "-p".to_owned(), "udp".to_owned()];
        if let Some(address) = self.to {
            words.extend(["--orig-dst".to_owned(), address.to_string()]);
        }
        words.extend(["--dport".to_owned(), self.port.to_string()]);
        if let Some(address) = self.endpoint {
            words.extend(["--dst-nat".to_owned(), address.to_string()]);
        }
        words
    }

    /// Makes the kernel forget them; that there are none is no failure, and a failure is only logged, for the flows
    /// end by themselves once they fall silent.
    pub async fn forget(&self) {
        let mut command = Command::new("conntrack");
        command.args(self.arguments()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        match command.kill_on_drop(true).output().await {
            Ok(output) => {
                let words = String::from_utf8_lossy(&output.stderr);
                // conntrack exits 1 where nothing matched, and says how many it deleted in any case.
                if !output.status.success() && !words.contains("flow entries have been deleted") {
                    tracing::warn!(flows = ?self, "conntrack failed: {}", words.trim());
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => tracing::warn!(
                "UDP clients may stay with endpoints that are gone: the program conntrack is missing; \
                 install the package conntrack"
            ),
            Err(error) => tracing::warn!("could not run conntrack: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use client::Key;

    use super::*;
    use crate::model::Endpoint;

    fn service(protocol: Protocol, endpoints: &[u8]) -> Service {
        let endpoint = |last: &u8| Endpoint {
            address: Ipv4Addr::new(10, 42, 0, *last),
            port: 5353,
            local: true,
            ready: true,
            serving: true,
            terminating: false,
        };
        let endpoints = endpoints.iter().map(endpoint).collect();
        Service {
            key: Key::new("kube-system", "dns"),
            cluster_ip: Ipv4Addr::new(10, 43, 0, 10),
            external_ips: BTreeSet::new(),
            balancer_ips: BTreeSet::new(),
            source_ranges: BTreeSet::new(),
            affinity: None,
            internal_local: false,
            external_local: false,
            health_port: None,
            ports: vec![Port { protocol, port: 53, node_port: Some(30053), endpoints }],
        }
    }

    #[test]
    fn who_is_forgotten() {
        use Protocol::{Tcp, Udp};
        let of_service = "-D -p udp --orig-dst 10.43.0.10 --dport 53";
        let of_node = "-D -p udp --dport 30053";
        let one_gone = |gone: u8| {
            vec![
                format!("{of_node} --dst-nat 10.42.0.{gone}"),
                format!("{of_service} --dst-nat 10.42.0.{gone}"),
            ]
        };
        let cases: &[(Option<Service>, Option<Service>, Vec<String>)] = &[
            (Some(service(Udp, &[2, 3])), Some(service(Udp, &[2, 3])), vec![]),
            (Some(service(Udp, &[2, 3])), Some(service(Udp, &[2])), one_gone(3)),
            (Some(service(Udp, &[2])), None, one_gone(2)),
            (Some(service(Udp, &[2])), Some(service(Udp, &[2, 3])), vec![]),
            (Some(service(Udp, &[])), Some(service(Udp, &[2])), vec![of_node.into(), of_service.into()]),
            (None, Some(service(Udp, &[2])), vec![of_node.into(), of_service.into()]),
            (Some(service(Tcp, &[2])), Some(service(Tcp, &[])), vec![]),
        ];
        for (old, new, expected) in cases {
            let flows = stale(old.as_ref(), new.as_ref());
            let lines: Vec<String> = flows.iter().map(|flows| flows.arguments().join(" ")).collect();
            assert_eq!(lines, *expected, "{old:?} to {new:?}");
        }
    }
}
