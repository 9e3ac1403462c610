//! How long a pod takes from its creation until it is ready, its image being present: fifty, one after the other.

use std::sync::mpsc;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use xtask::cluster::Cluster;

use super::{Figure, PATIENCE, told};
use crate::session::Identity;

/// How many pods are started.
const COUNT: usize = 50;

const PODS: &str = "/api/v1/namespaces/default/pods";

pub(super) fn measure(cluster: &Cluster, identity: &Identity) -> Result<Vec<Figure>> {
    told("pod starts", || {
        let (send, ready) = mpsc::sync_channel(COUNT);
        let watching = identity.connect()?;
        std::thread::spawn(move || {
            let path = format!("{PODS}?watch=true");
            watching.watch(&path, |event| {
                if is_ready(&event["object"]) {
                    let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                    send.send((name, SystemTime::now()))?;
                }
                Ok(None::<()>)
            })
        });
        let mut session = identity.connect()?;
        let mut times = Vec::new();
        for number in 0..COUNT {
            let name = format!("start-{number}");
            let begun = SystemTime::now();
            let (status, body) = session.request("POST", PODS, &pod(&name).to_string())?;
            ensure!(status == 201, "the pod was refused with {status}: {body}");
            loop {
                let (which, at) =
                    ready.recv_timeout(PATIENCE).with_context(|| format!("{name} is never ready"))?;
                if which == name {
                    times.push(
                        at.duration_since(begun).context("the clock went back")?.as_secs_f64() * 1000.0,
                    );
                    break;
                }
            }
        }
        cluster.kubectl.run(&["delete", "pods", "--all", "--timeout=120s"])?;
        times.sort_by(f64::total_cmp);
        Ok(vec![
            Figure::new("pod create to Ready, p50", percentile(&times, 50), "ms").target(100.0),
            Figure::new("pod create to Ready, p99", percentile(&times, 99), "ms").target(500.0),
        ])
    })
}

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": "isopod.local/busybox:1", "command": ["sleep", "infinity"]}],
        },
    })
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// The value that so many of a hundred do not exceed, of values in order.
pub(super) fn percentile(sorted: &[f64], share: usize) -> f64 {
    let at = (sorted.len() * share).div_ceil(100).clamp(1, sorted.len().max(1));
    sorted.get(at - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let values: Vec<f64> = (1..=50).map(f64::from).collect();
        assert!((percentile(&values, 50) - 25.0).abs() < f64::EPSILON);
        assert!((percentile(&values, 99) - 50.0).abs() < f64::EPSILON);
        assert!((percentile(&values[..1], 50) - 1.0).abs() < f64::EPSILON);
    }
}
