//! Which interface leads to the other nodes.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, bail};
use netlink_packet_route::route::{RouteAttribute, RouteMessage};

use crate::netlink::{Link, Netlink};

/// The interface towards the other nodes and this node's address on it.
#[derive(Debug, Clone)]
pub struct External {
    pub link: Link,
    pub ip: Ipv4Addr,
}

/// Finds it: the one that was named, by name or address; else the one with the address that the kubelet reports; else
/// the one of the default route.
///
/// # Errors
/// Where there is none; the message says which flag helps.
pub async fn external(
    netlink: &Netlink,
    named: Option<&str>,
    internal_ip: Option<Ipv4Addr>,
) -> anyhow::Result<External> {
    if let Some(named) = named {
        let found = match named.parse() {
            Ok(ip) => with_address(netlink, ip).await?,
            Err(_) => match netlink.link(named).await? {
                Some(link) => first_address(netlink, link).await?,
                None => None,
            },
        };
        return found
            .with_context(|| format!("--iface: no interface {named} with an IPv4 address was found"));
    }
    if let Some(ip) = internal_ip
        && let Some(found) = with_address(netlink, ip).await?
    {
        return Ok(found);
    }
    if let Some(index) = netlink.routes().await?.iter().filter_map(default_link).next()
        && let Some(link) = netlink.links().await?.into_iter().find(|link| link.index == index)
        && let Some(found) = first_address(netlink, link).await?
    {
        return Ok(found);
    }
    bail!(
        "no interface towards the other nodes was found: there is no default route and the node reports no address of this host; name one with --iface"
    )
}

async fn with_address(netlink: &Netlink, ip: Ipv4Addr) -> anyhow::Result<Option<External>> {
    for link in netlink.links().await? {
        if netlink.addresses(&link).await?.iter().any(|address| address.addr() == ip) {
            return Ok(Some(External { link, ip }));
        }
    }
    Ok(None)
}

async fn first_address(netlink: &Netlink, link: Link) -> anyhow::Result<Option<External>> {
    let addresses = netlink.addresses(&link).await?;
    let first = addresses.iter().find_map(|address| match address.addr() {
        IpAddr::V4(ip) if !ip.is_link_local() => Some(ip),
        _ => None,
    });
    Ok(first.map(|ip| External { link, ip }))
}

fn default_link(route: &RouteMessage) -> Option<u32> {
    if route.header.destination_prefix_length != 0 {
        return None;
    }
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}
