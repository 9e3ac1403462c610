//! The command line.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use daemon::{Args, Flag};
use ipnet::{IpNet, Ipv4Net};

/// How packets get to pods on other nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// In UDP, over any network.
    Vxlan,
    /// As they are, over a network that all nodes are on.
    HostGateway,
}

/// What the daemon was told.
#[derive(Debug, Clone)]
pub struct Settings {
    pub kubeconfig: String,
    /// The name of its node.
    pub node: String,
    pub backend: Backend,
    /// Where pods are, on all nodes.
    pub pods: Ipv4Net,
    /// The name or an address of the interface towards the other nodes.
    pub interface: Option<String>,
    /// Where the other nodes reach this one, if not at an address of that interface.
    pub public_ip: Option<Ipv4Addr>,
    pub vni: u32,
    pub port: u16,
    /// Whether what pods send out of the cluster leaves under the node's address.
    pub masquerade: bool,
    pub subnet_file: PathBuf,
    pub conf_dir: PathBuf,
    /// Where the plugins keep what they must remember.
    pub data_dir: PathBuf,
    pub healthz: Option<SocketAddr>,
    /// Whether to remove all that the daemon and the plugins have made on this node, and exit.
    pub cleanup: bool,
}

impl Backend {
    /// The name that annotations and flags use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vxlan => "vxlan",
            Self::HostGateway => "host-gw",
        }
    }
}

impl daemon::Settings for Settings {
    const FLAGS: &'static [Flag] = &[
        Flag::one("kubeconfig", "", "The file that says where the API server is and who this is"),
        Flag::one("kubeconfig-file", "", "The same under the name that flanneld has for it"),
        Flag::one("node-name", "", "The name of this node; the host's name where not given"),
        Flag::one("backend", "vxlan", "How packets get to other nodes: vxlan or host-gw"),
        Flag::many("cluster-cidr", "10.42.0.0/16", "The addresses of pods on all nodes"),
        Flag::one("iface", "", "The name or an address of the interface towards the other nodes"),
        Flag::one("public-ip", "", "The address at which the other nodes reach this one"),
        Flag::one("vni", "1", "The number of the vxlan network"),
        Flag::one("port", "8472", "The UDP port of the vxlan network"),
        Flag::switch(
            "ip-masq",
            true,
            "Whether what pods send out of the cluster leaves under the node's address",
        ),
        Flag::one("subnet-file", "/run/flannel/subnet.env", "Where to tell the plugins the node's addresses"),
        Flag::one(
            "cni-conf-dir",
            "/etc/cni/net.d",
            "Where the container runtime looks for the network's configuration",
        ),
        Flag::one("cni-data-dir", "/var/lib/cni", "Where the plugins keep which addresses they gave out"),
        Flag::switch(
            "cleanup",
            false,
            "Remove all links, rules and files of the pod network from this node and exit",
        ),
        Flag::one("healthz-bind-address", "", "Where to serve health and metrics; empty for nowhere"),
    ];

    const INERT: &'static [&'static str] = &[
        "healthz-ip",
        "healthz-port",
        "iface-can-reach",
        "iface-regex",
        "iptables-forward-rules",
        "iptables-resync",
        "kube-annotation-prefix",
        "kube-api-url",
        "kube-subnet-mgr",
        "net-config-path",
        "set-node-network-unavailable",
        "subnet-lease-renew-margin",
    ];

    fn read(args: &mut Args) -> Option<Self> {
        let named = ["kubeconfig", "kubeconfig-file"].map(|flag| args.text(flag));
        let kubeconfig = named.into_iter().find(|path| !path.is_empty());
        let cleanup = args.switch("cleanup");
        if kubeconfig.is_none() && !cleanup {
            args.reject("--kubeconfig is required");
        }
        let node = match args.text("node-name") {
            name if !name.is_empty() => name,
            _ => rustix::system::uname().nodename().to_string_lossy().trim().to_lowercase(),
        };
        let backend = match args.text("backend").as_str() {
            "vxlan" => Some(Backend::Vxlan),
            "host-gw" => Some(Backend::HostGateway),
            other => {
                args.reject(format!("--backend: {other:?} is not built in; there are vxlan and host-gw"));
                None
            }
        };
        let ranges: Vec<IpNet> = args.many("cluster-cidr");
        let pods = ranges.into_iter().find_map(|range| match range {
            IpNet::V4(range) => Some(range.trunc()),
            IpNet::V6(_) => None,
        });
        if pods.is_none() {
            args.reject("--cluster-cidr names no IPv4 range");
        }
        let (vni, port) = (args.required("vni"), args.required("port"));
        let files =
            (args.required("subnet-file"), args.required("cni-conf-dir"), args.required("cni-data-dir"));
        Some(Self {
            kubeconfig: kubeconfig.or_else(|| cleanup.then(String::new))?,
            node,
            backend: backend?,
            pods: pods?,
            interface: args.optional("iface"),
            public_ip: args.optional("public-ip"),
            vni: vni?,
            port: port?,
            masquerade: args.switch("ip-masq"),
            subnet_file: files.0?,
            conf_dir: files.1?,
            data_dir: files.2?,
            healthz: args.optional("healthz-bind-address"),
            cleanup,
        })
    }
}
