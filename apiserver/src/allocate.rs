//! What Services are given: addresses in the cluster and ports on the nodes.
//!
//! An address is taken by making an `IPAddress` object of its name: the store lets only one be made, so that any
//! number of servers agree, and nothing is to be repaired after a crash but objects whose Service never came to be.
//! Node ports are counted in memory, filled from the Services at the first use.

mod address;
mod port;

use async_trait::async_trait;
use serde_json::Value;

use crate::fault::Fault;
use crate::field::FieldError;
use crate::kind::service::{kind, needs_health_port, needs_node_ports, wants_address};
use crate::kind::{Finish, Hooks, fill};
use crate::server::Server;

pub(crate) use port::NodePorts;

/// What was taken for a Service, and what of the old one it no longer needs.
#[derive(Debug, Default)]
struct Claim {
    addresses: Vec<String>,
    ports: Vec<u16>,
    freed_addresses: Vec<String>,
    freed_ports: Vec<u16>,
}

impl Claim {
    /// Gives back what turns out not to be needed.
    async fn settle(self, server: &Server, stored: bool) {
        let (addresses, ports) =
            if stored { (self.freed_addresses, self.freed_ports) } else { (self.addresses, self.ports) };
        server.node_ports().release(&ports);
        for ip in addresses {
            address::release(server, &ip).await;
        }
    }

    fn finish(self) -> Option<Finish> {
        Some(Box::new(move |server, stored| Box::pin(self.settle(server, stored))))
    }
}

/// Gives Services their addresses and ports.
#[derive(Debug)]
pub(crate) struct Services;

#[async_trait]
impl Hooks for Services {
    async fn begin_create(
        &self,
        server: &Server,
        service: &mut Value,
        dry_run: bool,
    ) -> Result<Option<Finish>, Fault> {
        begin(server, service, None, dry_run).await
    }

    async fn begin_update(
        &self,
        server: &Server,
        new: &mut Value,
        old: &Value,
        dry_run: bool,
    ) -> Result<Option<Finish>, Fault> {
        begin(server, new, Some(old), dry_run).await
    }

    async fn after_delete(&self, server: &Server, service: &Value) {
        server.node_ports().release(&ports_of(service));
        for ip in addresses_of(service) {
            address::release(server, &ip).await;
        }
    }
}

async fn begin(
    server: &Server,
    service: &mut Value,
    old: Option<&Value>,
    dry_run: bool,
) -> Result<Option<Finish>, Fault> {
    let mut claim = Claim::default();
    let result = fill_in(server, service, old, dry_run, &mut claim).await;
    if let Err(fault) = result {
        claim.settle(server, false).await;
        return Err(fault);
    }
    if dry_run {
        claim.settle(server, false).await;
        return Ok(None);
    }
    Ok(claim.finish())
}

async fn fill_in(
    server: &Server,
    service: &mut Value,
    old: Option<&Value>,
    dry_run: bool,
    claim: &mut Claim,
) -> Result<(), Fault> {
    address::normalize(service, old);
    let name = fill::text(service, "metadata.name").to_owned();
    let refuse = |errors: Vec<FieldError>| Fault::invalid("", "Service", &name, &errors);
    if kind(service) != "ExternalName" {
        address::plan(service, &server.settings().service_cluster_ip_range).map_err(refuse)?;
    }
    let had = old.map(addresses_of).unwrap_or_default();
    if wants_address(service) {
        address::allocate(server, service, &had, dry_run, &mut claim.addresses).await.map_err(refuse)?;
    }
    let keeps = addresses_of(service);
    claim.freed_addresses = had.into_iter().filter(|ip| !keeps.contains(ip)).collect();
    let had = old.map(ports_of).unwrap_or_default();
    let ports = server.node_ports();
    ports.fill(server);
    if needs_node_ports(service) {
        port::allocate(ports, service, &had, &mut claim.ports).map_err(refuse)?;
    }
    if needs_health_port(service) {
        port::allocate_health(ports, service, &had, &mut claim.ports)?;
    }
    let keeps = ports_of(service);
    claim.freed_ports = had.into_iter().filter(|port| !keeps.contains(port)).collect();
    Ok(())
}

/// The addresses that a Service holds.
fn addresses_of(service: &Value) -> Vec<String> {
    fill::list(service, "spec.clusterIPs")
        .iter()
        .filter_map(Value::as_str)
        .filter(|ip| *ip != "None" && !ip.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The node ports that a Service holds.
fn ports_of(service: &Value) -> Vec<u16> {
    fill::list(service, "spec.ports")
        .iter()
        .filter_map(|port| fill::int(port, "nodePort"))
        .chain(fill::int(service, "spec.healthCheckNodePort"))
        .filter_map(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0)
        .collect()
}
