//! What containers use, in the form of the summary API.

use std::collections::BTreeMap;

use http::{Response, StatusCode};
use jiff::Timestamp;
use proto::cri::v1::{ContainerStats, UInt64Value};
use serde_json::{Value, json};

use super::{Body, Call, json as answer, text};
use crate::pod::name;

/// CPU and memory of each container as the runtime counts them.
pub async fn summary(call: Call) -> Response<Body> {
    let stats = match call.agent.runtime.stats().await {
        Ok(stats) => stats,
        Err(failure) => return text(StatusCode::INTERNAL_SERVER_ERROR, failure.to_string()),
    };
    let mut pods: BTreeMap<(String, String, String), Vec<Value>> = BTreeMap::new();
    for stat in stats {
        let labels = stat.attributes.clone().unwrap_or_default().labels;
        let label = |key: &str| labels.get(key).cloned().unwrap_or_default();
        let key = (label(name::POD_NAMESPACE), label(name::POD_NAME), label(name::POD_UID));
        pods.entry(key).or_default().push(container(&label(name::CONTAINER_NAME), &stat));
    }
    let pods: Vec<Value> = pods
        .into_iter()
        .map(|((namespace, name, uid), containers)| {
            json!({"podRef": {"name": name, "namespace": namespace, "uid": uid}, "containers": containers})
        })
        .collect();
    answer(&json!({"node": {"nodeName": call.agent.node}, "pods": pods}))
}

fn container(name: &str, stat: &ContainerStats) -> Value {
    let time =
        |nanoseconds: i64| Timestamp::from_nanosecond(i128::from(nanoseconds)).map(|at| at.to_string()).ok();
    let number = |value: &Option<UInt64Value>| value.as_ref().map(|value| value.value);
    let mut out = json!({"name": name});
    if let Some(cpu) = &stat.cpu {
        out["cpu"] = json!({
            "time": time(cpu.timestamp),
            "usageNanoCores": number(&cpu.usage_nano_cores),
            "usageCoreNanoSeconds": number(&cpu.usage_core_nano_seconds),
        });
    }
    if let Some(memory) = &stat.memory {
        out["memory"] = json!({
            "time": time(memory.timestamp),
            "usageBytes": number(&memory.usage_bytes),
            "workingSetBytes": number(&memory.working_set_bytes),
            "rssBytes": number(&memory.rss_bytes),
        });
    }
    out
}
