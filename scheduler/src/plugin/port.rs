//! A port of a node is given to one pod.

use client::k8s_openapi::api::core::v1::{Container, ContainerPort, PodSpec};

use super::{Refusal, Room, Wanted};

pub(super) fn filter(wanted: &Wanted<'_>, room: &Room) -> Result<(), Refusal> {
    let taken = |port: &ContainerPort| {
        let mut others = room.pods.iter().filter_map(|pod| pod.spec.as_ref()).flat_map(host_ports);
        others.any(|other| collide(port, other))
    };
    if !host_ports(wanted.spec).any(taken) {
        return Ok(());
    }
    let reasons = vec!["node(s) didn't have free ports for the requested pod ports".to_owned()];
    Err(Refusal { reasons, is_crowded: true })
}

fn host_ports(spec: &PodSpec) -> impl Iterator<Item = &ContainerPort> {
    let sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten().filter(sidecar));
    containers.flat_map(|container| container.ports.iter().flatten()).filter(|port| number(port) > 0)
}

fn number(port: &ContainerPort) -> i32 {
    port.host_port.unwrap_or(0)
}

fn collide(one: &ContainerPort, other: &ContainerPort) -> bool {
    fn protocol(port: &ContainerPort) -> &str {
        port.protocol.as_deref().filter(|protocol| !protocol.is_empty()).unwrap_or("TCP")
    }
    // Upstream takes the unspecified address of IPv4 for "every address", and no other.
    fn address(port: &ContainerPort) -> &str {
        port.host_ip.as_deref().filter(|address| !address.is_empty()).unwrap_or("0.0.0.0")
    }
    let everywhere = [one, other].iter().any(|port| address(port) == "0.0.0.0");
    number(one) == number(other)
        && protocol(one) == protocol(other)
        && (everywhere || address(one) == address(other))
}
