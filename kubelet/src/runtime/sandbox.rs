//! The configuration of a pod's sandbox: names, network, DNS, namespaces, cgroup.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use client::k8s_openapi::api::core::v1::{Pod, PodSecurityContext, PodSpec, SeccompProfile};
use proto::cri::v1::{self as cri, NamespaceMode, Protocol, security_profile::ProfileType};

use crate::pod::name as label;
use crate::pod::{self, Role, is_host_network, members, spec};
use crate::quantity;

/// What the node adds to a pod's own wishes.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    pub cluster_dns: Vec<IpAddr>,
    pub cluster_domain: String,
    /// The node's own resolver configuration.
    pub resolver: Resolver,
    /// `None` leaves the pods where the runtime puts them.
    pub cgroup_root: Option<String>,
    /// `/kubepods` and its children are slices of systemd's instead of folders.
    pub systemd_cgroups: bool,
    /// Where a localhost seccomp profile is looked for.
    pub seccomp_root: String,
    /// The node's memory, for the kernel's scores.
    pub memory: i64,
}

/// What resolv.conf(5) says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolver {
    pub servers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

impl Resolver {
    pub fn parse(text: &str) -> Self {
        let mut out = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => out.servers.extend(words.next().map(str::to_owned)),
                // The last one counts.
                Some("search" | "domain") => out.searches = words.map(str::to_owned).collect(),
                Some("options") => out.options = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        out
    }
}

/// The most servers and search domains a resolver heeds (upstream's figures).
const MOST_SERVERS: usize = 3;
const MOST_SEARCHES: usize = 32;

/// The sandbox of a pod.
pub fn config(pod: &Pod, around: &Surroundings, logs: &Path, attempt: u32) -> cri::PodSandboxConfig {
    let spec = spec(pod);
    let mut labels: BTreeMap<String, String> = pod.metadata.labels.clone().unwrap_or_default();
    labels.insert(label::POD_NAME.to_owned(), pod::name(pod).to_owned());
    labels.insert(label::POD_NAMESPACE.to_owned(), pod::namespace(pod).to_owned());
    labels.insert(label::POD_UID.to_owned(), pod::uid(pod).to_string());
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: pod::name(pod).to_owned(),
            uid: pod::uid(pod).to_string(),
            namespace: pod::namespace(pod).to_owned(),
            attempt,
        }),
        hostname: if is_host_network(&spec) {
            String::new()
        } else {
            hostname(pod, &spec, &around.cluster_domain)
        },
        log_directory: logs.display().to_string(),
        dns_config: Some(dns(pod, &spec, around)),
        port_mappings: ports(&spec),
        labels,
        annotations: pod.metadata.annotations.clone().unwrap_or_default(),
        linux: Some(linux(pod, &spec, around)),
        windows: None,
    }
}

/// The longest name that the kernel takes.
const LONGEST_HOSTNAME: usize = 63;

/// The pod's host name without a domain.
pub fn short_hostname(pod: &Pod, spec: &PodSpec) -> String {
    let own = spec.hostname_override.as_deref().or(spec.hostname.as_deref()).filter(|name| !name.is_empty());
    let mut short = own.unwrap_or_else(|| pod::name(pod)).to_owned();
    short.truncate(LONGEST_HOSTNAME);
    short.trim_end_matches(['-', '.']).to_owned()
}

/// The pod's domain inside the cluster, where it belongs to one.
pub fn domain(pod: &Pod, spec: &PodSpec, cluster: &str) -> Option<String> {
    let subdomain = spec.subdomain.as_deref().filter(|name| !name.is_empty())?;
    Some(format!("{subdomain}.{}.svc.{cluster}", pod::namespace(pod)))
}

fn hostname(pod: &Pod, spec: &PodSpec, cluster: &str) -> String {
    let short = short_hostname(pod, spec);
    match domain(pod, spec, cluster) {
        Some(domain) if spec.set_hostname_as_fqdn == Some(true) => format!("{short}.{domain}"),
        _ => short,
    }
}

fn dns(pod: &Pod, spec: &PodSpec, around: &Surroundings) -> cri::DnsConfig {
    let cluster = !around.cluster_dns.is_empty();
    let mut base = match spec.dns_policy.as_deref().unwrap_or("ClusterFirst") {
        "None" => Resolver::default(),
        "ClusterFirstWithHostNet" if cluster => cluster_first(pod, around),
        "ClusterFirst" if cluster && !is_host_network(spec) => cluster_first(pod, around),
        _ => around.resolver.clone(),
    };
    if let Some(own) = &spec.dns_config {
        base.servers.extend(own.nameservers.iter().flatten().cloned());
        base.searches.extend(own.searches.iter().flatten().cloned());
        for option in own.options.iter().flatten() {
            let name = option.name.as_deref().unwrap_or_default();
            base.options.retain(|old| old.split(':').next() != Some(name));
            base.options.push(
                option.value.as_ref().map_or_else(|| name.to_owned(), |value| format!("{name}:{value}")),
            );
        }
    }
    let unique = |list: Vec<String>, most: usize| {
        let mut seen = Vec::new();
        for item in list {
            if !seen.contains(&item) && seen.len() < most {
                seen.push(item);
            }
        }
        seen
    };
    cri::DnsConfig {
        servers: unique(base.servers, MOST_SERVERS),
        searches: unique(base.searches, MOST_SEARCHES),
        options: base.options,
    }
}

