//! The text of a pod's /etc/hosts.

use std::net::IpAddr;

use client::k8s_openapi::api::core::v1::{Pod, PodSpec};

use crate::runtime::sandbox::{domain, short_hostname};

/// For a pod with a network of its own.
pub fn of_pod(pod: &Pod, spec: &PodSpec, ips: &[IpAddr], cluster_domain: &str) -> String {
    let mut out = String::from(
        "# Kubernetes-managed hosts file.\n\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n",
    );
    let short = short_hostname(pod, spec);
    for ip in ips {
        match domain(pod, spec, cluster_domain) {
            Some(domain) => out.push_str(&format!("{ip}\t{short}.{domain}\t{short}\n")),
            None => out.push_str(&format!("{ip}\t{short}\n")),
        }
    }
    out + &aliases(spec)
}

/// For a pod on the node's network: the node's file and the pod's aliases.
pub fn of_node(node: &str, spec: &PodSpec) -> String {
    format!("# Kubernetes-managed hosts file (host network).\n{node}{}", aliases(spec))
}

fn aliases(spec: &PodSpec) -> String {
    let aliases = spec.host_aliases.iter().flatten();
    let lines: String = aliases
        .map(|alias| format!("{}\t{}\n", alias.ip, alias.hostnames.clone().unwrap_or_default().join("\t")))
        .collect();
    if lines.is_empty() { lines } else { format!("\n# Entries added by HostAliases.\n{lines}") }
}
