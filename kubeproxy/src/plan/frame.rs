//! The part of the table that is there whatever Services there are: hooks, maps, and what looks into them.

use nft::{Chain, Hook, Rule, Set, Table};

use super::{Options, empty, ranges};

/// From address, protocol and port to what serves them: cluster, external and balancer addresses.
pub(super) const SERVICE_IPS: &str = "service-ips";
/// The same for ports of the node.
pub(super) const NODE_PORTS: &str = "service-nodeports";
/// Addresses whose Service has nobody to serve it, to what becomes of their packets.
pub(super) const IDLE_SERVICES: &str = "no-endpoint-services";
/// The same for ports of the node.
pub(super) const IDLE_NODE_PORTS: &str = "no-endpoint-nodeports";
/// Balancer addresses that not everybody may use, to the chains that know who may.
pub(super) const FIREWALL_IPS: &str = "firewall-ips";
/// All cluster addresses in use.
pub(super) const CLUSTER_IPS: &str = "cluster-ips";
/// The chain that marks a packet to leave under the node's address.
pub(super) const MARK: &str = "mark-for-masquerade";
/// The chain that refuses a packet and says so.
pub(super) const REJECT: &str = "reject-chain";

/// The bit of the packet mark that asks for masquerading: bit 14, as upstream's default has it.
const MARK_BIT: &str = "0x4000";

/// Filters look at the addresses that clients used, so they run before translation, which is at -100.
const BEFORE_NAT: i32 = -110;
const NAT: i32 = -100;
/// What is still for a cluster address after translation is for nobody.
const AFTER_NAT: i32 = -90;
const SOURCE_NAT: i32 = 100;

/// Base chains: name, hook, priority, rules.
type Base = (&'static str, &'static str, &'static str, i32, &'static [&'static str]);

const BASES: &[Base] = &[
    ("nat-prerouting", "nat", "prerouting", NAT, &["jump services"]),
    ("nat-output", "nat", "output", NAT, &["jump services"]),
    ("nat-postrouting", "nat", "postrouting", SOURCE_NAT, &["jump masquerading"]),
    ("filter-prerouting", "filter", "prerouting", BEFORE_NAT, &["ct state new jump firewall-check"]),
    (
        "filter-input",
        "filter",
        "input",
        BEFORE_NAT,
        &["ct state new jump nodeport-endpoints-check", "ct state new jump service-endpoints-check"],
    ),
    (
        "filter-forward",
        "filter",
        "forward",
        BEFORE_NAT,
        &["ct state new jump service-endpoints-check", "ct state new jump cluster-ips-check"],
    ),
    ("filter-output", "filter", "output", BEFORE_NAT, &["ct state new jump firewall-check"]),
    (
        "filter-output-after-nat",
        "filter",
        "output",
        AFTER_NAT,
        // A policy may let the node itself reach endpoints elsewhere, so this looks at what nat has left over.
        &["ct state new jump service-endpoints-check", "ct state new jump cluster-ips-check"],
    ),
];

/// The table without any Service.
pub fn frame(options: &Options) -> Table {
    let mut table = empty();
    for (name, kind, point, priority, rules) in BASES {
        let hook = Hook { kind, point, priority: *priority };
        table.chain(*name, Chain::at(hook, rules.iter().copied()));
    }
    let address = "ipv4_addr . inet_proto . inet_service";
    let port = "inet_proto . inet_service";
    for (name, key) in [
        (SERVICE_IPS, address),
        (NODE_PORTS, port),
        (IDLE_SERVICES, address),
        (IDLE_NODE_PORTS, port),
        (FIREWALL_IPS, address),
    ] {
        table.set(name, Set::map(key, "verdict"));
    }
    table.set(CLUSTER_IPS, Set::of("ipv4_addr"));
    dispatch(&mut table, options);
    table.chain(MARK, Chain::of([format!("meta mark set meta mark or {MARK_BIT}")]));
    table.chain(
        "masquerading",
        Chain::of([
            format!("meta mark and {MARK_BIT} == 0 return"),
            // The mark is taken off so that a tunnelled packet is not masqueraded a second time.
            format!("meta mark set meta mark xor {MARK_BIT}"),
            "masquerade fully-random".to_owned(),
        ]),
    );
    table.chain(REJECT, Chain::of(["meta l4proto tcp reject with tcp reset", "reject"]));
    table
}

/// The chains that look into the maps.
fn dispatch(table: &mut Table, options: &Options) {
    let by_address = |map: &str| format!("ip daddr . meta l4proto . th dport vmap @{map}");
    let here = match options.node_ports.as_slice() {
        [] => "ip daddr != 127.0.0.0/8".to_owned(),
        some => format!("ip daddr {}", ranges(some)),
    };
    let by_port = |map: &str| format!("fib daddr type local {here} meta l4proto . th dport vmap @{map}");
    table.chain("services", Chain::of([by_address(SERVICE_IPS), by_port(NODE_PORTS)]));
    table.chain("service-endpoints-check", Chain::of([by_address(IDLE_SERVICES)]));
    table.chain("nodeport-endpoints-check", Chain::of([by_port(IDLE_NODE_PORTS)]));
    table.chain("firewall-check", Chain::of([by_address(FIREWALL_IPS)]));
    let mut strays = vec![
        Rule::new(format!("ip daddr @{CLUSTER_IPS} goto {REJECT}"))
            .comment("a port that the Service does not have"),
    ];
    if !options.services.is_empty() {
        strays.push(
            Rule::new(format!("ip daddr {} drop", ranges(&options.services)))
                .comment("an address that no Service has"),
        );
    }
    table.chain("cluster-ips-check", Chain::of(strays));
}