fn cluster_first(pod: &Pod, around: &Surroundings) -> Resolver {
    let domain = &around.cluster_domain;
    let own = [format!("{}.svc.{domain}", pod::namespace(pod)), format!("svc.{domain}"), domain.clone()];
    let own = if domain.is_empty() { Vec::new() } else { own.to_vec() };
    Resolver {
        servers: around.cluster_dns.iter().map(ToString::to_string).collect(),
        searches: own.into_iter().chain(around.resolver.searches.iter().cloned()).collect(),
        options: vec!["ndots:5".to_owned()],
    }
}

fn ports(spec: &PodSpec) -> Vec<cri::PortMapping> {
    if is_host_network(spec) {
        return Vec::new();
    }
    let all = members(spec)
        .filter(|member| matches!(member.role, Role::Regular | Role::Sidecar))
        .flat_map(|member| member.container.ports.clone().unwrap_or_default());
    all.filter_map(|port| {
        let protocol = match port.protocol.as_deref() {
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            _ => Protocol::Tcp,
        };
        Some(cri::PortMapping {
            protocol: protocol as i32,
            container_port: port.container_port,
            host_port: port.host_port.filter(|port| *port > 0)?,
            host_ip: port.host_ip.unwrap_or_default(),
        })
    })
    .collect()
}

/// Which namespaces the pod shares with the node.
pub fn namespaces(spec: &PodSpec) -> cri::NamespaceOption {
    let node = |host: Option<bool>, otherwise: NamespaceMode| {
        if host == Some(true) { NamespaceMode::Node as i32 } else { otherwise as i32 }
    };
    let pid = if spec.share_process_namespace == Some(true) {
        NamespaceMode::Pod
    } else {
        NamespaceMode::Container
    };
    cri::NamespaceOption {
        network: node(spec.host_network, NamespaceMode::Pod),
        ipc: node(spec.host_ipc, NamespaceMode::Pod),
        pid: node(spec.host_pid, pid),
        target_id: String::new(),
        userns_options: None,
    }
}

fn linux(pod: &Pod, spec: &PodSpec, around: &Surroundings) -> cri::LinuxPodSandboxConfig {
    let security = spec.security_context.clone().unwrap_or_default();
    let privileged = members(spec).any(|member| {
        member.container.security_context.as_ref().is_some_and(|security| security.privileged == Some(true))
    });
    let number = |value: Option<i64>| value.map(|value| cri::Int64Value { value });
    let sysctls = security.sysctls.iter().flatten().map(|sysctl| (sysctl.name.clone(), sysctl.value.clone()));
    cri::LinuxPodSandboxConfig {
        cgroup_parent: crate::cgroup::parent(around, quantity::qos(spec), &pod::uid(pod)).unwrap_or_default(),
        security_context: Some(cri::LinuxSandboxSecurityContext {
            namespace_options: Some(namespaces(spec)),
            run_as_user: number(security.run_as_user),
            run_as_group: number(security.run_as_group.filter(|_| security.run_as_user.is_some())),
            supplemental_groups: groups(&security),
            privileged,
            seccomp: Some(seccomp(
                Some(&SeccompProfile { type_: "RuntimeDefault".to_owned(), ..Default::default() }),
                around,
            )),
            ..Default::default()
        }),
        sysctls: sysctls.collect(),
        overhead: None,
        resources: None,
    }
}

/// The groups that a pod's processes belong to beside their own.
pub fn groups(security: &PodSecurityContext) -> Vec<i64> {
    security.fs_group.into_iter().chain(security.supplemental_groups.iter().flatten().copied()).collect()
}

/// A seccomp profile; who names none is unconfined.
pub fn seccomp(profile: Option<&SeccompProfile>, around: &Surroundings) -> cri::SecurityProfile {
    let (kind, file) = match profile.map(|profile| (profile.type_.as_str(), &profile.localhost_profile)) {
        Some(("RuntimeDefault", _)) => (ProfileType::RuntimeDefault, String::new()),
        Some(("Localhost", Some(file))) => {
            (ProfileType::Localhost, format!("{}/{file}", around.seccomp_root))
        }
        _ => (ProfileType::Unconfined, String::new()),
    };
    cri::SecurityProfile { profile_type: kind as i32, localhost_ref: file }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn dns_by_policy() {
        let around = Surroundings {
            cluster_dns: vec!["10.43.0.10".parse().unwrap()],
            cluster_domain: "cluster.local".to_owned(),
            resolver: Resolver::parse("# a comment\nnameserver 192.0.2.1\nsearch lan\noptions edns0\n"),
            ..Surroundings::default()
        };
        let cases = [
            (json!({}), "10.43.0.10", "d.svc.cluster.local svc.cluster.local cluster.local lan", "ndots:5"),
            (json!({"hostNetwork": true}), "192.0.2.1", "lan", "edns0"),
            (json!({"dnsPolicy": "Default"}), "192.0.2.1", "lan", "edns0"),
            (
                json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet", "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]}}),
                "10.43.0.10",
                "d.svc.cluster.local svc.cluster.local cluster.local lan",
                "ndots:2",
            ),
            (json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.9"]}}), "192.0.2.9", "", ""),
        ];
        for (mut spec, servers, searches, options) in cases {
            spec["containers"] = json!([]);
            let pod: Pod =
                serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "d"}, "spec": spec}))
                    .unwrap();
            let dns = config(&pod, &around, Path::new("/logs"), 0).dns_config.unwrap();
            let found = (dns.servers.join(" "), dns.searches.join(" "), dns.options.join(" "));
            assert_eq!(found, (servers.to_owned(), searches.to_owned(), options.to_owned()), "{spec}");
        }
    }
}
