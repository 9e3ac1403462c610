//! The kubelet's flags and what they mean.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use client::k8s_openapi::api::core::v1::Taint;
use daemon::{Args, Flag};

use crate::node::threshold::{self, Threshold};
use crate::pod::name::Layout;
use crate::runtime::Sockets;

/// What one kubelet is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Without it only the pods of files run.
    pub kubeconfig: Option<PathBuf>,
    pub sockets: Sockets,
    pub layout: Layout,
    pub node: NodeSettings,
    pub cluster_dns: Vec<IpAddr>,
    pub cluster_domain: String,
    pub resolv_conf: Option<PathBuf>,
    pub manifests: Option<PathBuf>,
    pub cgroups: Cgroups,
    pub serve: ServeSettings,
    /// One pull at a time.
    pub serialize_pulls: bool,
}

/// How the node presents itself.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    pub name: String,
    pub ips: Vec<IpAddr>,
    pub register: bool,
    pub labels: Vec<(String, String)>,
    pub taints: Vec<Taint>,
    pub max_pods: u32,
    pub provider_id: Option<String>,
    pub thresholds: Vec<Threshold>,
}

/// Who places pods in the tree of cgroups, and where.
#[derive(Debug, Clone)]
pub struct Cgroups {
    pub root: Option<String>,
    pub systemd: bool,
}

/// The kubelet's own API.
#[derive(Debug, Clone)]
pub struct ServeSettings {
    pub address: SocketAddr,
    /// None serves no health.
    pub healthz: Option<SocketAddr>,
    pub client_ca: Option<PathBuf>,
    /// Certificate and key; a self-signed pair is made where they are absent.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// A stream on which nothing moves for this long is given up.
    pub stream_idle: Duration,
}

impl daemon::Settings for Settings {
    const FLAGS: &'static [Flag] = &[
        Flag::one("kubeconfig", "", "How to reach the API server; without it only static pods run"),
        Flag::one(
            "container-runtime-endpoint",
            "unix:///run/containerd/containerd.sock",
            "The runtime's CRI socket",
        ),
        Flag::one("image-service-endpoint", "", "The CRI socket for images; the runtime's own where absent"),
        Flag::one("root-dir", "/var/lib/kubelet", "Where volumes and the like of pods are kept"),
        Flag::one("pod-log-dir", "/var/log/pods", "Where the logs of containers are kept"),
        Flag::one("hostname-override", "", "The node's name; the host's name where absent"),
        Flag::many("node-ip", "", "The node's addresses, one or one of each family"),
        Flag::switch("register-node", true, "Whether to register the node with the API server"),
        Flag::many("node-labels", "", "Labels, key=value, for the node when it registers"),
        Flag::many("register-with-taints", "", "Taints, key=value:effect, for the node when it registers"),
        Flag::one("provider-id", "", "The node's id in its cloud"),
        Flag::one("max-pods", "110", "How many pods the node takes"),
        Flag::many(
            "eviction-hard",
            threshold::DEFAULT,
            "What must be left of memory and disk, signal<amount",
        ),
        Flag::many("cluster-dns", "", "The addresses of the cluster's DNS"),
        Flag::one("cluster-domain", "cluster.local", "The cluster's domain"),
        Flag::one(
            "resolv-conf",
            "/etc/resolv.conf",
            "The resolver configuration that pods inherit; empty for none",
        ),
        Flag::one("pod-manifest-path", "", "A folder of manifests of static pods"),
        Flag::one("cgroup-root", "/", "The cgroup below which kubepods is"),
        Flag::switch(
            "cgroups-per-qos",
            true,
            "Whether pods are placed by quality of service, or by the runtime",
        ),
        Flag::one("cgroup-driver", "cgroupfs", "cgroupfs or systemd, as the runtime has it"),
        Flag::one("address", "0.0.0.0", "Where the kubelet's API listens"),
        Flag::one("port", "10250", "The port of the kubelet's API"),
        Flag::one("healthz-bind-address", "127.0.0.1", "Where health is served"),
        Flag::one("healthz-port", "10248", "The port of health; 0 for none"),
        Flag::one("client-ca-file", "", "Who signs the clients of the kubelet's API"),
        Flag::one("tls-cert-file", "", "The certificate of the kubelet's API"),
        Flag::one("tls-private-key-file", "", "The key of that certificate"),
        Flag::one(
            "streaming-connection-idle-timeout",
            "4h",
            "How long nothing may move on an exec, attach or port-forward; 0 for ever",
        ),
        Flag::switch("serialize-image-pulls", true, "Whether images are pulled one at a time"),
    ];

    const INERT: &'static [&'static str] = &[
        "anonymous-auth",
        "authentication-token-webhook",
        "authorization-mode",
        "bootstrap-kubeconfig",
        "cert-dir",
        "config",
        "container-log-max-files",
        "container-log-max-size",
        "cpu-manager-policy",
        "eviction-minimum-reclaim",
        "eviction-soft",
        "fail-swap-on",
        "feature-gates",
        "image-gc-high-threshold",
        "image-gc-low-threshold",
        "kube-reserved",
        "kubelet-cgroups",
        "logging-format",
        "node-status-update-frequency",
        "pod-infra-container-image",
        "protect-kernel-defaults",
        "read-only-port",
        "rotate-certificates",
        "runtime-cgroups",
        "seccomp-default",
        "sync-frequency",
        "system-reserved",
        "topology-manager-policy",
        "volume-plugin-dir",
    ];

    fn read(args: &mut Args) -> Option<Self> {
        let node = node(args);
        let serve = serve(args);
        let runtime = socket(args, "container-runtime-endpoint");
        let images = if args.is_given("image-service-endpoint") {
            socket(args, "image-service-endpoint")
        } else {
            runtime.clone()
        };
        let cgroups = cgroups(args);
        Some(Self {
            kubeconfig: args.optional("kubeconfig"),
            layout: Layout { root: args.required("root-dir")?, logs: args.required("pod-log-dir")? },
            sockets: Sockets { runtime: runtime?, images: images? },
            node: node?,
            cluster_dns: args.many("cluster-dns"),
            cluster_domain: args.text("cluster-domain"),
            resolv_conf: args.optional("resolv-conf"),
            manifests: args.optional("pod-manifest-path"),
            cgroups: cgroups?,
            serve: serve?,
            serialize_pulls: args.switch("serialize-image-pulls"),
        })
    }
}

