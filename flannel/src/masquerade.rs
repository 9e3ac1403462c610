//! The rules by which what pods send out of the cluster leaves under the node's address.

use ipnet::Ipv4Net;
use nft::{Chain, Family, Hook, Rule, Table};

/// The daemon's table.
pub const TABLE: &str = "isopod-flannel";

const SOURCE_NAT: i32 = 100;

/// The table for a node with these addresses for pods among all pods' addresses.
pub fn table(pods: Ipv4Net, subnet: Ipv4Net) -> Table {
    let mut table = Table::new(Family::Ip, TABLE);
    let hook = Hook { kind: "nat", point: "postrouting", priority: SOURCE_NAT };
    table.chain(
        "postrouting",
        Chain::at(
            hook,
            [
                Rule::new(format!("ip saddr {pods} ip daddr {pods} return"))
                    .comment("pods see each other as they are"),
                Rule::new(format!("ip saddr {pods} ip daddr != 224.0.0.0/4 masquerade fully-random")),
                Rule::new(format!("ip daddr {subnet} return")).comment("own pods answer through this node"),
                Rule::new(format!("ip daddr {pods} masquerade fully-random"))
                    .comment("other nodes' pods would answer past this node"),
            ],
        ),
    );
    table
}
