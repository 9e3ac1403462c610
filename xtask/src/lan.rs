//! A LAN in a network namespace: a bridge, the machine on one port, each host on another; no route leads out.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Result;

use crate::program::run;
use crate::site::Site;

/// Where `ip netns` keeps the names of namespaces.
const NAMES: &str = "/run/netns";

/// The bridge's name inside its namespace.
const BRIDGE: &str = "lan";

/// Makes the LAN with the machine on it, where it is not there yet.
///
/// # Errors
/// Where `ip` refuses; the message has its words.
pub fn make(site: &Site) -> Result<()> {
    let lan = site.lan();
    if !exists(&lan) {
        run("ip", &["netns", "add", &lan])?;
        run("ip", &["-n", &lan, "link", "add", BRIDGE, "type", "bridge"])?;
        run("ip", &["-n", &lan, "link", "set", BRIDGE, "up"])?;
    }
    let link = site.link();
    if !Path::new("/sys/class/net").join(&link).exists() {
        plug(&lan, "machine", &["link", "add", &link, "type", "veth"])?;
        run("ip", &["addr", "add", &format!("{}/24", site.machine()), "dev", &link])?;
        run("ip", &["link", "set", &link, "up"])?;
    }
    Ok(())
}

/// Makes a host's network namespace and puts it on the LAN.
///
/// # Errors
/// Where `ip` refuses.
pub fn join(site: &Site, host: &str, number: u8) -> Result<()> {
    let (lan, namespace) = (site.lan(), site.namespace(host));
    run("ip", &["netns", "add", &namespace])?;
    run("ip", &["-n", &namespace, "link", "set", "lo", "up"])?;
    let address = site.host_address(number);
    let card = hardware(address);
    plug(&lan, host, &["-n", &namespace, "link", "add", "eth0", "address", &card, "type", "veth"])?;
    run("ip", &["-n", &namespace, "addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
    run("ip", &["-n", &namespace, "link", "set", "eth0", "up"])?;
    Ok(())
}

/// The hardware address of a host's network card: as on a real machine, the same after each start, so that
/// neighbours find it again at once.
fn hardware(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    // The first byte says that it is locally administered.
    format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// Takes a host off the LAN and removes its network namespace, where it has one.
///
/// # Errors
/// Where `ip` refuses.
pub fn leave(site: &Site, host: &str) -> Result<()> {
    let (lan, namespace) = (site.lan(), site.namespace(host));
    if !exists(&namespace) {
        return Ok(());
    }
    // The kernel takes its time with what is in a namespace; the bridge's port must be free at once.
    if run("ip", &["-n", &lan, "link", "show", host]).is_ok() {
        run("ip", &["-n", &lan, "link", "delete", host])?;
    }
    run("ip", &["netns", "delete", &namespace])?;
    Ok(())
}

/// Adds a pair of links with one end in a port of the bridge.
fn plug(lan: &str, port: &str, pair: &[&str]) -> Result<()> {
    run("ip", &[pair, &["peer", "name", port, "netns", lan]].concat())?;
    run("ip", &["-n", lan, "link", "set", port, "master", BRIDGE, "up"])?;
    Ok(())
}

/// Removes what [`make`] and [`join`] made, also where only half of it is there; returns the names of what went.
///
/// # Errors
/// Where `ip` refuses.
pub fn remove(site: &Site) -> Result<Vec<String>> {
    let mut gone = Vec::new();
    let link = site.link();
    if Path::new("/sys/class/net").join(&link).exists() {
        run("ip", &["link", "delete", &link])?;
        gone.push(format!("link {link}"));
    }
    for name in namespaces(site) {
        run("ip", &["netns", "delete", &name])?;
        gone.push(format!("namespace {name}"));
    }
    Ok(gone)
}

/// The site's network namespaces that there are.
pub fn namespaces(site: &Site) -> Vec<String> {
    let entries = std::fs::read_dir(NAMES).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| site.owns(name));
    names.sort();
    names
}

/// The file that stands for a namespace.
pub fn file(namespace: &str) -> String {
    format!("{NAMES}/{namespace}")
}

fn exists(namespace: &str) -> bool {
    Path::new(&file(namespace)).exists()
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn cards() {
        assert_eq!(hardware(Ipv4Addr::new(10, 214, 0, 11)), "02:00:0a:d6:00:0b");
    }
}
