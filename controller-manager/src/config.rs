//! What the controller manager is told on its command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use daemon::{Args, Flag};
use ipnet::IpNet;

use crate::table;

/// Upstream's controllers that are not built here; command lines may name them.
const NOT_BUILT: &[&str] = &[
    "bootstrap-signer-controller",
    "cloud-node-lifecycle-controller",
    "cronjob-controller",
    "disruption-controller",
    "endpointslice-mirroring-controller",
    "ephemeral-volume-controller",
    "horizontal-pod-autoscaler-controller",
    "legacy-serviceaccount-token-cleaner-controller",
    "node-route-controller",
    "persistentvolume-attach-detach-controller",
    "persistentvolume-binder-controller",
    "persistentvolume-expander-controller",
    "persistentvolume-protection-controller",
    "persistentvolumeclaim-protection-controller",
    "replicationcontroller-controller",
    "resourcequota-controller",
    "service-lb-controller",
    "serviceaccount-token-controller",
    "statefulset-controller",
    "token-cleaner-controller",
    "ttl-controller",
    "validatingadmissionpolicy-status-controller",
];

/// The settings of the controller manager.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How to reach the API server.
    pub kubeconfig: PathBuf,
    /// Where health and metrics are served; nowhere where the port is 0.
    pub health: Option<SocketAddr>,
    /// The controllers to run.
    pub controllers: Selection,
    /// The range that nodes get their pod ranges from, where that is this daemon's business.
    pub pod_ranges: Option<PodRanges>,
    /// The certificates of the cluster's authority, given to every namespace.
    pub root_ca: Option<PathBuf>,
    /// The authority that signs certificates for kubelets and clients.
    pub signing: Option<Signing>,
    /// How the health of nodes is judged.
    pub node_health: NodeHealth,
    /// How many finished pods may lie around before the oldest are removed; 0 keeps all.
    pub terminated_pods: usize,
}

/// The controllers that `--controllers` asks for.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    words: Vec<String>,
}

/// Where nodes' pod ranges are cut from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodRanges {
    /// The range of the whole cluster.
    pub cluster: IpNet,
    /// How long a node's prefix is.
    pub node_prefix: u8,
    /// The range of services, which must not be given to a node where both overlap.
    pub services: Option<IpNet>,
}

/// The authority for certificate signing requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signing {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// The key, PEM.
    pub key: PathBuf,
    /// The longest life of a signed certificate.
    pub duration: Duration,
}

/// How the health of nodes is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeHealth {
    /// How long a node may be silent before it counts as unreachable.
    pub grace: Duration,
    /// The same for a node that has never reported.
    pub startup_grace: Duration,
}

/// A duration as Go writes it: `40s`, `1m30s`, `8760h0m0s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GoDuration(Duration);

impl std::str::FromStr for GoDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("{text:?} is not a duration such as 40s or 1h30m");
        let mut total = 0.0;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| c != '.' && !c.is_ascii_digit()).ok_or_else(wrong)?;
            let value: f64 = rest[..digits].parse().map_err(|_| wrong())?;
            rest = &rest[digits..];
            let unit = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
            total += value
                * match &rest[..unit] {
                    "h" => 3600.0,
                    "m" => 60.0,
                    "s" => 1.0,
                    "ms" => 0.001,
                    _ => return Err(wrong()),
                };
            rest = &rest[unit..];
        }
        Duration::try_from_secs_f64(total).ok().filter(|_| !text.is_empty()).map(Self).ok_or_else(wrong)
    }
}

impl Selection {
    /// Whether a controller runs: `name` asks for it, `-name` forbids it, `*` asks for all that are not forbidden.
    pub fn has(&self, name: &str) -> bool {
        let names = |word: &str| word == name || Some(word) == name.strip_suffix("-controller");
        if self.words.iter().any(|word| names(word)) {
            return true;
        }
        let forbidden = self.words.iter().filter_map(|word| word.strip_prefix('-')).any(names);
        !forbidden && (self.words.is_empty() || self.words.iter().any(|word| word == "*"))
    }

