//! Which pods stand behind a service, at which addresses and ports, and in which condition.

use client::k8s_openapi::api::core::v1::{Container, ObjectReference, Pod, Service, ServicePort};
use client::k8s_openapi::api::discovery::v1::EndpointPort;
use client::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use jiff::Timestamp;

use crate::pod;

/// A family of addresses, as services and slices name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    fn has(self, address: &str) -> bool {
        (self == Self::V6) == address.contains(':')
    }
}

/// Whether a service has no address of its own.
pub(crate) fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

/// Whether pods count before they are ready.
pub(crate) fn takes_unready(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false)
}

/// Whether the endpoints of a service are made here: it selects pods and is not another name for something else.
pub(crate) fn is_ours(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| {
        spec.selector.as_ref().is_some_and(|selector| !selector.is_empty())
            && spec.type_.as_deref() != Some("ExternalName")
    })
}

/// Whether a service selects a pod.
pub(crate) fn selects(service: &Service, pod: &Pod) -> bool {
    let Some(selector) = service.spec.as_ref().and_then(|spec| spec.selector.as_ref()) else { return false };
    selector.iter().all(|(name, value)| pod::label(&pod.metadata, name) == Some(value))
}

/// The families a service has; one from before dual stack has that of its address.
pub(crate) fn families(service: &Service) -> Vec<Family> {
    let spec = service.spec.as_ref();
    let named: Vec<Family> = spec
        .and_then(|spec| spec.ip_families.as_ref())
        .into_iter()
        .flatten()
        .map(|family| if family == "IPv6" { Family::V6 } else { Family::V4 })
        .collect();
    if !named.is_empty() {
        return named;
    }
    let own = spec.and_then(|spec| spec.cluster_ip.as_deref()).unwrap_or_default();
    vec![if own.contains(':') { Family::V6 } else { Family::V4 }]
}

/// The pod's address of a family.
pub(crate) fn address(pod: &Pod, family: Family) -> Option<&str> {
    let status = pod.status.as_ref()?;
    let many = status.pod_ips.iter().flatten().map(|entry| entry.ip.as_str());
    many.chain(status.pod_ip.as_deref()).find(|address| !address.is_empty() && family.has(address))
}

/// The port of a pod that a service's port leads to; a name is looked up among the pod's containers.
pub(crate) fn target(pod: &Pod, port: &ServicePort) -> Option<i32> {
    let protocol = protocol(port);
    match port.target_port.as_ref() {
        None => Some(port.port),
        Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            let sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
            let init = spec.init_containers.iter().flatten().filter(sidecar);
            let mut ports =
                spec.containers.iter().chain(init).flat_map(|container| container.ports.iter().flatten());
            let fits = |port: &&client::k8s_openapi::api::core::v1::ContainerPort| {
                port.name.as_deref() == Some(name) && port.protocol.as_deref().unwrap_or("TCP") == protocol
            };
            ports.find(fits).map(|port| port.container_port)
        }
    }
}

fn protocol(port: &ServicePort) -> &str {
    port.protocol.as_deref().unwrap_or("TCP")
}

/// The service's ports as they are on this pod; one that the pod does not have is left out.
pub(crate) fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref());
    let on_pod = |port: &ServicePort| {
        Some(EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(target(pod, port)?),
            protocol: Some(protocol(port).to_owned()),
            app_protocol: port.app_protocol.clone(),
        })
    };
    ports.into_iter().flatten().filter_map(on_pod).collect()
}

/// The name a pod has under a headless service, where it asks for one.
pub(crate) fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let hostname = spec.hostname.as_ref().filter(|hostname| !hostname.is_empty())?;
    (spec.subdomain.is_some() && spec.subdomain == service.metadata.name).then(|| hostname.clone())
}

/// What names the pod in an endpoint.
pub(crate) fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// The latest moment at which the service or a pod changed in a way that its endpoints show.
pub(crate) fn trigger<'a>(service: &Service, pods: impl Iterator<Item = &'a Pod>) -> Option<Timestamp> {
    let since = |pod: &Pod| pod::condition(pod, "Ready")?.last_transition_time.as_ref().map(|time| time.0);
    pods.filter_map(since).chain(service.metadata.creation_timestamp.as_ref().map(|time| time.0)).max()
}

/// The annotation that says when what led to the endpoints happened.
pub(crate) const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// The label of endpoints of a headless service.
pub(crate) const HEADLESS: &str = "service.kubernetes.io/headless";
