//! From the other nodes to what the kernel must know: routes, neighbours, forwarding entries; and what to change.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::config::Backend;
use crate::lease::Peer;
use crate::netlink::Mac;

/// A route to the pods of another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    pub to: Ipv4Net,
    pub gateway: Ipv4Addr,
    /// The interface.
    pub link: u32,
    /// Whether the gateway is taken to be on the link although no address there says so.
    pub onlink: bool,
}

/// Which hardware address a gateway behind the vxlan has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbour {
    pub ip: Ipv4Addr,
    pub mac: Mac,
}

/// To which node packets for a hardware address behind the vxlan are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Forward {
    pub mac: Mac,
    pub node: Ipv4Addr,
}

/// What the kernel knows, or should know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    pub routes: BTreeSet<Route>,
    pub neighbours: BTreeSet<Neighbour>,
    pub forwards: BTreeSet<Forward>,
}

/// One step from one state to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    AddNeighbour(Neighbour),
    RemoveNeighbour(Neighbour),
    AddForward(Forward),
    RemoveForward(Forward),
    AddRoute(Route),
    RemoveRoute(Route),
}

/// What the kernel should know so that all these nodes are reached: through `link`, which is the vxlan device or, for
/// host gateways, the interface towards the other nodes.
pub fn desired(peers: &[Peer], backend: Backend, link: u32) -> State {
    let mut state = State::default();
    for peer in peers.iter().filter(|peer| peer.backend == backend) {
        match (backend, peer.vtep) {
            (Backend::Vxlan, Some(mac)) => {
                // The first address of its subnet stands for the other end of the vxlan.
                let ip = peer.subnet.network();
                state.neighbours.insert(Neighbour { ip, mac });
                state.forwards.insert(Forward { mac, node: peer.public_ip });
                state.routes.insert(Route { to: peer.subnet, gateway: ip, link, onlink: true });
            }
            (Backend::Vxlan, None) => {}
            (Backend::HostGateway, _) => {
                state.routes.insert(Route { to: peer.subnet, gateway: peer.public_ip, link, onlink: false });
            }
        }
    }
    state
}

/// The steps from what is to what should be.
///
/// Adding puts an entry in place of one with the same key, so such a one needs no removal, and traffic no gap. Routes
/// come last: with the route in place and the neighbour not, the kernel would ask the vxlan who has the gateway.
pub fn steps(now: &State, then: &State) -> Vec<Step> {
    let mut steps = Vec::new();
    let replaced = |old: &Route| then.routes.iter().any(|new| new.to == old.to);
    steps.extend(
        now.routes.difference(&then.routes).filter(|old| !replaced(old)).map(|old| Step::RemoveRoute(*old)),
    );
    let replaced = |old: &Neighbour| then.neighbours.iter().any(|new| new.ip == old.ip);
    let gone = now.neighbours.difference(&then.neighbours).filter(|old| !replaced(old));
    steps.extend(gone.map(|old| Step::RemoveNeighbour(*old)));
    let replaced = |old: &Forward| then.forwards.iter().any(|new| new.mac == old.mac);
    let gone = now.forwards.difference(&then.forwards).filter(|old| !replaced(old));
    steps.extend(gone.map(|old| Step::RemoveForward(*old)));
    steps.extend(then.neighbours.difference(&now.neighbours).map(|new| Step::AddNeighbour(*new)));
    steps.extend(then.forwards.difference(&now.forwards).map(|new| Step::AddForward(*new)));
    steps.extend(then.routes.difference(&now.routes).map(|new| Step::AddRoute(*new)));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: u32 = 7;

    fn peer(subnet: u8, node: u8, mac: u8, backend: Backend) -> Peer {
        Peer {
            subnet: Ipv4Net::new(Ipv4Addr::new(10, 42, subnet, 0), 24).unwrap(),
            public_ip: Ipv4Addr::new(192, 168, 9, node),
            backend,
            vtep: (backend == Backend::Vxlan).then_some([2, 0, 0, 0, 0, mac]),
        }
    }

    fn told(steps: &[Step]) -> Vec<String> {
        steps
            .iter()
            .map(|step| match step {
                Step::AddNeighbour(n) => format!("+neighbour {} {}", n.ip, n.mac[5]),
                Step::RemoveNeighbour(n) => format!("-neighbour {} {}", n.ip, n.mac[5]),
                Step::AddForward(f) => format!("+forward {} {}", f.mac[5], f.node),
                Step::RemoveForward(f) => format!("-forward {} {}", f.mac[5], f.node),
                Step::AddRoute(r) => {
                    format!("+route {} via {}{}", r.to, r.gateway, if r.onlink { " onlink" } else { "" })
                }
                Step::RemoveRoute(r) => format!("-route {} via {}", r.to, r.gateway),
            })
            .collect()
    }

    #[test]
    fn nodes_come_change_and_go() {
        use Backend::{HostGateway, Vxlan};
        type Case<'a> = (Backend, &'a [Peer], &'a [Peer], &'a [&'a str]);
        let cases: &[Case<'_>] = &[
            (
                Vxlan,
                &[],
                &[peer(1, 11, 1, Vxlan), peer(2, 12, 2, HostGateway)],
                &[
                    "+neighbour 10.42.1.0 1",
                    "+forward 1 192.168.9.11",
                    "+route 10.42.1.0/24 via 10.42.1.0 onlink",
                ],
            ),
            (Vxlan, &[peer(1, 11, 1, Vxlan)], &[peer(1, 11, 1, Vxlan)], &[]),
            (Vxlan, &[peer(1, 11, 1, Vxlan)], &[peer(1, 12, 1, Vxlan)], &["+forward 1 192.168.9.12"]),
            (
                Vxlan,
                &[peer(1, 11, 1, Vxlan)],
                &[peer(1, 11, 3, Vxlan)],
                &["-forward 1 192.168.9.11", "+neighbour 10.42.1.0 3", "+forward 3 192.168.9.11"],
            ),
            (
                Vxlan,
                &[peer(1, 11, 1, Vxlan)],
                &[],
                &["-route 10.42.1.0/24 via 10.42.1.0", "-neighbour 10.42.1.0 1", "-forward 1 192.168.9.11"],
            ),
            (HostGateway, &[], &[peer(1, 11, 1, HostGateway)], &["+route 10.42.1.0/24 via 192.168.9.11"]),
            (
                HostGateway,
                &[peer(1, 11, 1, HostGateway)],
                &[peer(1, 12, 1, HostGateway)],
                &["+route 10.42.1.0/24 via 192.168.9.12"],
            ),
        ];
        for (backend, before, after, expected) in cases {
            let steps = steps(&desired(before, *backend, LINK), &desired(after, *backend, LINK));
            assert_eq!(told(&steps), *expected, "{before:?} to {after:?}");
        }
    }
}
