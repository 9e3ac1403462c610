//! From the model to nftables: which rules make the Services work on this node.
//!
//! The table's frame ([`frame`]) is the same whatever Services there are; each Service adds a part ([`part`]) of
//! chains of its own and elements of the frame's maps, so that a change of one Service touches nothing of another.

use ipnet::Ipv4Net;
use nft::{Family, Table};

mod frame;
mod service;

pub use frame::frame;
pub use service::part;

/// The table of the rules for IPv4.
pub const TABLE: &str = "isopod-kubeproxy";

/// What of the node and its settings the rules depend on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Where pods are; traffic to a cluster address from elsewhere is masqueraded so that it comes back.
    pub pods: Vec<Ipv4Net>,
    /// Where Services are; none of these addresses may leave the node.
    pub services: Vec<Ipv4Net>,
    /// The node's addresses on which node ports answer; empty means all but loopback.
    pub node_ports: Vec<Ipv4Net>,
    /// Whether all traffic to cluster addresses is masqueraded.
    pub masquerade_all: bool,
}

/// A table, or part of one, with nothing in it.
pub fn empty() -> Table {
    Table::new(Family::Ip, TABLE)
}

/// Ranges as an nft expression: one, or an anonymous set.
fn ranges<'a>(nets: impl IntoIterator<Item = &'a Ipv4Net>) -> String {
    let texts: Vec<String> = nets.into_iter().map(ToString::to_string).collect();
    match texts.as_slice() {
        [one] => one.clone(),
        many => format!("{{ {} }}", many.join(", ")),
    }
}

#[cfg(test)]
mod tests;
