//! The `bridge` plugin: joins a container to a bridge on the node.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

use super::call::{Call, Command};
use super::fault::Fault;
use super::result::{Address, Dns, Interface, Route, Success};
use super::{BRIDGE, delegate, firewall, network};
use crate::netlink::{Link, Netlink, NetlinkError};

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Config {
    bridge: Option<String>,
    is_gateway: bool,
    is_default_gateway: bool,
    force_address: bool,
    ip_masq: bool,
    mtu: u32,
    hairpin_mode: bool,
    promisc_mode: bool,
    vlan: u16,
    macspoofchk: bool,
    ipam: Ipam,
    dns: Option<Dns>,
}

#[derive(Debug, Default, Deserialize)]
struct Ipam {
    #[serde(default, rename = "type")]
    plugin: String,
}

impl Config {
    fn of(call: &Call) -> Result<Self, Fault> {
        let mut config: Self = call.config()?;
        config.is_gateway |= config.is_default_gateway;
        if config.hairpin_mode && config.promisc_mode {
            return Err(Fault::configuration("hairpinMode and promiscMode exclude each other"));
        }
        if config.vlan != 0 || config.macspoofchk {
            return Err(Fault::unsupported("vlan and macspoofchk are not built in"));
        }
        Ok(config)
    }

    fn name(&self) -> &str {
        self.bridge.as_deref().unwrap_or(BRIDGE)
    }

    fn mtu(&self) -> Option<u32> {
        Some(self.mtu).filter(|mtu| *mtu != 0)
    }
}

pub(super) async fn run(call: &Call) -> Result<Option<Success>, Fault> {
    let config = Config::of(call)?;
    match call.command {
        Command::Add => add(call, &config).await.map(Some),
        Command::Del => del(call, &config).await.map(|()| None),
        Command::Check => check(call, &config).await.map(|()| None),
        Command::Version => Ok(None),
    }
}

async fn add(call: &Call, config: &Config) -> Result<Success, Fault> {
    let inside = Netlink::inside(call.namespace()?)?;
    // Checked before anything is made: what another ADD has made must not be undone because this one is refused.
    if inside.link(&call.interface).await?.is_some() {
        return Err(Fault::plugin(format!("the container has an interface {} already", call.interface)));
    }
    match join(call, config, &inside).await {
        Ok(success) => Ok(success),
        Err(fault) => {
            // A failed ADD leaves nothing; what cannot be undone now is undone by the DEL that follows.
            drop(del(&call.as_command(Command::Del), config).await);
            Err(fault)
        }
    }
}

async fn join(call: &Call, config: &Config, inside: &Netlink) -> Result<Success, Fault> {
    let namespace = call.namespace()?;
    let netlink = Netlink::here()?;
    let bridge = network::bridge(&netlink, config.name(), config.mtu(), config.promisc_mode).await?;
    let outer = network::pair(&netlink, namespace, &call.interface, &bridge, config.mtu()).await?;
    let port = present(&netlink, &outer).await?;
    if config.hairpin_mode {
        network::hairpin(&netlink, &port).await?;
    }
    let inner = present(inside, &call.interface).await?;
    let mut success = addresses(call, config).await?;
    network::settle(inside, &inner, &success.ips, &success.routes).await?;
    serve(&netlink, config, &bridge, &inner, &success.ips).await?;
    let sandbox = namespace.display().to_string();
    let on_host =
        |link: &Link| Interface { name: link.name.clone(), mac: link.mac_text(), sandbox: String::new() };
    success.interfaces = vec![
        on_host(&bridge),
        on_host(&port),
        Interface { name: inner.name.clone(), mac: inner.mac_text(), sandbox },
    ];
    Ok(success)
}

async fn present(netlink: &Netlink, name: &str) -> Result<Link, Fault> {
    netlink.link(name).await?.ok_or_else(|| Fault::plugin(format!("the link {name} vanished")))
}

/// The addresses and routes that the container gets.
async fn addresses(call: &Call, config: &Config) -> Result<Success, Fault> {
    /// The container's link among the interfaces of the result, after the bridge and the link on the host.
    const INNER: usize = 2;
    if config.ipam.plugin.is_empty() {
        return Ok(Success { dns: config.dns.clone().unwrap_or_default(), ..Success::default() });
    }
    let mut success = delegate::call(&config.ipam.plugin, call).await?.unwrap_or_default();
    if success.ips.is_empty() {
        return Err(Fault::plugin(format!("{} gave no address", config.ipam.plugin)));
    }
    for ip in &mut success.ips {
        ip.interface = Some(INNER);
        if config.is_gateway && ip.gateway.is_none() {
            ip.gateway = ip.address.hosts().next();
        }
    }
    if config.is_default_gateway {
        for ip in &success.ips {
            let dst = if ip.address.addr().is_ipv4() { "0.0.0.0/0" } else { "::/0" };
            let dst: IpNet = dst.parse().map_err(|_| Fault::plugin("no default route"))?;
            if !success.routes.iter().any(|route| route.dst == dst) {
                success.routes.push(Route { dst, gw: ip.gateway });
            }
        }
    }
    if let Some(dns) = &config.dns {
        success.dns = dns.clone();
    }
    Ok(success)
}

