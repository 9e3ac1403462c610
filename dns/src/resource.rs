//! The fields of API objects that names depend on, and no others.

use std::borrow::Cow;
use std::net::IpAddr;

use client::k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery};
use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use client::kube::Resource;
use serde::{Deserialize, Deserializer};

/// The label by which a slice names its Service.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A Service.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Service {
    #[serde(deserialize_with = "identity")]
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: ServiceSpec,
}

/// What a Service says of its names.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSpec {
    #[serde(rename = "type")]
    pub type_: Option<Box<str>>,
    /// None of them where the Service is headless: `None` is no address.
    #[serde(rename = "clusterIPs", deserialize_with = "addresses")]
    pub cluster_ips: Vec<IpAddr>,
    pub external_name: Option<Box<str>>,
    #[serde(deserialize_with = "or_default")]
    pub ports: Vec<Port>,
    #[serde(deserialize_with = "or_default")]
    pub publish_not_ready_addresses: bool,
}

/// A port of a Service or of a slice.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Port {
    #[serde(deserialize_with = "or_default")]
    pub name: Box<str>,
    pub protocol: Option<Box<str>>,
    #[serde(deserialize_with = "or_default")]
    pub port: u16,
}

/// Some of the endpoints of a Service.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Slice {
    #[serde(deserialize_with = "identity")]
    pub metadata: ObjectMeta,
    #[serde(default, deserialize_with = "or_default")]
    pub endpoints: Vec<Endpoint>,
    #[serde(default, deserialize_with = "or_default")]
    pub ports: Vec<Port>,
}

/// One place behind a Service.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    #[serde(deserialize_with = "addresses")]
    pub addresses: Vec<IpAddr>,
    pub hostname: Option<Box<str>>,
    #[serde(deserialize_with = "or_default")]
    pub conditions: Conditions,
}

/// How an endpoint is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Conditions {
    pub ready: Option<bool>,
}

/// A Namespace.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Namespace {
    #[serde(deserialize_with = "identity")]
    pub metadata: ObjectMeta,
}

/// A Node.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Node {
    #[serde(deserialize_with = "identity")]
    pub metadata: ObjectMeta,
    #[serde(default, deserialize_with = "or_default")]
    pub status: NodeStatus,
}

/// Where a Node is reached.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    #[serde(deserialize_with = "or_default")]
    pub addresses: Vec<NodeAddress>,
}

/// One address of a Node; host names are addresses to the API as well.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NodeAddress {
    #[serde(rename = "type")]
    pub type_: Box<str>,
    pub address: Box<str>,
}

impl Service {
    /// Whether its name stands for its endpoints, as it has no address of its own.
    pub fn is_headless(&self) -> bool {
        self.spec.cluster_ips.is_empty()
    }

    /// The name that its name stands for.
    pub fn alias(&self) -> Option<&str> {
        let external = self.spec.type_.as_deref() == Some("ExternalName");
        self.spec.external_name.as_deref().filter(|name| external && !name.is_empty())
    }
}

impl Port {
    /// Whether this is the port that `_name._protocol` asks for.
    pub fn is(&self, name: &str, protocol: &str) -> bool {
        self.name.eq_ignore_ascii_case(name) && self.speaks(protocol)
    }

    /// Whether this port is reached by the protocol.
    pub fn speaks(&self, protocol: &str) -> bool {
        self.protocol.as_deref().unwrap_or("TCP").eq_ignore_ascii_case(protocol)
    }
}

impl Slice {
    /// The name of the Service it belongs to.
    pub fn service(&self) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(SERVICE_NAME).map(String::as_str)
    }
}

impl Endpoint {
    /// Whether it takes traffic; one that says nothing of it does.
    pub fn is_ready(&self) -> bool {
        self.conditions.ready.unwrap_or(true)
    }
}

impl Node {
    /// Its addresses of one type, such as `InternalIP`, that are addresses.
    pub fn addresses<'a>(&'a self, types: &'a [&str]) -> impl Iterator<Item = IpAddr> + 'a {
        let wanted = self.status.addresses.iter().filter(|address| types.contains(&&*address.type_));
        wanted.filter_map(|address| address.address.parse().ok())
    }
}

/// Lets a narrow struct be watched where the whole one is.
macro_rules! stands_for {
    ($($narrow:ty => $whole:ty),*) => {$(
        impl Resource for $narrow {
            type DynamicType = ();
            type Scope = <$whole as Resource>::Scope;

            fn kind(none: &()) -> Cow<'_, str> {
                <$whole as Resource>::kind(none)
            }
            fn group(none: &()) -> Cow<'_, str> {
                <$whole as Resource>::group(none)
            }
            fn version(none: &()) -> Cow<'_, str> {
                <$whole as Resource>::version(none)
            }
            fn plural(none: &()) -> Cow<'_, str> {
                <$whole as Resource>::plural(none)
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    )*};
}

stands_for! {
    Service => core::Service,
    Slice => discovery::EndpointSlice,
    Namespace => core::Namespace,
    Node => core::Node
}

/// An API list that is empty may be null.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

/// Addresses; what is none (`None`, a host name) is left out.
fn addresses<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpAddr>, D::Error> {
    let texts = Option::<Vec<Cow<'_, str>>>::deserialize(from)?.unwrap_or_default();
    Ok(texts.iter().filter_map(|text| text.parse().ok()).collect())
}

/// The metadata that says which object this is; annotations alone can outweigh all the rest.
fn identity<'de, D: Deserializer<'de>>(from: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Identity {
        name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
        resource_version: Option<String>,
        #[serde(default, deserialize_with = "or_default")]
        labels: Labels,
    }

    #[derive(Default, Deserialize)]
    struct Labels {
        #[serde(rename = "kubernetes.io/service-name")]
        service: Option<String>,
    }

    let Identity { name, namespace, uid, resource_version, labels } = Identity::deserialize(from)?;
    let labels = labels.service.map(|service| [(SERVICE_NAME.to_owned(), service)].into());
    Ok(ObjectMeta { name, namespace, uid, resource_version, labels, ..ObjectMeta::default() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_read_of_a_slice() {
        let slice: Slice = serde_json::from_value(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "FQDN",
            "metadata": {"name": "a-x", "namespace": "d", "annotations": {"a": "b"},
                         "labels": {"kubernetes.io/service-name": "a", "other": "label"}},
            "endpoints": [{"addresses": ["10.42.0.2", "host"], "conditions": {"ready": false}}, {"addresses": ["::1"]}],
            "ports": null,
        }))
        .unwrap();
        assert_eq!(slice.service(), Some("a"));
        let seen: Vec<(usize, bool)> =
            slice.endpoints.iter().map(|each| (each.addresses.len(), each.is_ready())).collect();
        assert_eq!(seen, [(1, false), (1, true)]);
        assert!(slice.metadata.annotations.is_none() && slice.ports.is_empty());
    }

    #[test]
    fn which_services_are_headless() {
        let cases = [
            (json!({"clusterIPs": ["10.43.0.1"]}), false, None),
            (json!({"clusterIP": "None", "clusterIPs": ["None"]}), true, None),
            (json!({"type": "ExternalName", "externalName": "a.example"}), true, Some("a.example")),
        ];
        for (spec, headless, alias) in cases {
            let service: Service =
                serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": spec})).unwrap();
            assert_eq!((service.is_headless(), service.alias()), (headless, alias), "{spec}");
        }
    }
}
