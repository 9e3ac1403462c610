//! The plugins' nftables table: ports of the node that lead to containers, and masquerading by source.
//!
//! Calls of several containers share it, so each adds and takes away its own part and leaves the others'.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use nft::{Chain, Family, Hook, Nft, Rule, Set, Table, Verdict, key};

use super::fault::Fault;

/// The table that all calls share.
pub(crate) const TABLE: &str = "isopod-cni";

/// From a port of the node to what serves it: on one of its addresses, and on any.
const PORTS_OF: &str = "hostports-of-address";
const PORTS: &str = "hostports";
/// From a container's address to the rules for what leaves its network.
const SOURCES: &str = "masquerade-sources";
const MARK: &str = "mark-for-masquerade";

/// The bit of the packet mark that asks for masquerading: bit 13, upstream portmap's.
const MARK_BIT: &str = "0x2000";

/// A port of the node that leads into a container.
#[derive(Debug, Clone)]
pub(super) struct Mapping<'a> {
    pub(super) container: &'a str,
    pub(super) protocol: &'static str,
    pub(super) host_address: Option<Ipv4Addr>,
    pub(super) host_port: u16,
    pub(super) address: Ipv4Addr,
    pub(super) port: u16,
}

fn empty() -> Table {
    let mut table = Table::new(Family::Ip, TABLE);
    table.set(PORTS_OF, Set::map("ipv4_addr . inet_proto . inet_service", "verdict"));
    table.set(PORTS, Set::map("inet_proto . inet_service", "verdict"));
    table.set(SOURCES, Set::map("ipv4_addr", "verdict"));
    table
}

/// What is there whatever containers there are.
fn frame() -> Table {
    const RAW: i32 = -300;
    const NAT: i32 = -100;
    const SOURCE_NAT: i32 = 100;
    let hook = |kind, point, priority| Hook { kind, point, priority };
    let mut table = empty();
    let ports = || [Rule::new("fib daddr type local jump hostports-check")];
    table.chain("nat-prerouting", Chain::at(hook("nat", "prerouting", NAT), ports()));
    table.chain("nat-output", Chain::at(hook("nat", "output", NAT), ports()));
    table.chain(
        "hostports-check",
        Chain::of([
            format!("ip daddr . meta l4proto . th dport vmap @{PORTS_OF}"),
            format!("meta l4proto . th dport vmap @{PORTS}"),
        ]),
    );
    table.chain(
        "nat-postrouting",
        Chain::at(
            hook("nat", "postrouting", SOURCE_NAT),
            [
                format!("meta mark and {MARK_BIT} == {MARK_BIT} masquerade"),
                format!("ip saddr vmap @{SOURCES}"),
            ],
        ),
    );
    table.chain(MARK, Chain::of([format!("meta mark set meta mark or {MARK_BIT}")]));
    // Ports on 127.0.0.1 need route_localnet, which must not open the node's own loopback services to its neighbours.
    table.chain(
        "loopback-guard",
        Chain::at(hook("filter", "prerouting", RAW), ["iifname != \"lo\" ip daddr 127.0.0.0/8 drop"]),
    );
    table
}

impl Mapping<'_> {
    fn chain(&self) -> String {
        let on = self.host_address.map(|address| format!("{address}-")).unwrap_or_default();
        format!("hostport-{on}{}-{}-{}", self.protocol, self.host_port, self.container)
    }

    fn part(&self) -> Table {
        let mut table = empty();
        let chain = self.chain();
        let Self { protocol, host_port, address, port, .. } = self;
        table.chain(
            chain.clone(),
            Chain::of([
                // Who reaches itself, and who speaks from 127.0.0.1, must be answered through the node.
                format!("ip saddr {{ {address}, 127.0.0.0/8 }} jump {MARK}"),
                format!("meta l4proto {protocol} dnat to {address}:{port}"),
            ]),
        );
        let verdict = Verdict::Goto(chain);
        match &self.host_address {
            Some(on) => table.verdict(PORTS_OF, key(&[on, protocol, host_port]), &verdict),
            None => table.verdict(PORTS, key(&[protocol, host_port]), &verdict),
        }
        table
    }
}

/// Leads ports of the node into a container, all or none.
pub(super) async fn map(mappings: &[Mapping<'_>]) -> Result<(), Fault> {
    let mut table = frame();
    for mapping in mappings {
        table.merge(&mapping.part());
    }
    Ok(Nft::default().apply(&nft::ensure(&table)).await?)
}

/// Ends what [`map`] began; a port that leads elsewhere by now is left alone.
pub(super) async fn unmap(mapping: &Mapping<'_>) -> Result<(), Fault> {
    withdraw(mapping.part()).await
}

fn source(address: Ipv4Addr) -> Table {
    let mut table = empty();
    let chain = format!("masquerade-{address}");
    table.verdict(SOURCES, address.to_string(), &Verdict::Goto(chain.clone()));
    table.chain(chain, Chain::default());
    table
}

/// Masquerades what a container sends out of its subnet.
pub(super) async fn masquerade(address: Ipv4Addr, subnet: Ipv4Net) -> Result<(), Fault> {
    let mut table = frame();
    table.merge(&source(address));
    let rules = [
        format!("ip daddr {subnet} return"),
        "ip daddr 224.0.0.0/4 return".to_owned(),
        "masquerade".to_owned(),
    ];
    table.chain(format!("masquerade-{address}"), Chain::of(rules));
    Ok(Nft::default().apply(&nft::ensure(&table)).await?)
}

/// Ends what [`masquerade`] began. Each address has a chain of its own, so that nothing is shared but the map.
pub(super) async fn unmasquerade(address: Ipv4Addr) -> Result<(), Fault> {
    withdraw(source(address)).await
}

async fn withdraw(mut part: Table) -> Result<(), Fault> {
    // Nothing of the frame may be needed to take something away: it may be gone with the rest.
    for chain in part.chains.values_mut() {
        chain.rules.clear();
    }
    accept(Nft::default().apply(&nft::withdraw(&part)).await)
}

/// The kernel refuses to take away an element that has another value by now: somebody else's, and so no failure.
fn accept(result: Result<(), nft::ApplyError>) -> Result<(), Fault> {
    match result {
        Err(nft::ApplyError::Refused { words, .. }) if words.contains("File exists") => Ok(()),
        other => Ok(other?),
    }
}
