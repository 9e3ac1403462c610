//! What ADD has made: interfaces, addresses, routes, resolver settings.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::NEWEST;
use super::fault::Fault;

/// The result of ADD.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Success {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) interfaces: Vec<Interface>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) ips: Vec<Address>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) routes: Vec<Route>,
    #[serde(default)]
    pub(super) dns: Dns,
}

/// A link that is there because of the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Interface {
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) mac: String,
    /// The container's network namespace; empty for links on the host.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) sandbox: String,
}

/// An address, and which of the interfaces has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Address {
    pub(super) address: IpNet,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gateway: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) interface: Option<usize>,
}

/// A route in the container; by the gateway of its address where it names none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Route {
    pub(super) dst: IpNet,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gw: Option<IpAddr>,
}

/// Resolver settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Dns {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) nameservers: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) domain: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) search: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) options: Vec<String>,
}

impl Success {
    /// Reads a result of any version we speak; they differ in a field that says what the address shows.
    pub(super) fn read(value: &Value) -> Result<Self, Fault> {
        Self::deserialize(value)
            .map_err(|error| Fault::undecodable(format!("a result cannot be read: {error}")))
    }

    /// The result as this version of the specification has it.
    pub(super) fn to_json(&self, version: &str) -> Value {
        let mut value = json!(self);
        value["cniVersion"] = Value::from(version);
        if version != NEWEST
            && let Some(ips) = value.get_mut("ips").and_then(Value::as_array_mut)
        {
            for (ip, address) in ips.iter_mut().zip(&self.ips) {
                ip["version"] = Value::from(if address.address.addr().is_ipv4() { "4" } else { "6" });
            }
        }
        value
    }
}