/// Makes the node the container's router.
async fn serve(
    netlink: &Netlink,
    config: &Config,
    bridge: &Link,
    inner: &Link,
    ips: &[Address],
) -> Result<(), Fault> {
    for ip in ips {
        let address = ip.address;
        if config.is_gateway
            && let Some(gateway) = ip.gateway
            && let Ok(gateway) = IpNet::new(gateway, address.prefix_len())
        {
            network::gateway(netlink, bridge, gateway, config.force_address).await?;
            let family =
                if address.addr().is_ipv4() { "net/ipv4/ip_forward" } else { "net/ipv6/conf/all/forwarding" };
            network::sysctl(family, "1")?;
        }
        if let Some(mac) = inner.mac {
            network::introduce(netlink, bridge, address.addr(), mac).await?;
        }
        if config.ip_masq
            && let IpNet::V4(address) = address
        {
            firewall::masquerade(address.addr(), address.trunc()).await?;
        }
    }
    Ok(())
}

/// Undoes an ADD, however far it came.
async fn del(call: &Call, config: &Config) -> Result<(), Fault> {
    // Whatever address management says, the link goes; a DEL that failed comes again.
    let released = match config.ipam.plugin.as_str() {
        "" => Ok(None),
        plugin => delegate::call(plugin, call).await,
    };
    part(call, config).await?;
    released.map(|_| ())
}

/// Takes the container off the bridge.
async fn part(call: &Call, config: &Config) -> Result<(), Fault> {
    let mut ips: Vec<IpAddr> =
        call.previous()?.iter().flat_map(|previous| &previous.ips).map(|ip| ip.address.addr()).collect();
    if let Some(namespace) = call.namespace.as_deref().filter(|namespace| namespace.exists()) {
        let inside = match Netlink::inside(namespace) {
            Ok(inside) => Some(inside),
            // The file is left over; the namespace went, and the link with it.
            Err(NetlinkError::Namespace { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(inside) = inside
            && let Some(link) = inside.link(&call.interface).await?
        {
            ips.extend(inside.addresses(&link).await?.iter().map(|address| address.addr()));
            inside.delete_link(&link).await?;
        }
    }
    if config.ip_masq {
        for ip in ips {
            if let IpAddr::V4(ip) = ip {
                firewall::unmasquerade(ip).await?;
            }
        }
    }
    Ok(())
}

/// Compares what is there with what ADD said it made.
async fn check(call: &Call, config: &Config) -> Result<(), Fault> {
    if !config.ipam.plugin.is_empty() {
        delegate::call(&config.ipam.plugin, call).await?;
    }
    let previous = call.previous()?.ok_or_else(|| Fault::configuration("CHECK needs prevResult"))?;
    let (netlink, inside) = (Netlink::here()?, Netlink::inside(call.namespace()?)?);
    let bridge = present(&netlink, config.name()).await?;
    let gone = |name: &str| Fault::plugin(format!("the link {name} is gone"));
    for interface in &previous.interfaces {
        let at = if interface.sandbox.is_empty() { &netlink } else { &inside };
        let link = at.link(&interface.name).await?.ok_or_else(|| gone(&interface.name))?;
        if !interface.mac.is_empty() && link.mac_text() != interface.mac {
            return Err(Fault::plugin(format!(
                "{} has the hardware address {}, not {}",
                link.name,
                link.mac_text(),
                interface.mac
            )));
        }
        if interface.sandbox.is_empty()
            && interface.name.starts_with("veth")
            && link.master != Some(bridge.index)
        {
            return Err(Fault::plugin(format!("{} is not in the bridge {}", link.name, bridge.name)));
        }
    }
    let link = inside.link(&call.interface).await?.ok_or_else(|| gone(&call.interface))?;
    let has = inside.addresses(&link).await?;
    match previous.ips.iter().find(|ip| !has.contains(&ip.address)) {
        Some(ip) => Err(Fault::plugin(format!("{} has lost the address {}", link.name, ip.address))),
        None => Ok(()),
    }
}
