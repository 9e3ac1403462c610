//! From a Service's port to the addresses of the pods behind it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::model::{Service, ServicePort, Slice};

/// How an Ingress names the port of a Service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortName {
    Name(String),
    Number(i32),
}

impl PortName {
    fn fits(&self, port: &ServicePort) -> bool {
        match self {
            Self::Name(name) => *name == port.name,
            Self::Number(number) => *number == port.port,
        }
    }
}

/// The addresses to send requests for this port to: those that are ready or, while all are going away, those that
/// still answer. IPv4 where there is any, as nodes always have that; otherwise IPv6.
pub fn addresses(service: &Service, slices: &[Arc<Slice>], port: &PortName) -> Vec<SocketAddr> {
    let wanted =
        service.spec.ports.iter().find(|candidate| is_tcp(&candidate.protocol) && port.fits(candidate));
    let Some(wanted) = wanted else { return Vec::new() };
    for family in ["IPv4", "IPv6"] {
        let (mut ready, mut leaving) = (BTreeSet::new(), BTreeSet::new());
        for slice in slices.iter().filter(|slice| slice.address_type == family) {
            let number = slice.ports.iter().flatten().find(|candidate| {
                is_tcp(&candidate.protocol) && candidate.name.as_deref().unwrap_or_default() == wanted.name
            });
            let number = number.and_then(|port| port.port).and_then(|number| u16::try_from(number).ok());
            let Some(number) = number.filter(|number| *number != 0) else { continue };
            for endpoint in slice.endpoints.iter().flatten() {
                // All addresses of one endpoint are the same pod.
                let first = endpoint.addresses.first().and_then(|text| text.parse::<IpAddr>().ok());
                let Some(address) = first.map(|address| SocketAddr::new(address, number)) else { continue };
                let conditions = endpoint.conditions.unwrap_or_default();
                if conditions.ready() {
                    ready.insert(address);
                } else if conditions.leaving() {
                    leaving.insert(address);
                }
            }
        }
        let usable = if ready.is_empty() { leaving } else { ready };
        if !usable.is_empty() {
            return usable.into_iter().collect();
        }
    }
    Vec::new()
}

fn is_tcp(protocol: &Option<String>) -> bool {
    protocol.as_deref().is_none_or(|protocol| protocol == "TCP" || protocol.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn slice(family: &str, port: Value, endpoints: Value) -> Arc<Slice> {
        let value = json!({"metadata": {"name": "s"}, "addressType": family, "ports": [port], "endpoints": endpoints});
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn ports_and_conditions() {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "s"},
            "spec": {"ports": [
                {"name": "web", "port": 80, "protocol": "TCP"},
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "admin", "port": 81},
            ]},
        }))
        .unwrap();
        let web = json!({"name": "web", "port": 8080, "protocol": "TCP"});
        let at =
            |address: &str, conditions: Value| json!([{"addresses": [address], "conditions": conditions}]);
        let slices = [
            slice("IPv4", web.clone(), at("10.0.0.2", json!({"ready": true}))),
            slice("IPv4", web.clone(), at("10.0.0.1", json!({}))),
            slice("IPv4", web.clone(), at("10.0.0.1", json!({"ready": true}))),
            slice(
                "IPv4",
                web.clone(),
                at("10.0.0.3", json!({"ready": false, "serving": true, "terminating": true})),
            ),
            slice("IPv4", web.clone(), at("10.0.0.4", json!({"ready": false, "serving": true}))),
            slice("IPv6", web, at("fd00::1", json!({"ready": true}))),
            slice("IPv6", json!({"name": "admin", "port": 9}), at("fd00::1", Value::Null)),
            slice("IPv4", json!({"name": "dns", "port": 53, "protocol": "UDP"}), at("10.0.0.1", json!({}))),
        ];
        let name = |name: &str| PortName::Name(name.to_owned());
        let cases: &[(&[usize], PortName, &[&str])] = &[
            (&[0, 1, 2, 3, 4, 5], name("web"), &["10.0.0.1:8080", "10.0.0.2:8080"]),
            (&[0, 1], PortName::Number(80), &["10.0.0.1:8080", "10.0.0.2:8080"]),
            (&[3, 4], name("web"), &["10.0.0.3:8080"]),
            (&[4, 5], name("web"), &["[fd00::1]:8080"]),
            (&[0, 7], PortName::Number(53), &[]),
            (&[0], PortName::Number(8080), &[]),
            (&[0], name("admin"), &[]),
            (&[], name("web"), &[]),
        ];
        for (which, port, expected) in cases {
            let chosen: Vec<Arc<Slice>> = which.iter().map(|index| Arc::clone(&slices[*index])).collect();
            let found = addresses(&service, &chosen, port);
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, *expected, "{which:?} {port:?}");
        }
        assert_eq!(addresses(&service, &slices[6..7], &name("admin")).len(), 1);
    }
}
