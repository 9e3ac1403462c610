//! What the cluster has in common, as servers tell it to nodes.

use std::fmt::Display;
use std::str::FromStr;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::config::Cluster;

/// The form on the wire and on disk.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    cluster_cidr: Vec<String>,
    service_cidr: Vec<String>,
    node_ports: String,
    dns: Vec<String>,
    domain: String,
    flannel_backend: String,
    port: u16,
}

/// Writes it.
pub(crate) fn text(cluster: &Cluster) -> anyhow::Result<String> {
    let wire = Wire {
        cluster_cidr: texts(&cluster.cluster_cidr),
        service_cidr: texts(&cluster.service_cidr),
        node_ports: cluster.node_ports.clone(),
        dns: texts(&cluster.dns),
        domain: cluster.domain.clone(),
        flannel_backend: cluster.flannel_backend.clone(),
        port: cluster.port,
    };
    serde_json::to_string(&wire).context("could not write what the cluster has in common")
}

/// Reads it.
pub(crate) fn read(text: &str) -> anyhow::Result<Cluster> {
    let wire: Wire = serde_json::from_str(text).context("this is not what a server tells of its cluster")?;
    Ok(Cluster {
        cluster_cidr: values(&wire.cluster_cidr)?,
        service_cidr: values(&wire.service_cidr)?,
        node_ports: wire.node_ports,
        dns: values(&wire.dns)?,
        domain: wire.domain,
        flannel_backend: wire.flannel_backend,
        port: wire.port,
    })
}

fn texts<T: Display>(values: &[T]) -> Vec<String> {
    values.iter().map(T::to_string).collect()
}

fn values<T>(texts: &[String]) -> anyhow::Result<Vec<T>>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    texts
        .iter()
        .map(|text| text.parse().with_context(|| format!("{text:?} is no address or range")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let cluster = Cluster {
            cluster_cidr: vec!["10.42.0.0/16".parse().unwrap()],
            service_cidr: vec!["10.43.0.0/16".parse().unwrap()],
            node_ports: "30000-32767".to_owned(),
            dns: vec!["10.43.0.10".parse().unwrap()],
            domain: "cluster.local".to_owned(),
            flannel_backend: "vxlan".to_owned(),
            port: 6443,
        };
        let written = text(&cluster).unwrap();
        assert_eq!(text(&read(&written).unwrap()).unwrap(), written);
        assert!(read("{}").is_err());
    }
}