    /// The selection in these words; a word that names no controller is handed back.
    ///
    /// # Errors
    /// The first word that names no controller.
    pub fn new(words: Vec<String>) -> Result<Self, String> {
        let known = |word: &str| {
            let word = word.strip_prefix('-').unwrap_or(word);
            word == "*"
                || table::names()
                    .chain(NOT_BUILT.iter().copied())
                    .any(|name| word == name || Some(word) == name.strip_suffix("-controller"))
        };
        match words.iter().find(|word| !known(word)) {
            Some(word) => Err(word.clone()),
            None => Ok(Self { words }),
        }
    }
}

impl daemon::Settings for Settings {
    const FLAGS: &'static [Flag] = &[
        Flag::one("kubeconfig", "", "The kubeconfig file that says how to reach the API server"),
        Flag::one("bind-address", "127.0.0.1", "The address on which health and metrics are served"),
        Flag::one("secure-port", "10257", "The port on which health and metrics are served; 0 for nowhere"),
        Flag::many("controllers", "*", "The controllers to run; * is all, foo adds one, -foo leaves one out"),
        Flag::switch("allocate-node-cidrs", true, "Whether nodes get their pod ranges from this daemon"),
        Flag::one("cluster-cidr", "10.42.0.0/16", "The range that pods get their addresses from"),
        Flag::one("node-cidr-mask-size", "", "The prefix length of a node's pod range (24, or 64 for IPv6)"),
        Flag::one("service-cluster-ip-range", "", "The range of services, kept out of nodes' pod ranges"),
        Flag::one("root-ca-file", "", "The CA certificates that every namespace gets as kube-root-ca.crt"),
        Flag::one("cluster-signing-cert-file", "", "The CA certificate that signs certificate requests"),
        Flag::one("cluster-signing-key-file", "", "The key of --cluster-signing-cert-file"),
        Flag::one("cluster-signing-duration", "8760h", "The longest life of a signed certificate"),
        Flag::one(
            "node-monitor-grace-period",
            "50s",
            "How long a node may be silent before it is unreachable",
        ),
        Flag::one("node-startup-grace-period", "60s", "The same for a node that has never reported"),
        Flag::one("terminated-pod-gc-threshold", "12500", "How many finished pods are kept; 0 keeps all"),
    ];
    const INERT: &'static [&'static str] = &[
        "authentication-kubeconfig",
        "authorization-kubeconfig",
        "authorization-always-allow-paths",
        "cert-dir",
        "client-ca-file",
        "cluster-name",
        "configure-cloud-routes",
        "feature-gates",
        "kube-api-burst",
        "kube-api-qps",
        "leader-elect",
        "leader-elect-lease-duration",
        "leader-elect-renew-deadline",
        "leader-elect-resource-namespace",
        "logging-format",
        "node-monitor-period",
        "profiling",
        "requestheader-client-ca-file",
        "service-account-private-key-file",
        "tls-cert-file",
        "tls-private-key-file",
        "use-service-account-credentials",
    ];

    fn read(args: &mut Args) -> Option<Self> {
        let kubeconfig = args.required("kubeconfig");
        let (address, port) = (args.required::<IpAddr>("bind-address"), args.required::<u16>("secure-port"));
        let words = args.many("controllers");
        let controllers = Selection::new(words).unwrap_or_else(|word| {
            args.reject(format!("--controllers: {word:?} is not the name of a controller"));
            Selection::default()
        });
        let duration = |args: &mut Args, name| args.required::<GoDuration>(name).map(|duration| duration.0);
        let node_health = NodeHealth {
            grace: duration(args, "node-monitor-grace-period")?,
            startup_grace: duration(args, "node-startup-grace-period")?,
        };
        let lifetime = duration(args, "cluster-signing-duration")?;
        let terminated_pods = args.required("terminated-pod-gc-threshold");
        Some(Self {
            health: Some(SocketAddr::new(address?, port?)).filter(|address| address.port() != 0),
            pod_ranges: pod_ranges(args),
            root_ca: args.optional("root-ca-file"),
            signing: signing(args, lifetime),
            kubeconfig: kubeconfig?,
            terminated_pods: terminated_pods?,
            controllers,
            node_health,
        })
    }
}

