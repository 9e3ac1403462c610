//! The vxlan device, and the kernel's state around it.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Context as _;
use ipnet::{IpNet, Ipv4Net};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{InfoData, InfoVxlan};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteNextHopFlags};
use rtnetlink::{LinkUnspec, LinkVxlan, RouteMessageBuilder};

use crate::interface::External;
use crate::netlink::{Link, Mac, Netlink};
use crate::plan::{Forward, Neighbour, Route, State, Step};

/// What vxlan adds to each packet: outer Ethernet, IPv4, UDP and its own header.
pub const OVERHEAD: u32 = 50;

/// What the device must be.
#[derive(Debug, Clone)]
pub struct Vxlan {
    pub vni: u32,
    pub port: u16,
    /// The interface that carries it and the node's address there.
    pub external: External,
    /// The hardware address to give it, so that the other nodes need not learn a new one.
    pub mac: Option<Mac>,
}

/// The device's name, upstream's.
pub fn name(vni: u32) -> String {
    format!("flannel.{vni}")
}

impl Vxlan {
    /// The device's name.
    pub fn name(&self) -> String {
        name(self.vni)
    }

    /// The device, made where it is not there or is another; one that fits is left alone, with all that hangs on it.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub async fn ensure(&self, netlink: &Netlink, subnet: Ipv4Net) -> anyhow::Result<Link> {
        let name = self.name();
        if let Some(link) = netlink.link(&name).await?
            && !self.fits(&link)
        {
            tracing::info!("{name} does not fit the settings and is made anew");
            netlink.delete_link(&link).await?;
        }
        if netlink.link(&name).await?.is_none() {
            self.create(netlink, &name)
                .await
                .context("could not make the vxlan device; does the kernel have CONFIG_VXLAN?")?;
        }
        let link = netlink.link(&name).await?.with_context(|| format!("{name} vanished"))?;
        let mtu = self.mtu();
        if link.mtu != mtu {
            netlink.change_link(&name, LinkUnspec::new_with_index(link.index).mtu(mtu).build()).await?;
        }
        // One address for the node itself, without a range: routes say what is behind the device.
        let wanted = IpNet::from(IpAddr::V4(subnet.network()));
        for address in netlink.addresses(&link).await? {
            if address != wanted && address.addr().is_ipv4() {
                netlink.delete_address(&link, address).await?;
            }
        }
        netlink.add_address(&link, wanted).await?;
        if !link.up {
            netlink.up(&link).await?;
        }
        Ok(link)
    }

    /// How large packets inside may be.
    pub fn mtu(&self) -> u32 {
        self.external.link.mtu.saturating_sub(OVERHEAD)
    }

    async fn create(&self, netlink: &Netlink, name: &str) -> anyhow::Result<()> {
        let mut message = LinkVxlan::new(name, self.vni)
            .dev(self.external.link.index)
            .local(self.external.ip)
            .port(self.port)
            .learning(false)
            .mtu(self.mtu());
        if let Some(mac) = self.mac {
            message = message.address(mac.to_vec());
        }
        Ok(netlink.add_link(name, message.build()).await?)
    }

    fn fits(&self, link: &Link) -> bool {
        let Some(InfoData::Vxlan(infos)) = &link.data else { return false };
        [
            InfoVxlan::Id(self.vni),
            InfoVxlan::Link(self.external.link.index),
            InfoVxlan::Local(self.external.ip),
            InfoVxlan::Port(self.port),
            InfoVxlan::Learning(false),
        ]
        .iter()
        .all(|wanted| infos.contains(wanted))
    }
}

/// What the kernel knows now: routes by a gateway to parts of `pods`, and permanent entries of the vxlan device.
///
/// # Errors
/// Where the kernel does not answer.
pub async fn observe(netlink: &Netlink, pods: Ipv4Net, vxlan: Option<&Link>) -> anyhow::Result<State> {
    let mut state = State::default();
    let routes = netlink.routes().await?;
    state.routes.extend(routes.iter().filter_map(route_of).filter(|route| pods.contains(&route.to)));
    let Some(link) = vxlan else { return Ok(state) };
    for message in netlink.neighbours(AddressFamily::Inet).await? {
        let permanent = message.header.state == NeighbourState::Permanent;
        if message.header.ifindex == link.index
            && permanent
            && let (Some(ip), Some(mac)) = entry_of(&message)
        {
            state.neighbours.insert(Neighbour { ip, mac });
        }
    }
    for message in netlink.neighbours(AddressFamily::Bridge).await? {
        if message.header.ifindex == link.index
            && let (Some(node), Some(mac)) = entry_of(&message)
        {
            state.forwards.insert(Forward { mac, node });
        }
    }
    Ok(state)
}

fn route_of(message: &RouteMessage) -> Option<Route> {
    let (mut to, mut gateway, mut link) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => to = Some(*ip),
            RouteAttribute::Gateway(RouteAddress::Inet(ip)) => gateway = Some(*ip),
            RouteAttribute::Oif(index) => link = Some(*index),
            _ => {}
        }
    }
    let to = Ipv4Net::new(to?, message.header.destination_prefix_length).ok()?;
    // Flags of the only next hop are in the header, where routes have theirs.
    let onlink = u32::from(RouteNextHopFlags::Onlink.bits()) & message.header.flags.bits() != 0;
    Some(Route { to, gateway: gateway?, link: link?, onlink })
}

fn entry_of(message: &NeighbourMessage) -> (Option<Ipv4Addr>, Option<Mac>) {
    let (mut ip, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => ip = Some(*address),
            // Of forwarding entries the family does not say what the address is; four bytes are IPv4.
            NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
                ip = <[u8; 4]>::try_from(bytes.as_slice()).ok().map(Ipv4Addr::from);
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok(),
            _ => {}
        }
    }
    (ip, mac)
}

/// Takes one step; `vxlan` is the index of the vxlan device, which entries but not routes need.
///
/// # Errors
/// Where the kernel refuses.
pub async fn take(netlink: &Netlink, vxlan: u32, step: Step) -> anyhow::Result<()> {
    match step {
        Step::AddNeighbour(neighbour) => netlink.put_neighbour(neighbour_message(vxlan, neighbour)).await?,
        Step::RemoveNeighbour(neighbour) => {
            netlink.delete_neighbour(neighbour_message(vxlan, neighbour)).await?
        }
        Step::AddForward(forward) => netlink.put_neighbour(forward_message(vxlan, forward)).await?,
        Step::RemoveForward(forward) => netlink.delete_neighbour(forward_message(vxlan, forward)).await?,
        Step::AddRoute(route) => netlink.put_route(&route.to.to_string(), route_message(route)).await?,
        Step::RemoveRoute(route) => netlink.delete_route(&route.to.to_string(), route_message(route)).await?,
    }
    Ok(())
}

fn neighbour_message(link: u32, neighbour: Neighbour) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.ifindex = link;
    message.header.state = NeighbourState::Permanent;
    message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(neighbour.ip)));
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(neighbour.mac.to_vec()));
    message
}

fn forward_message(link: u32, forward: Forward) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = link;
    message.header.state = NeighbourState::Permanent;
    message.header.flags = NeighbourFlags::Own;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(forward.mac.to_vec()));
    message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(forward.node)));
    message
}

fn route_message(route: Route) -> RouteMessage {
    let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(route.to.network(), route.to.prefix_len())
        .gateway(route.gateway)
        .output_interface(route.link);
    if route.onlink {
        builder = builder.onlink();
    }
    builder.build()
}
