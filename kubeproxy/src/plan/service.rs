//! What one Service adds to the table.

use nft::{Chain, Rule, Set, Table, Verdict, key};

use super::frame::{
    CLUSTER_IPS, FIREWALL_IPS, IDLE_NODE_PORTS, IDLE_SERVICES, MARK, NODE_PORTS, REJECT, SERVICE_IPS,
};
use super::{Options, empty, ranges};
use crate::model::{Endpoint, Port, Service};

/// Up to so many endpoints are tried in turn, each with its chance of what is left; more are looked up in one map.
///
/// Such a map is an anonymous set, and the kernel finds a name for each new one by going through all others: a table
/// of 10,000 Services with a map each took it 21 s, without them 0.9 s. Only the first packet of a connection comes
/// here, for which 16 comparisons are nothing.
const MOST_IN_TURN: usize = 16;

/// One port of a Service on its way into the table.
struct PortPlan<'a> {
    service: &'a Service,
    port: &'a Port,
    options: &'a Options,
    /// `namespace/name/protocol/port`, which is unique and, with a prefix, a name that nft takes.
    name: String,
    /// Endpoints anywhere.
    cluster: Vec<Endpoint>,
    /// Endpoints on this node.
    local: Vec<Endpoint>,
}

/// The chains, sets and elements of one Service.
pub fn part(service: &Service, options: &Options) -> Table {
    let mut table = empty();
    table.element(CLUSTER_IPS, service.cluster_ip.to_string());
    for port in &service.ports {
        PortPlan::new(service, port, options).add_to(&mut table);
    }
    table
}

impl<'a> PortPlan<'a> {
    fn new(service: &'a Service, port: &'a Port, options: &'a Options) -> Self {
        let name = format!("{}/{}/{}/{}", service.key.namespace, service.key.name, port.protocol, port.port);
        Self { service, port, options, name, cluster: port.usable(false), local: port.usable(true) }
    }

    fn add_to(&self, table: &mut Table) {
        let external = self.service.is_external(self.port);
        if !self.cluster.is_empty() {
            self.endpoints(table, external);
            self.dispatch(table, external);
        }
        self.idle(table);
        self.firewall(table);
    }

    fn cluster_chain(&self) -> String {
        format!("service-{}", self.name)
    }

    fn local_chain(&self) -> String {
        format!("local-{}", self.name)
    }

    fn external_chain(&self) -> String {
        format!("external-{}", self.name)
    }

    fn policy_chain(&self, local: bool) -> Option<String> {
        match local {
            true if self.local.is_empty() => None,
            true => Some(self.local_chain()),
            false => Some(self.cluster_chain()),
        }
    }

    /// The chains that choose among endpoints, the chains of the endpoints, and the way in from outside.
    fn endpoints(&self, table: &mut Table, external: bool) {
        let Service { internal_local, external_local, .. } = *self.service;
        // Outsiders bound to local endpoints still need the others: pods and the node itself are not bound.
        let uses_cluster = !internal_local || external;
        let uses_local = internal_local || (external_local && external);
        let mut used: Vec<Endpoint> = Vec::new();
        if uses_cluster {
            let rules = self.choice(&self.cluster, !internal_local);
            table.chain(self.cluster_chain(), Chain::of(rules));
            used.extend(&self.cluster);
        }
        if uses_local && !self.local.is_empty() {
            let rules = self.choice(&self.local, internal_local);
            table.chain(self.local_chain(), Chain::of(rules));
            used.extend(&self.local);
        }
        for endpoint in &used {
            self.endpoint(table, endpoint);
        }
        if external {
            table.chain(self.external_chain(), Chain::of(self.way_in()));
        }
    }

    /// The rules that choose one of these endpoints.
    fn choice(&self, endpoints: &[Endpoint], internal: bool) -> Vec<Rule> {
        let mut rules = Vec::new();
        if internal {
            rules.extend(self.masquerade_strangers());
        }
        if self.service.affinity.is_some() {
            rules.extend(endpoints.iter().map(|endpoint| {
                Rule::new(format!("ip saddr @{} goto {}", self.affinity(endpoint), self.chain_of(endpoint)))
            }));
        }
        rules.extend(self.chance(endpoints));
        rules
    }

    /// The rules that give each endpoint the same chance.
    fn chance(&self, endpoints: &[Endpoint]) -> Vec<Rule> {
        if endpoints.len() > MOST_IN_TURN {
            let numbered: Vec<String> = endpoints
                .iter()
                .enumerate()
                .map(|(number, endpoint)| format!("{number} : goto {}", self.chain_of(endpoint)))
                .collect();
            let all = numbered.join(", ");
            return vec![Rule::new(format!("numgen random mod {} vmap {{ {all} }}", endpoints.len()))];
        }
        let left = (1..=endpoints.len()).rev();
        endpoints
            .iter()
            .zip(left)
            .map(|(endpoint, left)| match left {
                1 => Rule::new(format!("goto {}", self.chain_of(endpoint))),
                _ => Rule::new(format!("numgen random mod {left} == 0 goto {}", self.chain_of(endpoint))),
            })
            .collect()
    }

