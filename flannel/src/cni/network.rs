//! The links that the bridge plugin makes: the bridge, the pair that joins a container to it, and what is on them.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::path::Path;

use ipnet::{IpNet, Ipv4Net};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::RouteScope;
use rtnetlink::{LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, RouteMessageBuilder};

use super::fault::Fault;
use super::result::{Address, Route};
use crate::netlink::{Link, Mac, Netlink};

/// How often another name is tried for the host's end of a pair; 32 random bits collide about never.
const NAME_TRIES: usize = 4;

/// The bridge of this name, made and brought up where needed.
pub(super) async fn bridge(
    netlink: &Netlink,
    name: &str,
    mtu: Option<u32>,
    promiscuous: bool,
) -> Result<Link, Fault> {
    if netlink.link(name).await?.is_none() {
        // With an address of its own the bridge does not take that of whichever container came first.
        let mut message = LinkBridge::new(name).address(random_mac().to_vec());
        if let Some(mtu) = mtu {
            message = message.mtu(mtu);
        }
        match netlink.add_link(name, message.build()).await {
            // Another container's call was faster.
            Err(error) if error.exists() => {}
            made => made?,
        }
    }
    let link =
        netlink.link(name).await?.ok_or_else(|| Fault::plugin(format!("the bridge {name} vanished")))?;
    if link.kind != Some(InfoKind::Bridge) {
        return Err(Fault::plugin(format!(
            "{name} exists and is no bridge; remove it or choose another name"
        )));
    }
    if promiscuous {
        let message = LinkUnspec::new_with_index(link.index).promiscuous(true).build();
        netlink.change_link(name, message).await?;
    }
    if !link.up {
        netlink.up(&link).await?;
    }
    Ok(link)
}

/// Makes a pair of links: one end in the container under `inner`, the other here, in the bridge. Gives the name here.
pub(super) async fn pair(
    netlink: &Netlink,
    namespace: &Path,
    inner: &str,
    bridge: &Link,
    mtu: Option<u32>,
) -> Result<String, Fault> {
    let target = File::open(namespace).map_err(|error| {
        Fault::unknown_container(format!("could not open {}: {error}", namespace.display()))
    })?;
    for _ in 0..NAME_TRIES {
        let outer = format!("veth{:08x}", rand::random::<u32>());
        let peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name(inner)
            .append_extra_attribute(LinkAttribute::NetNsFd(target.as_raw_fd()));
        let mut message = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::Veth)
            .name(outer.clone())
            .controller(bridge.index)
            .up();
        let mut peer = peer.address(random_mac().to_vec());
        if let Some(mtu) = mtu {
            (peer, message) = (peer.mtu(mtu), message.mtu(mtu));
        }
        let message = message.set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build()))).build();
        match netlink.add_link(&outer, message).await {
            Ok(()) => return Ok(outer),
            // One of the two names is taken; only the outer one is worth another try.
            Err(error) if error.exists() && netlink.link(&outer).await?.is_some() => {}
            Err(error) if error.exists() => {
                return Err(Fault::plugin(format!("the container has an interface {inner} already")));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Fault::plugin("no free name for a link was found"))
}

/// Lets a container reach itself through the bridge.
pub(super) async fn hairpin(netlink: &Netlink, port: &Link) -> Result<(), Fault> {
    Ok(netlink.change_link(&port.name, LinkBridgePort::new(port.index).hairpin(true).build()).await?)
}

/// Gives the bridge the gateway's address. `force` takes away another one of the same family that it has.
pub(super) async fn gateway(
    netlink: &Netlink,
    bridge: &Link,
    address: IpNet,
    force: bool,
) -> Result<(), Fault> {
    for other in netlink.addresses(bridge).await? {
        let same_family = other.addr().is_ipv4() == address.addr().is_ipv4();
        let link_local = matches!(other.addr(), IpAddr::V6(ip) if ip.is_unicast_link_local());
        if other == address || !same_family || link_local {
            continue;
        }
        if force {
            netlink.delete_address(bridge, other).await?;
        } else if address.addr().is_ipv4() {
            return Err(Fault::plugin(format!(
                "{} has the address {other}, not {address}; forceAddress would replace it",
                bridge.name
            )));
        }
    }
    Ok(netlink.add_address(bridge, address).await?)
}

/// Gives a container its addresses and routes and brings its interface up.
pub(super) async fn settle(
    inside: &Netlink,
    link: &Link,
    ips: &[Address],
    routes: &[Route],
) -> Result<(), Fault> {
    for ip in ips {
        inside.add_address(link, ip.address).await?;
    }
    inside.up(link).await?;
    for route in routes {
        let gateway = route.gw.or_else(|| {
            let same = ips.iter().find(|ip| ip.address.addr().is_ipv4() == route.dst.addr().is_ipv4());
            same.and_then(|ip| ip.gateway)
        });
        let what = format!("to {} in the container", route.dst);
        let message = match (route.dst, gateway) {
            (IpNet::V4(dst), Some(IpAddr::V4(gateway))) => v4(dst, link).gateway(gateway).build(),
            (IpNet::V4(dst), None) => v4(dst, link).scope(RouteScope::Link).build(),
            (IpNet::V6(dst), Some(IpAddr::V6(gateway))) => RouteMessageBuilder::<std::net::Ipv6Addr>::new()
                .destination_prefix(dst.network(), dst.prefix_len())
                .output_interface(link.index)
                .gateway(gateway)
                .build(),
            _ => {
                return Err(Fault::configuration(format!(
                    "the route to {} has no gateway of its family",
                    route.dst
                )));
            }
        };
        inside.put_route(&what, message).await?;
    }
    Ok(())
}

fn v4(dst: Ipv4Net, link: &Link) -> RouteMessageBuilder<Ipv4Addr> {
    RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(dst.network(), dst.prefix_len())
        .output_interface(link.index)
}

/// Tells the node which hardware address an address has now: it may remember that of a container before.
pub(super) async fn introduce(netlink: &Netlink, bridge: &Link, ip: IpAddr, mac: Mac) -> Result<(), Fault> {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = bridge.index;
    message.header.state = NeighbourState::Reachable;
    let address = match ip {
        IpAddr::V4(ip) => {
            message.header.family = AddressFamily::Inet;
            NeighbourAddress::Inet(ip)
        }
        IpAddr::V6(ip) => {
            message.header.family = AddressFamily::Inet6;
            NeighbourAddress::Inet6(ip)
        }
    };
    message.attributes.push(NeighbourAttribute::Destination(address));
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
    Ok(netlink.put_neighbour(message).await?)
}

/// Sets a kernel setting of this namespace, if it is not so already.
pub(super) fn sysctl(path: &str, value: &str) -> Result<(), Fault> {
    let file = format!("/proc/sys/{path}");
    if std::fs::read_to_string(&file).is_ok_and(|now| now.trim() == value) {
        return Ok(());
    }
    std::fs::write(&file, value)
        .map_err(|error| Fault::io(format!("could not write {value} to {file}: {error}")))
}

/// A hardware address that is local, for one station, and nobody's yet.
fn random_mac() -> Mac {
    let mut mac: Mac = rand::random();
    mac[0] = (mac[0] | 0x02) & 0xfe;
    mac
}
