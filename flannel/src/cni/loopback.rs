//! The `loopback` plugin: brings a container's own loopback interface up.

use super::call::{Call, Command};
use super::fault::Fault;
use super::result::{Address, Interface, Success};
use crate::netlink::Netlink;

pub(super) async fn run(call: &Call) -> Result<Option<Success>, Fault> {
    if call.command == Command::Del {
        // The interface goes with its namespace.
        return Ok(None);
    }
    let namespace = call.namespace()?;
    let netlink = Netlink::inside(namespace)?;
    let link =
        netlink.link("lo").await?.ok_or_else(|| Fault::plugin("the container has no loopback interface"))?;
    if call.command == Command::Check {
        return if link.up { Ok(None) } else { Err(Fault::plugin("the loopback interface is down")) };
    }
    netlink.up(&link).await?;
    if let Some(previous) = call.previous()? {
        return Ok(Some(previous));
    }
    let sandbox = namespace.display().to_string();
    let interface = Interface { name: link.name.clone(), mac: link.mac_text(), sandbox };
    let addresses = netlink.addresses(&link).await?;
    let ips =
        addresses.into_iter().map(|address| Address { address, gateway: None, interface: Some(0) }).collect();
    Ok(Some(Success { interfaces: vec![interface], ips, ..Success::default() }))
}
