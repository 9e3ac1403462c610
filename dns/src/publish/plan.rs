//! What is to be published, and what that takes.

use std::net::{IpAddr, SocketAddr};

use client::k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use crate::config::PORT;

/// Where the Service lives: where every tool looks for it.
pub const NAMESPACE: &str = "kube-system";

/// What it is called: the name from the days before CoreDNS, which policies and tools still go by.
pub const SERVICE: &str = "kube-dns";

/// Who manages the slices, so that nobody else does.
const MANAGER: &str = "dns.isopod";

/// The protocols of DNS with the names that their ports have.
const PORTS: [(&str, &str); 2] = [("dns", "UDP"), ("dns-tcp", "TCP")];

/// Where this server is.
#[derive(Debug, Clone)]
pub struct Site {
    pub node: String,
    /// Where this server is reached, by family.
    pub endpoints: Vec<SocketAddr>,
    /// Where the Service is reached.
    pub cluster_dns: Vec<IpAddr>,
}

/// What it takes to make an object as desired.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Nothing,
    Create,
    Mend,
}

/// Compares an object with what is desired of it; fields that nothing is desired of are free.
pub fn step(found: &Value, desired: &Value) -> Step {
    match found {
        Value::Null => Step::Create,
        found if says(found, desired) => Step::Nothing,
        _ => Step::Mend,
    }
}

/// Whether `found` says all that `desired` says.
fn says(found: &Value, desired: &Value) -> bool {
    match (found, desired) {
        (Value::Object(found), Value::Object(desired)) => {
            desired.iter().all(|(key, desired)| found.get(key).is_some_and(|found| says(found, desired)))
        }
        (Value::Array(found), Value::Array(desired)) => {
            found.len() == desired.len()
                && found.iter().zip(desired).all(|(found, desired)| says(found, desired))
        }
        (found, desired) => found == desired,
    }
}