fn pod_ranges(args: &mut Args) -> Option<PodRanges> {
    if !args.switch("allocate-node-cidrs") {
        return None;
    }
    let mut ranges = args.many::<IpNet>("cluster-cidr").into_iter();
    let cluster = ranges.next()?;
    if ranges.next().is_some() {
        args.reject("--cluster-cidr: one range is supported, and two were given");
    }
    let (most, usual) = if cluster.addr().is_ipv4() { (32, 24) } else { (128, 64) };
    let node_prefix = args.optional("node-cidr-mask-size").unwrap_or(usual);
    let prefix = cluster.prefix_len();
    if node_prefix < prefix || node_prefix > most || node_prefix - prefix > PodRanges::MOST_NODES_LOG2 {
        args.reject(format!(
            "--node-cidr-mask-size: {node_prefix} does not fit --cluster-cidr {cluster}; it may be {prefix} to {}",
            most.min(prefix + PodRanges::MOST_NODES_LOG2)
        ));
    }
    let services = args.many::<IpNet>("service-cluster-ip-range").into_iter().next();
    Some(PodRanges { cluster, node_prefix, services })
}

impl PodRanges {
    /// At most 65,536 nodes: a bit each is 8 KiB (upstream's limit too).
    const MOST_NODES_LOG2: u8 = 16;
}

fn signing(args: &mut Args, duration: Duration) -> Option<Signing> {
    let certificate: Option<PathBuf> = args.optional("cluster-signing-cert-file");
    let key: Option<PathBuf> = args.optional("cluster-signing-key-file");
    match (certificate, key) {
        (Some(certificate), Some(key)) => Some(Signing { certificate, key, duration }),
        (None, None) => None,
        _ => {
            args.reject("--cluster-signing-cert-file and --cluster-signing-key-file must be given together");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Settings, Vec<String>> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        daemon::flag::parse::<Settings>(&words).map(|(settings, _, _)| settings)
    }

    #[test]
    fn defaults_are_upstreams() {
        let settings = parse("--kubeconfig k").unwrap();
        assert_eq!(settings.health, Some("127.0.0.1:10257".parse().unwrap()));
        assert_eq!(settings.node_health.grace, Duration::from_secs(50));
        let ranges = settings.pod_ranges.unwrap();
        assert_eq!((ranges.cluster.to_string().as_str(), ranges.node_prefix), ("10.42.0.0/16", 24));
    }

    #[test]
    fn mistakes_name_the_flag() {
        let cases = [
            ("", "--kubeconfig is required"),
            (
                "--kubeconfig k --controllers *,-nothing",
                "--controllers: \"-nothing\" is not the name of a controller",
            ),
            (
                "--kubeconfig k --cluster-signing-cert-file a",
                "--cluster-signing-cert-file and --cluster-signing-key-file must be given together",
            ),
            (
                "--kubeconfig k --node-cidr-mask-size 8",
                "--node-cidr-mask-size: 8 does not fit --cluster-cidr 10.42.0.0/16; it may be 16 to 32",
            ),
        ];
        for (line, mistake) in cases {
            assert_eq!(parse(line).unwrap_err(), [mistake], "{line}");
        }
    }

    #[test]
    fn selections() {
        let cases = [
            ("*", "replicaset-controller", true),
            ("*,-replicaset", "replicaset-controller", false),
            ("*,-replicaset-controller", "replicaset-controller", false),
            ("replicaset", "replicaset-controller", true),
            ("replicaset", "deployment-controller", false),
        ];
        for (words, name, expected) in cases {
            let selection = Selection::new(words.split(',').map(str::to_owned).collect()).unwrap();
            assert_eq!(selection.has(name), expected, "{words} {name}");
        }
    }

    #[test]
    fn durations_as_go_writes_them() {
        for (text, seconds) in [("40s", 40.0), ("1m30s", 90.0), ("8760h0m0s", 31_536_000.0), ("500ms", 0.5)] {
            assert_eq!(text.parse::<GoDuration>().unwrap().0.as_secs_f64(), seconds, "{text}");
        }
        for text in ["", "40", "x", "4d"] {
            assert!(text.parse::<GoDuration>().is_err(), "{text}");
        }
    }
}