    /// Who is no pod must be answered through this node, or the answer comes from an address it does not know.
    fn masquerade_strangers(&self) -> Option<Rule> {
        let Port { protocol, port, .. } = self.port;
        let addressed = format!("ip daddr {} {protocol} dport {port}", self.service.cluster_ip);
        if self.options.masquerade_all {
            return Some(Rule::new(format!("{addressed} jump {MARK}")));
        }
        if self.options.pods.is_empty() {
            return None;
        }
        Some(Rule::new(format!("{addressed} ip saddr != {} jump {MARK}", ranges(&self.options.pods))))
    }

    fn chain_of(&self, endpoint: &Endpoint) -> String {
        format!("endpoint-{}__{}/{}", self.name, endpoint.address, endpoint.port)
    }

    fn affinity(&self, endpoint: &Endpoint) -> String {
        format!("affinity-{}__{}/{}", self.name, endpoint.address, endpoint.port)
    }

    fn endpoint(&self, table: &mut Table, endpoint: &Endpoint) {
        let Endpoint { address, port, .. } = endpoint;
        // A pod that reaches itself must see the answer come back through the node.
        let mut rules = vec![Rule::new(format!("ip saddr {address} jump {MARK}")).comment("hairpin")];
        if let Some(seconds) = self.service.affinity {
            let set = self.affinity(endpoint);
            rules.push(Rule::new(format!("update @{set} {{ ip saddr }}")));
            table.set(set, Set::of("ipv4_addr").dynamic(seconds));
        }
        rules.push(Rule::new(format!("meta l4proto {} dnat to {address}:{port}", self.port.protocol)));
        table.chain(self.chain_of(endpoint), Chain::of(rules));
    }

    /// The rules for traffic that came to an external address or a node port.
    fn way_in(&self) -> Vec<Rule> {
        let service = self.cluster_chain();
        if !self.service.external_local {
            return vec![Rule::new(format!("jump {MARK}")), Rule::new(format!("goto {service}"))];
        }
        let mut rules = Vec::new();
        if !self.options.pods.is_empty() {
            let pods = ranges(&self.options.pods);
            rules
                .push(Rule::new(format!("ip saddr {pods} goto {service}")).comment("pods are not outsiders"));
        }
        rules.push(Rule::new(format!("fib saddr type local jump {MARK}")));
        rules.push(
            Rule::new(format!("fib saddr type local goto {service}")).comment("the node is no outsider"),
        );
        if let Some(chain) = self.policy_chain(true) {
            rules.push(Rule::new(format!("goto {chain}")));
        }
        rules
    }

    /// The elements that lead packets to the chains.
    fn dispatch(&self, table: &mut Table, external: bool) {
        let Port { protocol, port, node_port, .. } = self.port;
        if let Some(chain) = self.policy_chain(self.service.internal_local) {
            let at = key(&[&self.service.cluster_ip, protocol, port]);
            table.verdict(SERVICE_IPS, at, &Verdict::Goto(chain));
        }
        if !external {
            return;
        }
        let verdict = Verdict::Goto(self.external_chain());
        for address in self.service.external_ips.union(&self.service.balancer_ips) {
            table.verdict(SERVICE_IPS, key(&[address, protocol, port]), &verdict);
        }
        if let Some(number) = node_port {
            table.verdict(NODE_PORTS, key(&[protocol, number]), &verdict);
        }
    }

    /// The elements that refuse packets which nobody would serve: with a word where nobody serves them anywhere,
    /// in silence where somebody does on another node.
    fn idle(&self, table: &mut Table) {
        let Port { protocol, port, node_port, .. } = self.port;
        let fate = |bound: bool| match (self.cluster.is_empty(), bound && self.local.is_empty()) {
            (true, _) => Some(Verdict::Goto(REJECT.to_owned())),
            (false, true) => Some(Verdict::Drop),
            (false, false) => None,
        };
        if let Some(verdict) = fate(self.service.internal_local) {
            table.verdict(IDLE_SERVICES, key(&[&self.service.cluster_ip, protocol, port]), &verdict);
        }
        if let Some(verdict) = fate(self.service.external_local) {
            for address in self.service.external_ips.union(&self.service.balancer_ips) {
                table.verdict(IDLE_SERVICES, key(&[address, protocol, port]), &verdict);
            }
            if let Some(number) = node_port {
                table.verdict(IDLE_NODE_PORTS, key(&[protocol, number]), &verdict);
            }
        }
    }

    /// Who may use a balancer's addresses.
    fn firewall(&self, table: &mut Table) {
        if self.service.source_ranges.is_empty() || self.service.balancer_ips.is_empty() {
            return;
        }
        let Port { protocol, port, .. } = self.port;
        let chain = format!("firewall-{}", self.name);
        let allowed = ranges(&self.service.source_ranges);
        table.chain(chain.clone(), Chain::of([format!("ip saddr != {allowed} drop")]));
        for address in &self.service.balancer_ips {
            table.verdict(FIREWALL_IPS, key(&[address, protocol, port]), &Verdict::Goto(chain.clone()));
        }
    }
}
