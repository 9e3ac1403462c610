//! The fence: routes that keep packets for pods and services from leaving by the default route.
//!
//! They are the first thing the daemon makes and outlive it, as the rules do. Their metric is the highest, and real
//! routes to pods are narrower, so they count only where nothing else does.
//!
//! The pod range is unreachable. The service range cannot be: the kernel routes what the node itself sends before it
//! translates addresses, and would refuse packets that the rules are about to translate. It leads to the loopback
//! device instead, and the rules refuse what they have not translated.

use std::net::Ipv4Addr;

use anyhow::Context as _;
use ipnet::Ipv4Net;
use netlink_packet_route::route::{RouteMessage, RouteScope, RouteType};
use rtnetlink::{Handle, RouteMessageBuilder};

use crate::plan::Options;

/// The index of `lo` in every network namespace.
const LOOPBACK: u32 = 1;

/// Loses against every other route to the same range.
const METRIC: u32 = u32::MAX;

/// `EEXIST` and `ESRCH` as netlink reports them.
const EXISTS: i32 = -17;
const NO_SUCH: i32 = -3;

/// A connection to the kernel's routing tables.
///
/// # Errors
/// Where there is no netlink socket to be had.
pub fn connect(context: &daemon::Context) -> anyhow::Result<Handle> {
    let (connection, handle, _) = rtnetlink::new_connection().context("could not open a netlink socket")?;
    context.spawn("netlink", async move {
        connection.await;
        anyhow::bail!("the netlink connection ended")
    });
    Ok(handle)
}

/// Puts up the fence; what is there already stays.
///
/// # Errors
/// Where the kernel refuses a route; the message names its range.
pub async fn fence(netlink: &Handle, options: &Options) -> anyhow::Result<()> {
    for (range, route) in routes(options) {
        match netlink.route().add(route).execute().await {
            Ok(()) => {}
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == EXISTS => {}
            Err(error) => return Err(error).with_context(|| format!("could not fence {range} off")),
        }
    }
    Ok(())
}

/// Takes the fence down.
///
/// # Errors
/// Where the kernel refuses; a route that is not there is no reason.
pub async fn withdraw(netlink: &Handle, options: &Options) -> anyhow::Result<()> {
    for (range, route) in routes(options) {
        match netlink.route().del(route).execute().await {
            Ok(()) => {}
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == NO_SUCH => {}
            Err(error) => {
                return Err(error).with_context(|| format!("could not remove the fence of {range}"));
            }
        }
    }
    Ok(())
}

fn routes(options: &Options) -> Vec<(Ipv4Net, RouteMessage)> {
    let pods = options.pods.iter().map(|range| (*range, base(*range).kind(RouteType::Unreachable).build()));
    let services = options
        .services
        .iter()
        .map(|range| (*range, base(*range).scope(RouteScope::Link).output_interface(LOOPBACK).build()));
    pods.chain(services).collect()
}

fn base(range: Ipv4Net) -> RouteMessageBuilder<Ipv4Addr> {
    RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(range.network(), range.prefix_len())
        .priority(METRIC)
}
