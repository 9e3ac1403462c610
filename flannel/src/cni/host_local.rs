//! The `host-local` plugin: gives out addresses of this node's ranges, one file each, as upstream lays them out.
//!
//! `DIR/NETWORK/ADDRESS` holds the container's identity and the interface's name; `last_reserved_ip.N` says where the
//! search in the N-th set of ranges goes on, so that an address rests as long as possible before it comes again.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::call::{Call, Command};
use super::fault::Fault;
use super::result::{Address, Dns, Route, Success};

mod range;
mod store;

use range::{Range, next};
use store::Store;

#[derive(Debug, Deserialize)]
struct Config {
    #[serde(default)]
    ipam: Ipam,
    #[serde(default, rename = "runtimeConfig")]
    runtime: Runtime,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ipam {
    #[serde(default)]
    ranges: Vec<Vec<Range>>,
    #[serde(default)]
    routes: Vec<Route>,
    #[serde(default)]
    data_dir: Option<PathBuf>,
    #[serde(default)]
    resolv_conf: Option<PathBuf>,
    /// The older way to say a single range.
    #[serde(flatten)]
    single: Option<Range>,
}

#[derive(Debug, Default, Deserialize)]
struct Runtime {
    /// Addresses that the container wants.
    #[serde(default)]
    ips: Vec<String>,
}

pub(super) fn run(call: &Call) -> Result<Option<Success>, Fault> {
    let config: Config = call.config()?;
    let folder = config.ipam.data_dir.clone().unwrap_or_else(|| "/var/lib/cni/networks".into());
    let store = Store::open(&folder.join(&call.network))?;
    match call.command {
        Command::Add => add(call, &config, &store).map(Some),
        Command::Del => store.release(&call.container, &call.interface).map(|()| None),
        Command::Check if store.of(&call.container, &call.interface)?.is_empty() => {
            Err(Fault::plugin(format!("container {} has no address on {}", call.container, call.interface)))
        }
        Command::Check | Command::Version => Ok(None),
    }
}

fn add(call: &Call, config: &Config, store: &Store) -> Result<Success, Fault> {
    let sets = sets(&config.ipam)?;
    let mut wanted = wanted(call, &config.runtime)?;
    let held = store.of(&call.container, &call.interface)?;
    if let Some(address) = held.first() {
        return Err(Fault::plugin(format!(
            "{address} has been given to container {} on {} already",
            call.container, call.interface
        )));
    }
    let mut ips = Vec::new();
    for (number, set) in sets.iter().enumerate() {
        let explicit = wanted.iter().position(|ip| set.iter().any(|range| range.contains(*ip)));
        let explicit = explicit.map(|at| wanted.swap_remove(at));
        let given = match explicit {
            Some(ip) => reserve(call, store, number, set, ip),
            None => allocate(call, store, number, set),
        };
        match given {
            Ok(address) => ips.push(address),
            Err(fault) => {
                // All or nothing.
                store.release(&call.container, &call.interface)?;
                return Err(fault);
            }
        }
    }
    if let Some(ip) = wanted.first() {
        store.release(&call.container, &call.interface)?;
        return Err(Fault::configuration(format!("{ip} was asked for but is in none of the ranges")));
    }
    let dns = config.ipam.resolv_conf.as_deref().map(resolver).transpose()?.unwrap_or_default();
    Ok(Success { interfaces: Vec::new(), ips, routes: config.ipam.routes.clone(), dns })
}

/// The ranges, each set giving one address.
fn sets(ipam: &Ipam) -> Result<Vec<Vec<Range>>, Fault> {
    let mut sets: Vec<Vec<Range>> = Vec::new();
    sets.extend(ipam.single.clone().map(|range| vec![range]));
    sets.extend(ipam.ranges.iter().cloned());
    if sets.is_empty() || sets.iter().any(Vec::is_empty) {
        return Err(Fault::configuration("ipam names no range to take addresses from"));
    }
    for range in sets.iter_mut().flatten() {
        range.complete()?;
    }
    Ok(sets)
}

/// The addresses asked for, from the runtime or from `IP=` in the arguments.
fn wanted(call: &Call, runtime: &Runtime) -> Result<Vec<IpAddr>, Fault> {
    let argument = call.args.split(';').find_map(|pair| pair.strip_prefix("IP="));
    let texts =
        runtime.ips.iter().map(String::as_str).chain(argument.into_iter().flat_map(|all| all.split(',')));
    texts
        .filter(|text| !text.is_empty())
        .map(|text| {
            let plain = text.split('/').next().unwrap_or(text);
            plain
                .parse()
                .map_err(|_| Fault::configuration(format!("{text:?} was asked for but is no address")))
        })
        .collect()
}

fn reserve(call: &Call, store: &Store, set: usize, ranges: &[Range], ip: IpAddr) -> Result<Address, Fault> {
    let range = ranges.iter().find(|range| range.contains(ip));
    let range = range.ok_or_else(|| Fault::configuration(format!("{ip} is in none of the ranges")))?;
    if range.gateway() == Some(ip) {
        return Err(Fault::configuration(format!("{ip} was asked for but is the gateway")));
    }
    if !store.reserve(ip, &call.container, &call.interface, set)? {
        return Err(Fault::plugin(format!("{ip} was asked for but belongs to another container")));
    }
    Ok(range.address(ip))
}

fn allocate(call: &Call, store: &Store, set: usize, ranges: &[Range]) -> Result<Address, Fault> {
    let last = store.last(set);
    for (range, ip) in next(ranges, last) {
        if store.reserve(ip, &call.container, &call.interface, set)? {
            return Ok(range.address(ip));
        }
    }
    let all: Vec<String> = ranges.iter().map(ToString::to_string).collect();
    Err(Fault::plugin(format!("no address is left in {}", all.join(", "))))
}

/// Reads resolver settings from a file like `/etc/resolv.conf`.
fn resolver(path: &Path) -> Result<Dns, Fault> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Fault::io(format!("could not read {}: {error}", path.display())))?;
    let mut dns = Dns::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => dns.nameservers.extend(words.map(str::to_owned)),
            Some("domain") => dns.domain = words.next().map(str::to_owned),
            Some("search") => dns.search.extend(words.map(str::to_owned)),
            Some("options") => dns.options.extend(words.map(str::to_owned)),
            _ => {}
        }
    }
    Ok(dns)
}