impl Site {
    /// The Service.
    pub fn service(&self) -> Value {
        let target = self.endpoints.first().map_or(PORT, SocketAddr::port);
        let ports = PORTS.map(|(name, protocol)| {
            json!({"name": name, "protocol": protocol, "port": PORT, "targetPort": target})
        });
        let mut spec = json!({"type": "ClusterIP", "ports": ports});
        if let Some(first) = self.cluster_dns.first() {
            spec["clusterIP"] = json!(first);
            spec["clusterIPs"] = json!(self.cluster_dns);
        }
        if self.cluster_dns.len() > 1 {
            spec["ipFamilyPolicy"] = json!("RequireDualStack");
        }
        let labels = json!({
            "k8s-app": SERVICE,
            "kubernetes.io/cluster-service": "true",
            "kubernetes.io/name": "CoreDNS",
        });
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": SERVICE, "namespace": NAMESPACE, "labels": labels},
            "spec": spec,
        })
    }

    /// Why the Service that exists cannot be this one's.
    pub fn obstacle(&self, found: &Service) -> Option<String> {
        let spec = found.spec.as_ref()?;
        let selects = spec.selector.as_ref().is_some_and(|selector| !selector.is_empty());
        if selects {
            return Some(format!(
                "the Service {NAMESPACE}/{SERVICE} selects pods of somebody else's DNS and is left to it; delete it \
                 to have this server found"
            ));
        }
        let address = spec.cluster_ip.as_deref().unwrap_or_default();
        let wanted = self.cluster_dns.first()?.to_string();
        (address != wanted).then(|| {
            format!(
                "the Service {NAMESPACE}/{SERVICE} has the address {address:?} and not --cluster-dns {wanted}; \
                 delete it to have it made anew"
            )
        })
    }

    /// The names of the slices.
    pub fn slice_names(&self) -> Vec<String> {
        self.endpoints.iter().map(|endpoint| self.slice_name(endpoint)).collect()
    }

    fn slice_name(&self, endpoint: &SocketAddr) -> String {
        let family = if endpoint.is_ipv4() { "" } else { "-ipv6" };
        format!("{SERVICE}-{}{family}", self.node)
    }

    /// The slices, which go with the Node where its identity is known.
    pub fn slices(&self, node: Option<&str>) -> Vec<Value> {
        self.endpoints.iter().map(|endpoint| self.slice(endpoint, node)).collect()
    }

    fn slice(&self, endpoint: &SocketAddr, node: Option<&str>) -> Value {
        let ports = PORTS
            .map(|(name, protocol)| json!({"name": name, "protocol": protocol, "port": endpoint.port()}));
        let labels = json!({
            "k8s-app": SERVICE,
            "kubernetes.io/service-name": SERVICE,
            "endpointslice.kubernetes.io/managed-by": MANAGER,
        });
        let name = self.slice_name(endpoint);
        let mut slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
            "addressType": if endpoint.is_ipv4() { "IPv4" } else { "IPv6" },
            "endpoints": [self.endpoint(endpoint, true)],
            "ports": ports,
        });
        if let Some(uid) = node {
            slice["metadata"]["ownerReferences"] =
                json!([{"apiVersion": "v1", "kind": "Node", "name": self.node, "uid": uid}]);
        }
        slice
    }

    fn endpoint(&self, endpoint: &SocketAddr, stays: bool) -> Value {
        json!({
            "addresses": [endpoint.ip()],
            "nodeName": self.node,
            "conditions": {"ready": stays, "serving": true, "terminating": !stays},
        })
    }

    /// The slices' changes when this server is about to go: a proxy with other servers uses those, one without still
    /// comes here, where the next one starts within moments.
    pub fn leaving(&self) -> Vec<Value> {
        let slice = |endpoint| {
            json!({
                "metadata": {"name": self.slice_name(endpoint)},
                "endpoints": [self.endpoint(endpoint, false)],
            })
        };
        self.endpoints.iter().map(slice).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Site {
        Site {
            node: "n1".to_owned(),
            endpoints: vec!["10.0.0.1:10053".parse().unwrap()],
            cluster_dns: vec!["10.43.0.10".parse().unwrap()],
        }
    }

    #[test]
    fn objects_and_what_they_take() {
        let service = site().service();
        let altered = |change: &dyn Fn(&mut Value)| {
            let mut service = service.clone();
            change(&mut service);
            service
        };
        let cases = [
            (json!(null), Step::Create),
            (service.clone(), Step::Nothing),
            (altered(&|found| found["metadata"]["uid"] = json!("u")), Step::Nothing),
            (altered(&|found| found["metadata"]["labels"] = json!({})), Step::Mend),
            (altered(&|found| found["spec"]["ports"][0]["port"] = json!(54)), Step::Mend),
            (altered(&|found| found["spec"]["ports"] = json!([])), Step::Mend),
        ];
        for (found, expected) in cases {
            assert_eq!(step(&found, &service), expected, "{found}");
        }
    }

    #[test]
    fn services_that_are_in_the_way() {
        let cases = [
            (json!({"clusterIP": "10.43.0.10"}), None),
            (json!({"clusterIP": "10.43.0.11"}), Some("has the address \"10.43.0.11\"")),
            (json!({"clusterIP": "10.43.0.10", "selector": {"k8s-app": "kube-dns"}}), Some("selects pods")),
        ];
        for (spec, expected) in cases {
            let found: Service = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
            let obstacle = site().obstacle(&found);
            assert_eq!(obstacle.is_some(), expected.is_some(), "{spec}");
            assert!(obstacle.unwrap_or_default().contains(expected.unwrap_or_default()), "{spec}");
        }
    }

    #[test]
    fn a_slice_leaves_as_it_came() {
        let (come, leave) = (site().slices(Some("u")), site().leaving());
        assert_eq!(come[0]["metadata"]["name"], leave[0]["metadata"]["name"]);
        assert_eq!(come[0]["metadata"]["ownerReferences"][0]["uid"], "u");
        let conditions = |slice: &Value| slice["endpoints"][0]["conditions"].clone();
        assert_eq!(conditions(&come[0]), json!({"ready": true, "serving": true, "terminating": false}));
        assert_eq!(conditions(&leave[0]), json!({"ready": false, "serving": true, "terminating": true}));
    }
}
