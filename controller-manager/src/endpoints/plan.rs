//! The Endpoints object of a service: the older form, one object with subsets by ports.

use std::sync::Arc;

use client::k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service,
};
use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::endpointslice::member::{self, HEADLESS, TRIGGER};
use crate::pod;

/// The most addresses in the object; beyond, it is cut and says so (upstream's figure).
const MOST: usize = 1000;

const OVER: &str = "endpoints.kubernetes.io/over-capacity";
pub(super) const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
pub(super) const MANAGER: &str = "endpoint-controller";

/// The object as it must be; `None` where the one there is fits.
pub(super) fn plan(service: &Service, pods: &[Arc<Pod>], old: Option<&Endpoints>) -> Option<Endpoints> {
    let (subsets, over) = subsets(service, pods);
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if member::is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    if let Some(old) = old {
        let same = old.subsets.clone().unwrap_or_default() == subsets
            && old.metadata.labels.as_ref() == Some(&labels)
            && over == (pod::annotation(&old.metadata, OVER).is_some());
        if same {
            return None;
        }
    }
    let mut metadata = old.map_or_else(
        || ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
        |old| old.metadata.clone(),
    );
    metadata.labels = Some(labels);
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.remove(OVER);
    annotations.remove(TRIGGER);
    if over {
        annotations.insert(OVER.to_owned(), "truncated".to_owned());
    }
    if let Some(time) = member::trigger(service, pods.iter().map(|pod| &**pod)) {
        annotations.insert(TRIGGER.to_owned(), time.to_string());
    }
    Some(Endpoints { metadata, subsets: Some(subsets) })
}

struct Member {
    ready: bool,
    address: EndpointAddress,
    ports: Vec<EndpointPort>,
}

fn members(service: &Service, pods: &[Arc<Pod>]) -> Vec<Member> {
    let Some(family) = member::families(service).into_iter().next() else { return Vec::new() };
    let unready = member::takes_unready(service);
    let counts = |pod: &&Arc<Pod>| !pod::is_finished(pod) && (unready || !pod::is_leaving(pod));
    let member = |pod: &Arc<Pod>| {
        let ports: Vec<_> = member::ports(service, pod)
            .into_iter()
            .map(|port| EndpointPort {
                name: port.name.filter(|name| !name.is_empty()),
                port: port.port.unwrap_or(0),
                protocol: port.protocol,
                app_protocol: port.app_protocol,
            })
            .collect();
        // A port that no pod has makes no endpoint, unless the service is headless and asks for none.
        let portless = service.spec.as_ref().and_then(|spec| spec.ports.as_ref()).is_none_or(Vec::is_empty);
        if ports.is_empty() && !(portless && member::is_headless(service)) {
            return None;
        }
        Some(Member {
            ready: unready || pod::is_ready(pod),
            address: EndpointAddress {
                ip: member::address(pod, family)?.to_owned(),
                hostname: member::hostname(service, pod),
                node_name: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
                target_ref: Some(member::reference(pod)),
            },
            ports,
        })
    };
    let mut members: Vec<_> = pods.iter().filter(counts).filter_map(member).collect();
    members.sort_by(|a, b| key(&a.address).cmp(&key(&b.address)));
    members
}

fn key(address: &EndpointAddress) -> (&str, Option<&str>) {
    (&address.ip, address.target_ref.as_ref().and_then(|target| target.uid.as_deref()))
}

fn subsets(service: &Service, pods: &[Arc<Pod>]) -> (Vec<EndpointSubset>, bool) {
    let mut members = members(service, pods);
    let over = members.len() > MOST;
    if over {
        // Ready ones are the last to be cut.
        members.sort_by_key(|member| !member.ready);
        members.truncate(MOST);
        members.sort_by(|a, b| key(&a.address).cmp(&key(&b.address)));
    }
    let mut subsets: Vec<EndpointSubset> = Vec::new();
    for member in members {
        let ports = (!member.ports.is_empty()).then_some(member.ports);
        let at = subsets.iter().position(|subset| subset.ports == ports).unwrap_or_else(|| {
            subsets.push(EndpointSubset { ports, ..EndpointSubset::default() });
            subsets.len() - 1
        });
        let list =
            if member.ready { &mut subsets[at].addresses } else { &mut subsets[at].not_ready_addresses };
        list.get_or_insert_default().push(member.address);
    }
    (subsets, over)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn subsets_by_ports_and_readiness() {
        let service: Service = serde_json::from_value(json!({"metadata": {"namespace": "d", "name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "web"}]}}))
        .unwrap();
        let pod = |ip: &str, ready: bool, port: u16| -> Arc<Pod> {
            let said = if ready { "True" } else { "False" };
            Arc::new(
                serde_json::from_value(json!({"metadata": {"namespace": "d", "name": ip, "uid": ip},
                    "spec": {"containers": [{"name": "c", "ports": [{"name": "web", "containerPort": port}]}]},
                    "status": {"podIP": ip, "phase": "Running",
                        "conditions": [{"type": "Ready", "status": said}]}}))
                .unwrap(),
            )
        };
        let pods = [pod("10.0.0.2", true, 1), pod("10.0.0.1", false, 1), pod("10.0.0.3", true, 2)];
        let made = plan(&service, &pods, None).unwrap();
        let said = serde_json::to_value(made.subsets.as_ref().unwrap()).unwrap();
        let ips = |at: usize, list: &str| said[at][list].as_array().map_or(0, Vec::len);
        assert_eq!((ips(0, "addresses"), ips(0, "notReadyAddresses"), ips(1, "addresses")), (1, 1, 1));
        assert_eq!(said[1]["ports"], json!([{"port": 2, "protocol": "TCP"}]));
        assert_eq!(plan(&service, &pods, Some(&made)), None);
    }
}
