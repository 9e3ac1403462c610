//! Which slices a service's endpoints are spread over, changed as little as possible.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::k8s_openapi::api::core::v1::{Node, Pod, Service};
use client::k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use client::object::controller_ref;

use super::member::{self, Family, HEADLESS, TRIGGER};
use crate::pod;

/// The most endpoints in a slice: a change of one endpoint sends its whole slice to every node (upstream's figure).
const MOST: usize = 100;

/// The label of a node that says where it stands.
pub(super) const ZONE: &str = "topology.kubernetes.io/zone";
pub(super) const SERVICE: &str = "kubernetes.io/service-name";
pub(super) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub(super) const MANAGER: &str = "endpointslice-controller.k8s.io";

/// The slices to write.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) create: Vec<EndpointSlice>,
    pub(super) update: Vec<EndpointSlice>,
    pub(super) delete: Vec<Arc<EndpointSlice>>,
}

/// Endpoints that have the same ports, and so may share slices.
struct Group {
    ports: Vec<EndpointPort>,
    endpoints: Vec<Endpoint>,
}

/// Compares the slices there are with those that fit these pods.
pub(super) fn plan(
    service: &Service,
    pods: &[Arc<Pod>],
    node: impl Fn(&str) -> Option<Arc<Node>>,
    slices: &[Arc<EndpointSlice>],
) -> Plan {
    let mut plan = Plan::default();
    let families = member::families(service);
    let labels = labels(service);
    let trigger = member::trigger(service, pods.iter().map(|pod| &**pod)).map(|time| time.to_string());
    for family in &families {
        let groups = groups(service, pods, *family, &node);
        let mut left: Vec<_> = slices.iter().filter(|slice| slice.address_type == family.text()).collect();
        for group in groups {
            let (same, others) = left.into_iter().partition(|slice| is_for(slice, &group.ports));
            left = others;
            arrange(service, *family, group, same, &labels, trigger.as_deref(), &mut plan);
        }
        plan.delete.extend(left.into_iter().cloned());
    }
    let foreign =
        |slice: &&Arc<EndpointSlice>| families.iter().all(|family| family.text() != slice.address_type);
    plan.delete.extend(slices.iter().filter(foreign).cloned());
    plan
}

fn is_for(slice: &EndpointSlice, ports: &[EndpointPort]) -> bool {
    let mut has = slice.ports.clone().unwrap_or_default();
    sort(&mut has);
    has == ports
}

fn sort(ports: &mut [EndpointPort]) {
    ports.sort_by(|a, b| (&a.name, a.port, &a.protocol).cmp(&(&b.name, b.port, &b.protocol)));
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if member::is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(SERVICE.to_owned(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}

/// The endpoints by their ports. A service without any keeps one empty slice, to say that it has been looked at.
fn groups(
    service: &Service,
    pods: &[Arc<Pod>],
    family: Family,
    node: &impl Fn(&str) -> Option<Arc<Node>>,
) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for pod in pods.iter().filter(|pod| !pod::is_finished(pod)) {
        let Some(address) = member::address(pod, family) else { continue };
        let mut ports = member::ports(service, pod);
        sort(&mut ports);
        let endpoint = endpoint(service, pod, address, node);
        match groups.iter_mut().find(|group| group.ports == ports) {
            Some(group) => group.endpoints.push(endpoint),
            None => groups.push(Group { ports, endpoints: vec![endpoint] }),
        }
    }
    if groups.is_empty() {
        groups.push(Group { ports: Vec::new(), endpoints: Vec::new() });
    }
    groups
}

fn endpoint(
    service: &Service,
    pod: &Pod,
    address: &str,
    node: &impl Fn(&str) -> Option<Arc<Node>>,
) -> Endpoint {
    let node_name = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    let node = node_name.as_deref().and_then(node);
    let (serving, terminating) = (pod::is_ready(pod), pod::is_leaving(pod));
    Endpoint {
        addresses: vec![address.to_owned()],
        conditions: Some(EndpointConditions {
            ready: Some(member::takes_unready(service) || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: member::hostname(service, pod),
        zone: node.and_then(|node| pod::label(&node.metadata, ZONE).map(str::to_owned)),
        node_name,
        target_ref: Some(member::reference(pod)),
        ..Endpoint::default()
    }
}

/// Spreads a group over the slices it has: first what is there stays where it is, then room is filled, then
/// slices are added; emptied ones go.
fn arrange(
    service: &Service,
    family: Family,
    group: Group,
    slices: Vec<&Arc<EndpointSlice>>,
    labels: &BTreeMap<String, String>,
    trigger: Option<&str>,
    plan: &mut Plan,
) {
    let uid = |endpoint: &Endpoint| endpoint.target_ref.as_ref().and_then(|target| target.uid.clone());
    let empty = group.endpoints.is_empty();
    let mut wanted: BTreeMap<_, _> = group.endpoints.into_iter().map(|one| (uid(&one), one)).collect();
    let mut kept: Vec<(&Arc<EndpointSlice>, Vec<Endpoint>)> = Vec::new();
    for slice in slices {
        let stays = |had: &Endpoint| wanted.remove(&uid(had));
        kept.push((slice, slice.endpoints.iter().flatten().filter_map(stays).collect()));
    }
    let mut added = wanted.into_values();
    // The fullest first, so that slices stay few.
    kept.sort_by_key(|(_, endpoints)| std::cmp::Reverse(endpoints.len()));
    for (_, endpoints) in &mut kept {
        let room = MOST.saturating_sub(endpoints.len());
        endpoints.extend(added.by_ref().take(room));
    }
    let mut placeholder = empty;
    for (slice, endpoints) in kept {
        if endpoints.is_empty() && !std::mem::take(&mut placeholder) {
            plan.delete.push(Arc::clone(slice));
        } else if slice.endpoints.clone().unwrap_or_default() != endpoints
            || slice.metadata.labels.as_ref() != Some(labels)
        {
            let mut slice = EndpointSlice::clone(slice);
            slice.metadata.labels = Some(labels.clone());
            slice.endpoints = Some(endpoints);
            stamp(&mut slice.metadata, trigger);
            plan.update.push(slice);
        }
    }
    loop {
        let endpoints: Vec<_> = added.by_ref().take(MOST).collect();
        if endpoints.is_empty() && !std::mem::take(&mut placeholder) {
            break;
        }
        plan.create.push(fresh(service, family, &group.ports, endpoints, labels, trigger));
    }
}

fn stamp(meta: &mut ObjectMeta, trigger: Option<&str>) {
    let annotations = meta.annotations.get_or_insert_default();
    match trigger {
        Some(time) => annotations.insert(TRIGGER.to_owned(), time.to_owned()),
        None => annotations.remove(TRIGGER),
    };
}

fn fresh(
    service: &Service,
    family: Family,
    ports: &[EndpointPort],
    endpoints: Vec<Endpoint>,
    labels: &BTreeMap<String, String>,
    trigger: Option<&str>,
) -> EndpointSlice {
    let mut metadata = ObjectMeta {
        generate_name: Some(format!("{}-", service.metadata.name.as_deref().unwrap_or_default())),
        namespace: service.metadata.namespace.clone(),
        labels: Some(labels.clone()),
        owner_references: Some(vec![controller_ref(service)]),
        ..ObjectMeta::default()
    };
    stamp(&mut metadata, trigger);
    EndpointSlice {
        metadata,
        address_type: family.text().to_owned(),
        endpoints: Some(endpoints),
        ports: Some(ports.to_vec()),
    }
}
