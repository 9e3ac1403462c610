//! Marks a server's node as one of the control plane, which a kubelet may not do for itself.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use client::k8s_openapi::api::core::v1::Node;
use client::kube::Api;
use client::kube::api::{Patch, PatchParams};
use client::kube::runtime::watcher;
use client::{Cache, Key, Next, Queue, controller};
use serde_json::{Value, json};

/// The labels of a server's node (K3s' and kubeadm's).
const LABELS: &[(&str, &str)] = &[("node-role.kubernetes.io/control-plane", "true")];

/// Keeps the labels on the node of this name, whenever it registers.
pub(crate) async fn keep(kubeconfig: PathBuf, node: String) -> anyhow::Result<()> {
    let client = client::connect(&kubeconfig, "isopod").await.context("could not reach the API server")?;
    let api: Api<Node> = Api::all(client);
    let (nodes, queue) = (Cache::<Node>::default(), Queue::<Key>::default());
    let waking = queue.clone();
    nodes.subscribe(move |change| waking.add(Key::of(change.object().as_ref())));
    let follow = nodes
        .clone()
        .follow(api.clone(), watcher::Config::default().fields(&format!("metadata.name={node}")));
    let mark = controller::run("control-plane", queue, 1, |key| {
        let missing = nodes.get(&key).and_then(|node| missing(node.metadata.labels.as_ref()));
        let api = api.clone();
        async move {
            if let Some(labels) = missing {
                let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
                api.patch_metadata(&key.name, &PatchParams::default(), &patch).await?;
            }
            Ok(Next::Wait)
        }
    });
    tokio::select! {
        result = follow => result,
        result = mark => result,
    }
}

/// The labels that are not there, or all of them.
fn missing(labels: Option<&BTreeMap<String, String>>) -> Option<Value> {
    let there = |(name, value): &(&str, &str)| {
        labels.and_then(|labels| labels.get(*name)).is_some_and(|found| found == value)
    };
    (!LABELS.iter().all(there)).then(|| LABELS.iter().map(|(name, value)| (*name, *value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_written() {
        let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        assert_eq!(missing(Some(&labels(LABELS))), None);
        let written = Some(json!({"node-role.kubernetes.io/control-plane": "true"}));
        assert_eq!(missing(None), written);
        assert_eq!(missing(Some(&labels(&[("node-role.kubernetes.io/control-plane", "")]))), written);
    }
}
