//! Flows that must be forgotten: UDP has no end that the kernel could see, so a flow would stay with an endpoint that
//! is gone, or with the address that nobody served.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::process::Stdio;

use tokio::process::Command;

use crate::model::{Port, Protocol, Service};

/// Which flows to forget: those to a port that somebody in particular answers, or that nobody has translated.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flows {
    /// Where clients sent to; none for any address of the node.
    pub to: Option<Ipv4Addr>,
    pub port: u16,
    /// The endpoint that got the packets; none for flows that still go where the client sent them.
    pub endpoint: Option<Ipv4Addr>,
}

/// A flow as conntrack(8) lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flow {
    to: Ipv4Addr,
    port: u16,
    answered_by: Ipv4Addr,
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

/// What of all UDP flows, as conntrack(8) lists them, goes where no Service leads it: what changed while nobody looked.
pub fn strays<'a>(listing: &str, services: impl Iterator<Item = &'a Service>) -> BTreeSet<Flows> {
    let mut places: BTreeMap<(Option<Ipv4Addr>, u16), BTreeSet<Ipv4Addr>> = BTreeMap::new();
    for service in services {
        for port in service.ports.iter().filter(|port| port.protocol == Protocol::Udp) {
            let endpoints: BTreeSet<Ipv4Addr> =
                port.usable(false).iter().map(|endpoint| endpoint.address).collect();
            for flows in towards(service, port, None) {
                places.insert((flows.to, flows.port), endpoints.clone());
            }
        }
    }
    let mut strays = BTreeSet::new();
    for flow in listing.lines().filter_map(Flow::parse) {
        let translated = flow.answered_by != flow.to;
        let endpoint = translated.then_some(flow.answered_by);
        if let Some(endpoints) = places.get(&(Some(flow.to), flow.port)) {
            // Without endpoints there is nothing better for a flow that was never translated.
            let astray = !endpoints.contains(&flow.answered_by) && (translated || !endpoints.is_empty());
            strays.extend(astray.then_some(Flows { to: Some(flow.to), port: flow.port, endpoint }));
        } else if let Some(endpoints) = places.get(&(None, flow.port))
            && translated
            && !endpoints.contains(&flow.answered_by)
        {
            strays.insert(Flows { to: None, port: flow.port, endpoint });
        }
    }
    strays
}

/// All UDP flows that the kernel knows; none where it cannot be asked, which [`Flows::forget`] complains about.
pub async fn list() -> String {
    let mut command = Command::new("conntrack");
    command.args(["-L", "-p", "udp"]).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).into_owned()
}

impl Flow {
    /// Reads `... src= dst= sport= dport= ... src= dst= sport= dport= ...`: the way there, then the way back.
    fn parse(line: &str) -> Option<Self> {
        let all = |name: &'static str| {
            line.split_whitespace().filter_map(move |word| word.strip_prefix(name)?.strip_prefix('='))
        };
        Some(Self {
            to: all("dst").next()?.parse().ok()?,
            port: all("dport").next()?.parse().ok()?,
            answered_by: all("src").nth(1)?.parse().ok()?,
        })
    }
}

impl Flows {
    /// The command line of conntrack(8) that forgets them.
    fn arguments(&self) -> Vec<String> {
        let mut words: Vec<String> = ["-D", "-p", "udp"].map(str::to_owned).into();
        let mut say = |option: &str, value: &dyn std::fmt::Display| {
            words.extend([option.to_owned(), value.to_string()]);
        };
        if let Some(address) = &self.to {
            say("--orig-dst", address);
        }
        say("--orig-port-dst", &self.port);
        match (&self.endpoint, &self.to) {
            (Some(endpoint), _) => say("--reply-src", endpoint),
            // Not translated: the answer would come from where the question went.
            (None, Some(address)) => say("--reply-src", address),
            (None, None) => say("--reply-port-src", &self.port),
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
        let of_service = "-D -p udp --orig-dst 10.43.0.10 --orig-port-dst 53 --reply-src";
        let of_node = "-D -p udp --orig-port-dst 30053 --reply";
        let one_gone =
            |gone: u8| vec![format!("{of_node}-src 10.42.0.{gone}"), format!("{of_service} 10.42.0.{gone}")];
        let untranslated = || vec![format!("{of_node}-port-src 30053"), format!("{of_service} 10.43.0.10")];
        let cases: &[(Option<Service>, Option<Service>, Vec<String>)] = &[
            (Some(service(Udp, &[2, 3])), Some(service(Udp, &[2, 3])), vec![]),
            (Some(service(Udp, &[2, 3])), Some(service(Udp, &[2])), one_gone(3)),
            (Some(service(Udp, &[2])), None, one_gone(2)),
            (Some(service(Udp, &[2])), Some(service(Udp, &[2, 3])), vec![]),
            (Some(service(Udp, &[])), Some(service(Udp, &[2])), untranslated()),
            (None, Some(service(Udp, &[2])), untranslated()),
            (Some(service(Tcp, &[2])), Some(service(Tcp, &[])), vec![]),
        ];
        for (old, new, expected) in cases {
            let flows = stale(old.as_ref(), new.as_ref());
            let lines: Vec<String> = flows.iter().map(|flows| flows.arguments().join(" ")).collect();
            assert_eq!(lines, *expected, "{old:?} to {new:?}");
        }
    }

    #[test]
    fn what_changed_while_nobody_looked() {
        let line = |to: &str, port: u16, by: &str| {
            format!(
                "udp      17 29 src=10.42.0.9 dst={to} sport=4000 dport={port} [UNREPLIED] \
                 src={by} dst=10.42.0.9 sport=5353 dport=4000 mark=0 use=1\n"
            )
        };
        let listing = [
            line("10.43.0.10", 53, "10.42.0.2"),
            line("10.43.0.10", 53, "10.42.0.7"),
            line("10.43.0.10", 53, "10.43.0.10"),
            line("192.168.9.1", 30053, "10.42.0.7"),
            line("8.8.8.8", 30053, "8.8.8.8"),
            line("8.8.8.8", 53, "8.8.8.8"),
        ]
        .concat();
        let told = |endpoints: &[u8]| -> Vec<String> {
            let service = service(Protocol::Udp, endpoints);
            strays(&listing, [&service].into_iter())
                .iter()
                .map(|flows| flows.arguments()[3..].join(" "))
                .collect()
        };
        let node = "--orig-port-dst 30053 --reply-src 10.42.0.7";
        let to = |by: &str| format!("--orig-dst 10.43.0.10 --orig-port-dst 53 --reply-src {by}");
        assert_eq!(told(&[2]), [node.to_owned(), to("10.43.0.10"), to("10.42.0.7")]);
        assert_eq!(told(&[]), [node.to_owned(), to("10.42.0.2"), to("10.42.0.7")]);
    }
}