fn socket(args: &mut Args, flag: &'static str) -> Option<PathBuf> {
    let text = args.text(flag);
    let path = text.strip_prefix("unix://").unwrap_or(&text);
    if path.starts_with('/') {
        return Some(PathBuf::from(path));
    }
    args.reject(format!(
        "--{flag}: {text:?} is not a unix socket, such as unix:///run/containerd/containerd.sock"
    ));
    None
}

fn node(args: &mut Args) -> Option<NodeSettings> {
    let name = match args.optional::<String>("hostname-override") {
        Some(name) => name.to_lowercase(),
        None => rustix::system::uname().nodename().to_string_lossy().to_lowercase(),
    };
    let mut labels = Vec::new();
    for text in args.many::<String>("node-labels") {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => labels.push((key.to_owned(), value.to_owned())),
            _ => args.reject(format!("--node-labels: {text:?} is not of the form key=value")),
        }
    }
    let mut taints = Vec::new();
    for text in args.many::<String>("register-with-taints") {
        match taint(&text) {
            Some(taint) => taints.push(taint),
            None => {
                args.reject(format!("--register-with-taints: {text:?} is not of the form key=value:effect"))
            }
        }
    }
    Some(NodeSettings {
        name,
        ips: args.many("node-ip"),
        register: args.switch("register-node"),
        labels,
        taints,
        max_pods: args.required("max-pods")?,
        provider_id: args.optional("provider-id"),
        thresholds: args.many("eviction-hard"),
    })
}

fn taint(text: &str) -> Option<Taint> {
    const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    let (left, effect) = text.rsplit_once(':')?;
    let (key, value) = match left.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (left, None),
    };
    let fits = EFFECTS.contains(&effect) && !key.is_empty();
    fits.then(|| Taint { key: key.to_owned(), value, effect: effect.to_owned(), time_added: None })
}

fn cgroups(args: &mut Args) -> Option<Cgroups> {
    let driver = args.text("cgroup-driver");
    if driver != "cgroupfs" && driver != "systemd" {
        args.reject(format!("--cgroup-driver: {driver:?} is neither cgroupfs nor systemd"));
        return None;
    }
    let root = args.switch("cgroups-per-qos").then(|| args.text("cgroup-root"));
    Some(Cgroups { root, systemd: driver == "systemd" })
}

fn serve(args: &mut Args) -> Option<ServeSettings> {
    let (address, port): (Option<IpAddr>, Option<u16>) = (args.required("address"), args.required("port"));
    let healthz: (Option<IpAddr>, Option<u16>) =
        (args.required("healthz-bind-address"), args.required("healthz-port"));
    let identity = match (args.optional("tls-cert-file"), args.optional("tls-private-key-file")) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            args.reject("--tls-cert-file and --tls-private-key-file are given together or not at all");
            None
        }
    };
    let stream_idle = idle(args);
    Some(ServeSettings {
        address: SocketAddr::new(address?, port?),
        healthz: Some(SocketAddr::new(healthz.0?, healthz.1?)).filter(|address| address.port() > 0),
        client_ca: args.optional("client-ca-file"),
        identity,
        stream_idle: stream_idle?,
    })
}

fn idle(args: &mut Args) -> Option<Duration> {
    const FLAG: &str = "streaming-connection-idle-timeout";
    /// Longer than a node is up, and short enough to be added to a time.
    const FOR_EVER: Duration = Duration::from_hours(24 * 365 * 10);
    match proto::time::parse_duration(&args.text(FLAG)).map(u64::try_from) {
        Ok(Ok(0)) => Some(FOR_EVER),
        Ok(Ok(nanoseconds)) => Some(Duration::from_nanos(nanoseconds).min(FOR_EVER)),
        Ok(Err(_)) => {
            args.reject(format!("--{FLAG}: a time cannot be negative"));
            None
        }
        Err(error) => {
            args.reject(format!("--{FLAG}: {error}"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named_together() {
        let line = "--node-labels a --register-with-taints b:Never --cgroup-driver x --tls-cert-file y \
                    --container-runtime-endpoint tcp://h --streaming-connection-idle-timeout 4x";
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let mistakes = daemon::flag::parse::<Settings>(&words).unwrap_err();
        assert_eq!(
            mistakes,
            [
                "--node-labels: \"a\" is not of the form key=value",
                "--register-with-taints: \"b:Never\" is not of the form key=value:effect",
                "--tls-cert-file and --tls-private-key-file are given together or not at all",
                "--streaming-connection-idle-timeout: time: unknown unit \"x\" in duration \"4x\"",
                "--container-runtime-endpoint: \"tcp://h\" is not a unix socket, such as \
                 unix:///run/containerd/containerd.sock",
                "--cgroup-driver: \"x\" is neither cgroupfs nor systemd",
            ]
        );
    }
}
