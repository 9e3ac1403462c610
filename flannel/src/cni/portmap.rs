//! The `portmap` plugin: leads ports of the node into a container.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::Deserialize;

use super::call::{Call, Command};
use super::fault::Fault;
use super::firewall::{self, Mapping};
use super::network;
use super::result::Success;

#[derive(Debug, Deserialize)]
struct Config {
    #[serde(default, rename = "runtimeConfig")]
    runtime: Runtime,
}

#[derive(Debug, Default, Deserialize)]
struct Runtime {
    #[serde(default, rename = "portMappings")]
    mappings: Vec<Wanted>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    host_port: u16,
    container_port: u16,
    #[serde(default)]
    protocol: String,
    #[serde(default, rename = "hostIP")]
    host_ip: String,
}

pub(super) async fn run(call: &Call) -> Result<Option<Success>, Fault> {
    let config: Config = call.config()?;
    let previous = call.previous()?;
    let address = previous.as_ref().and_then(address);
    match call.command {
        Command::Add => {
            let previous = previous.ok_or_else(|| {
                Fault::configuration("portmap must come after a plugin that makes an interface")
            })?;
            let mappings = mappings(call, &config, address)?;
            if !mappings.is_empty() {
                open_loopback(&previous, &mappings)?;
                firewall::map(&mappings).await?;
            }
            Ok(Some(previous))
        }
        Command::Del => {
            // Where the ports led does not matter for taking them away.
            let anywhere = Some(address.unwrap_or(Ipv4Addr::UNSPECIFIED));
            for mapping in mappings(call, &config, anywhere)? {
                firewall::unmap(&mapping).await?;
            }
            Ok(None)
        }
        // The rules of all containers are one table; that it is whole shows in each ADD.
        Command::Check | Command::Version => Ok(None),
    }
}

/// The container's address.
fn address(result: &Success) -> Option<Ipv4Addr> {
    result.ips.iter().find_map(|ip| match ip.address {
        IpNet::V4(address) => Some(address.addr()),
        IpNet::V6(_) => None,
    })
}

fn mappings<'a>(
    call: &'a Call,
    config: &Config,
    address: Option<Ipv4Addr>,
) -> Result<Vec<Mapping<'a>>, Fault> {
    let mut mappings = Vec::new();
    for wanted in config.runtime.mappings.iter().filter(|wanted| wanted.host_port != 0) {
        let protocol = match wanted.protocol.to_ascii_lowercase().as_str() {
            "" | "tcp" => "tcp",
            "udp" => "udp",
            "sctp" => "sctp",
            other => return Err(Fault::configuration(format!("portMappings: {other:?} is no protocol"))),
        };
        let host_address = match wanted.host_ip.as_str() {
            "" => None,
            text => match text
                .parse()
                .map_err(|_| Fault::configuration(format!("portMappings: {text:?} is no address")))?
            {
                IpAddr::V4(ip) if ip.is_unspecified() => None,
                IpAddr::V4(ip) => Some(ip),
                // IPv6 has no rules yet; the other mappings stand on their own.
                IpAddr::V6(_) => continue,
            },
        };
        let Some(address) = address else {
            return Err(Fault::plugin("the container has no IPv4 address for its ports to lead to"));
        };
        mappings.push(Mapping {
            container: &call.container,
            protocol,
            host_address,
            host_port: wanted.host_port,
            address,
            port: wanted.container_port,
        });
    }
    Ok(mappings)
}

/// Lets packets from 127.0.0.1 be translated to the container, where a port is to answer there.
fn open_loopback(previous: &Success, mappings: &[Mapping<'_>]) -> Result<(), Fault> {
    if !mappings.iter().any(|mapping| mapping.host_address.is_none_or(|address| address.is_loopback())) {
        return Ok(());
    }
    for interface in previous.interfaces.iter().filter(|interface| interface.sandbox.is_empty()) {
        network::sysctl(&format!("net/ipv4/conf/{}/route_localnet", interface.name), "1")?;
    }
    Ok(())
}
