//! The kinds that are read, each with only the fields that matter here.

use std::collections::BTreeMap;

use client::k8s_openapi::ByteString;
use client::k8s_openapi::api::core::v1 as core;
use client::k8s_openapi::api::discovery::v1::EndpointSlice;
use client::k8s_openapi::api::networking::v1 as networking;
use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

/// The label by which a slice names its Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// An Ingress. Annotations stay: the older way to name a class is one.
pub type Ingress = networking::Ingress;

/// An IngressClass.
pub type IngressClass = networking::IngressClass;

/// The ports of a Service.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Service {
    #[serde(deserialize_with = "client::narrow::meta")]
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: ServiceSpec,
}
client::narrow!(Service as core::Service);

#[derive(Clone, Debug, Default, Deserialize)]
pub struct ServiceSpec {
    #[serde(default)]
    pub ports: Vec<ServicePort>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct ServicePort {
    #[serde(default)]
    pub name: String,
    pub port: i32,
    pub protocol: Option<String>,
}

/// Addresses behind a Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Slice {
    #[serde(deserialize_with = "client::narrow::meta")]
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub address_type: String,
    /// Absent and `null` are the same to the API.
    pub endpoints: Option<Vec<Endpoint>>,
    pub ports: Option<Vec<SlicePort>>,
}
client::narrow!(Slice as EndpointSlice);

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Endpoint {
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Absent and `null` are the same to the API.
    pub conditions: Option<Conditions>,
}

/// Where one is missing it means what it says at its getter.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct SlicePort {
    pub name: Option<String>,
    pub port: Option<i32>,
    pub protocol: Option<String>,
}

/// A certificate and its key.
#[derive(Clone, Deserialize)]
pub struct Secret {
    #[serde(deserialize_with = "client::narrow::meta")]
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub data: BTreeMap<String, ByteString>,
}
client::narrow!(Secret as core::Secret);

/// Where a node is, and whether it is well.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Node {
    #[serde(deserialize_with = "client::narrow::meta")]
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub status: NodeStatus,
}
client::narrow!(Node as core::Node);

#[derive(Clone, Debug, Default, Deserialize)]
pub struct NodeStatus {
    #[serde(default)]
    pub addresses: Vec<Typed>,
    #[serde(default)]
    pub conditions: Vec<Typed>,
}

/// An address or a condition: a type and what it has.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Typed {
    #[serde(rename = "type")]
    pub type_: String,
    #[serde(default)]
    pub address: String,
    #[serde(default)]
    pub status: String,
}

impl Conditions {
    /// Whether it takes new requests.
    pub fn ready(self) -> bool {
        self.ready.unwrap_or(true)
    }

    /// Whether it is going away but still answers.
    pub fn leaving(self) -> bool {
        self.terminating.unwrap_or(false) && self.serving.unwrap_or(true)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret").field("name", &self.metadata.name).finish_non_exhaustive()
    }
}
