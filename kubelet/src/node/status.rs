//! The node's status: values in, `NodeStatus` out.

use std::collections::BTreeMap;
use std::net::IpAddr;

use client::k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeStatus,
    NodeSystemInfo,
};
use client::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use jiff::Timestamp;
use proto::cri::v1::{Image, RuntimeCondition};
use serde_json::{Value, json};

use super::machine::Pressure;

/// Images reported at most (upstream's figure).
const MOST_IMAGES: usize = 50;
/// Names of one image reported at most (upstream's figure).
const MOST_NAMES: usize = 5;

/// All that the status depends on.
#[derive(Debug)]
pub struct Input<'a> {
    pub name: &'a str,
    pub ips: &'a [IpAddr],
    pub port: u16,
    pub capacity: &'a BTreeMap<String, Quantity>,
    pub info: NodeSystemInfo,
    /// The runtime's conditions, or why they are not known.
    pub runtime: Result<Vec<RuntimeCondition>, String>,
    pub pressure: Pressure,
    pub now: Timestamp,
}

/// The node's status.
pub fn status(input: &Input<'_>) -> NodeStatus {
    let address = |type_: &str, address: String| NodeAddress { type_: type_.to_owned(), address };
    let mut addresses: Vec<NodeAddress> =
        input.ips.iter().map(|ip| address("InternalIP", ip.to_string())).collect();
    addresses.push(address("Hostname", input.name.to_owned()));
    let endpoint = DaemonEndpoint { port: i32::from(input.port) };
    NodeStatus {
        addresses: Some(addresses),
        capacity: Some(input.capacity.clone()),
        allocatable: Some(input.capacity.clone()),
        conditions: Some(conditions(input)),
        daemon_endpoints: Some(NodeDaemonEndpoints { kubelet_endpoint: Some(endpoint) }),
        node_info: Some(input.info.clone()),
        ..NodeStatus::default()
    }
}

fn conditions(input: &Input<'_>) -> Vec<NodeCondition> {
    let condition = |type_: &str, status: bool, reason: &str, message: String| NodeCondition {
        type_: type_.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_heartbeat_time: Some(Time(input.now)),
        last_transition_time: Some(Time(input.now)),
    };
    let pressed = |type_: &str, is: bool, yes: (&str, &str), no: (&str, &str)| {
        let (reason, message) = if is { yes } else { no };
        condition(type_, is, reason, message.to_owned())
    };
    let ready = match unready(&input.runtime) {
        None => condition("Ready", true, "KubeletReady", "kubelet is posting ready status".to_owned()),
        Some(message) => condition("Ready", false, "KubeletNotReady", message),
    };
    vec![
        pressed(
            "MemoryPressure",
            input.pressure.memory,
            ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
            ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ),
        pressed(
            "DiskPressure",
            input.pressure.disk,
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ),
        pressed(
            "PIDPressure",
            false,
            ("", ""),
            ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ),
        ready,
    ]
}

/// Why the node cannot run pods, if it cannot.
fn unready(runtime: &Result<Vec<RuntimeCondition>, String>) -> Option<String> {
    let conditions = match runtime {
        Ok(conditions) => conditions,
        Err(message) => return Some(format!("[container runtime is down: {message}]")),
    };
    let words = |wanted: &str| match conditions.iter().find(|condition| condition.r#type == wanted) {
        Some(condition) if condition.status => None,
        Some(condition) => {
            Some(format!("{wanted}=false reason:{} message:{}", condition.reason, condition.message))
        }
        None => Some(format!("{wanted} is not reported")),
    };
    let network = words("NetworkReady").map(|words| format!("container runtime network not ready: {words}"));
    words("RuntimeReady").map(|words| format!("container runtime not ready: {words}")).or(network)
}

/// Keeps the times of conditions that have not changed; tells whether the node is ready.
pub fn keep_transitions(status: &mut NodeStatus, before: Option<&NodeStatus>) -> bool {
    let old = |type_: &str| {
        before
            .and_then(|before| before.conditions.as_ref())
            .into_iter()
            .flatten()
            .find(|condition| condition.type_ == type_)
    };
    let mut ready = false;
    for condition in status.conditions.iter_mut().flatten() {
        if let Some(old) = old(&condition.type_).filter(|old| old.status == condition.status) {
            condition.last_transition_time = old.last_transition_time.clone();
        }
        ready |= condition.type_ == "Ready" && condition.status == "True";
    }
    ready
}

/// Whether two reports say the same, whenever they say it.
pub fn is_same(one: &NodeStatus, other: &NodeStatus) -> bool {
    let timeless = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
            condition.last_transition_time = None;
        }
        status
    };
    timeless(one) == timeless(other)
}

/// The largest images of the node.
pub fn images(mut all: Vec<Image>) -> Vec<ContainerImage> {
    all.sort_by_key(|image| std::cmp::Reverse(image.size));
    let shown = all.into_iter().take(MOST_IMAGES).map(|image| ContainerImage {
        names: Some(image.repo_digests.into_iter().chain(image.repo_tags).take(MOST_NAMES).collect()),
        size_bytes: i64::try_from(image.size).ok(),
    });
    shown.collect()
}

/// The status as a strategic merge patch that leaves other writers' conditions alone.
///
/// # Errors
/// None short of a bug: the types serialize.
pub fn patch(status: &NodeStatus) -> anyhow::Result<Value> {
    let mut status = serde_json::to_value(status)?;
    if let Some(Value::Array(addresses)) = status.get_mut("addresses") {
        // Merged by type otherwise, which two addresses of one type do not survive.
        addresses.push(json!({"$patch": "replace"}));
    }
    Ok(json!({"status": status}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_follows_the_runtime() {
        let condition = |name: &str, status: bool| RuntimeCondition {
            r#type: name.to_owned(),
            status,
            reason: if status { String::new() } else { "NetworkPluginNotReady".to_owned() },
            message: if status { String::new() } else { "cni plugin not initialized".to_owned() },
        };
        let cases = [
            (Ok(vec![condition("RuntimeReady", true), condition("NetworkReady", true)]), None),
            (
                Ok(vec![condition("RuntimeReady", true), condition("NetworkReady", false)]),
                Some(
                    "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady \
                     message:cni plugin not initialized",
                ),
            ),
            (Err("gone".to_owned()), Some("[container runtime is down: gone]")),
        ];
        for (runtime, expected) in cases {
            assert_eq!(unready(&runtime).as_deref(), expected);
        }
    }
}
