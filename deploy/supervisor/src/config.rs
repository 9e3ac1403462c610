//! What the supervisor is told, under K3s' names.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use daemon::{Args, Flag};
use ipnet::IpNet;
use serde_json::Value;

use crate::layout::Layout;
use crate::token::Token;

pub(crate) mod layer;
mod table;

pub(crate) use layer::Vocabulary;
use table::{AGENT, DISABLED, FILE, INERT, SERVER};

/// What `isopod server` is told.
#[derive(Debug, Clone)]
pub struct Server {
    /// What every node is told.
    pub node: Node,
    /// What the whole cluster has in common.
    pub cluster: Cluster,
    /// Where the API server listens; everywhere where absent.
    pub bind_address: Option<IpAddr>,
    /// Where other members of the cluster reach the API server.
    pub advertise_address: Option<IpAddr>,
    /// Further names of the API server.
    pub tls_san: Vec<String>,
    /// Where the administrator's kubeconfig is written to.
    pub kubeconfig: Kubeconfig,
    /// The secret of agents, where it is another than the server's.
    pub agent_token: Option<Token>,
    /// Where the data is, if not in our own datastore.
    pub etcd: Option<Etcd>,
    /// Without a node of its own.
    pub disable_agent: bool,
    /// Without a scheduler.
    pub disable_scheduler: bool,
    /// Without a controller manager.
    pub disable_controller_manager: bool,
    /// Further flags of components, by their name.
    pub more: Vec<(&'static str, Vec<String>)>,
}

/// What `isopod agent` is told.
#[derive(Debug, Clone)]
pub struct Agent {
    /// What every node is told.
    pub node: Node,
    /// The server to join.
    pub server: http::Uri,
    /// What it joins with.
    pub token: Token,
}

/// What every node is told.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where its files are.
    pub layout: Layout,
    /// Whether everything logs in detail.
    pub debug: bool,
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
    /// Addresses at which it is reached from outside.
    pub external_ips: Vec<IpAddr>,
    /// Labels it registers with.
    pub labels: Vec<String>,
    /// Taints it registers with.
    pub taints: Vec<String>,
    /// The secret it joins with, or that a server gives itself.
    pub token: Option<Token>,
    /// Components that do not run.
    pub disabled: Vec<String>,
    /// The interface towards the other nodes.
    pub flannel_iface: Option<String>,
    /// A container runtime that somebody else runs.
    pub runtime: Option<String>,
    /// The image of the container that holds a pod's namespaces.
    pub pause_image: String,
    /// How containerd lays layers over each other.
    pub snapshotter: String,
    /// The resolver's configuration that pods inherit.
    pub resolv_conf: Option<PathBuf>,
    /// The cgroup below which the pods' are.
    pub cgroup_root: Option<String>,
    /// Further flags of components, by their name.
    pub more: Vec<(&'static str, Vec<String>)>,
}

/// What the whole cluster has in common.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// The addresses of pods.
    pub cluster_cidr: Vec<IpNet>,
    /// The addresses of services.
    pub service_cidr: Vec<IpNet>,
    /// The ports of services on nodes.
    pub node_ports: String,
    /// The addresses of the cluster's DNS.
    pub dns: Vec<IpAddr>,
    /// The domain of the cluster.
    pub domain: String,
    /// How packets get to other nodes.
    pub flannel_backend: String,
    /// The port of the API server.
    pub port: u16,
}

/// The administrator's kubeconfig.
#[derive(Debug, Clone)]
pub struct Kubeconfig {
    /// Where it goes.
    pub path: PathBuf,
    /// Who may read it.
    pub mode: u32,
    /// What its cluster, user and context are called.
    pub name: String,
}

/// Somebody else's etcd.
#[derive(Debug, Clone)]
pub struct Etcd {
    /// Its URLs, separated by commas.
    pub endpoints: String,
    /// Who signed its certificates.
    pub authority: Option<PathBuf>,
    /// Our certificate for it.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

impl Node {
    /// All addresses of the node, of which this is the first.
    pub(crate) fn addresses(&self, first: IpAddr) -> Vec<IpAddr> {
        let mut addresses = vec![first];
        let further = self.ips.iter().chain(&self.external_ips).copied();
        addresses.extend(further.filter(|address| *address != first));
        addresses
    }

    /// Chooses the resolver's configuration where none was told.
    pub(crate) fn resolve(&mut self) -> anyhow::Result<()> {
        if self.resolv_conf.is_none() {
            self.resolv_conf = crate::host::resolver()?;
        }
        Ok(())
    }
}

/// What `isopod server` knows.
pub(crate) const SERVER_VOCABULARY: Vocabulary =
    Vocabulary { command: "server", flags: SERVER, inert: INERT };

/// What `isopod agent` knows.
pub(crate) const AGENT_VOCABULARY: Vocabulary = Vocabulary { command: "agent", flags: AGENT, inert: INERT };

/// One list of flags out of environment, configuration files and a command line.
///
/// # Errors
/// All mistakes, one sentence each, naming file and flag.
pub(crate) fn gather(vocabulary: Vocabulary, words: Vec<String>) -> Result<Vec<String>, Vec<String>> {
    let line = layer::long(words);
    let environment = layer::environment(vocabulary, |name| std::env::var(name).ok());
    let named = layer::last(&line, "config").or_else(|| layer::last(&environment, "config"));
    let files = read(named.as_deref()).map_err(|mistake| vec![mistake])?;
    let mut all = environment;
    all.extend(layer::files(vocabulary, &files)?);
    all.extend(line);
    Ok(all)
}

/// The configuration files: the named one, which must be there, or the usual one, and those in its folder.
fn read(named: Option<&str>) -> Result<Vec<(String, Value)>, String> {
    let main = Path::new(named.unwrap_or(FILE));
    let mut paths = Vec::new();
    if named.is_some() || main.exists() {
        paths.push(main.to_owned());
    }
    let mut folder = main.as_os_str().to_owned();
    folder.push(".d");
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let yaml = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "yaml" || kind == "yml");
    let mut further: Vec<PathBuf> = entries.filter(yaml).collect();
    further.sort();
    paths.extend(further);
    let content = |path: PathBuf| {
        let name = path.display().to_string();
        let text = std::fs::read(&path).map_err(|error| format!("{name}: could not read it: {error}"))?;
        if text.trim_ascii().is_empty() {
            return Ok((name, Value::Null));
        }
        let value =
            serde_saphyr::from_slice(&text).map_err(|error| format!("{name} is not YAML: {error}"))?;
        Ok((name, value))
    };
    paths.into_iter().map(content).collect()
}

impl daemon::Settings for Server {
    const FLAGS: &'static [Flag] = SERVER;
    const INERT: &'static [&'static str] = INERT;

    fn read(args: &mut Args) -> Option<Self> {
        let (node, cluster) = (node(args), cluster(args));
        let mode = args.text("write-kubeconfig-mode");
        let mode = u32::from_str_radix(&mode, 8).ok().filter(|mode| *mode <= 0o777).or_else(|| {
            args.reject(format!("--write-kubeconfig-mode: {mode:?} is no mode such as 644"));
            None
        });
        let path = args.optional("write-kubeconfig").unwrap_or_else(|| "/etc/isopod/isopod.yaml".into());
        let agent_token = token(args, "agent-token", "agent-token-file");
        for absent in ["disable-cloud-controller", "disable-helm-controller"] {
            if !args.switch(absent) {
                args.reject(format!("--{absent}=false: there is none to run; leave the flag out"));
            }
        }
        let mut datastore = more(args, "datastore-arg");
        datastore.extend(more(args, "etcd-arg"));
        Some(Self {
            bind_address: args.optional("bind-address"),
            advertise_address: args.optional("advertise-address"),
            tls_san: args.many("tls-san"),
            kubeconfig: Kubeconfig { path, mode: mode?, name: args.required("write-kubeconfig-name")? },
            agent_token,
            etcd: etcd(args),
            disable_agent: args.switch("disable-agent"),
            disable_scheduler: args.switch("disable-scheduler"),
            disable_controller_manager: args.switch("disable-controller-manager"),
            more: vec![
                ("apiserver", more(args, "kube-apiserver-arg")),
                ("controller-manager", more(args, "kube-controller-manager-arg")),
                ("scheduler", more(args, "kube-scheduler-arg")),
                ("datastore", datastore),
            ],
            node: node?,
            cluster: cluster?,
        })
    }
}

impl daemon::Settings for Agent {
    const FLAGS: &'static [Flag] = AGENT;
    const INERT: &'static [&'static str] = INERT;

    fn read(args: &mut Args) -> Option<Self> {
        let node = node(args);
        let server: Option<http::Uri> = args.required("server");
        let https = |url: &http::Uri| url.scheme_str() == Some("https") && url.host().is_some();
        if let Some(url) = server.as_ref().filter(|url| !https(url)) {
            args.reject(format!("--server: {url} is no https URL, such as https://10.0.0.1:6443"));
        }
        let node = node?;
        if node.token.is_none() && !["token", "token-file"].iter().any(|flag| args.is_given(flag)) {
            args.reject("--token is required; it is in server/token in the data directory of a server");
        }
        Some(Self { token: node.token.clone()?, node, server: server? })
    }
}

fn node(args: &mut Args) -> Option<Node> {
    let name: String = match args.optional::<String>("node-name") {
        Some(name) => name.to_lowercase(),
        None => rustix::system::uname().nodename().to_string_lossy().to_lowercase(),
    };
    let mut disabled: Vec<String> = Vec::new();
    for text in args.many::<String>("disable") {
        match DISABLED.iter().find(|(known, _)| *known == text) {
            Some((_, ours)) => disabled.push((*ours).to_owned()),
            None => {
                let known: Vec<&str> = DISABLED.iter().map(|(name, _)| *name).collect();
                args.reject(format!("--disable: {text:?} is no component; there are {}", known.join(", ")));
            }
        }
    }
    if args.switch("disable-kube-proxy") {
        disabled.push("kubeproxy".to_owned());
    }
    let snapshotter = args.text("snapshotter");
    if !["overlayfs", "native"].contains(&snapshotter.as_str()) {
        args.reject(format!(
            "--snapshotter: {snapshotter:?} is not supported; there are overlayfs and native"
        ));
    }
    let (data, run) = (folder(args, "data-dir"), folder(args, "run-dir"));
    let token = token(args, "token", "token-file");
    Some(Node {
        layout: Layout { data: data?, run: run? },
        debug: args.switch("debug"),
        name,
        ips: args.many("node-ip"),
        external_ips: args.many("node-external-ip"),
        labels: args.many("node-label"),
        taints: args.many("node-taint"),
        token,
        disabled,
        flannel_iface: args.optional("flannel-iface"),
        runtime: args.optional("container-runtime-endpoint"),
        pause_image: args.text("pause-image"),
        snapshotter,
        resolv_conf: args.optional("resolv-conf"),
        cgroup_root: args.optional("cgroup-root"),
        more: vec![
            ("kubelet", more(args, "kubelet-arg")),
            ("kubeproxy", more(args, "kube-proxy-arg")),
            ("flannel", more(args, "flannel-arg")),
            ("ingress", more(args, "ingress-arg")),
            ("dns", more(args, "dns-arg")),
        ],
    })
}

fn cluster(args: &mut Args) -> Option<Cluster> {
    let service_cidr: Vec<IpNet> = args.many("service-cidr");
    let mut dns: Vec<IpAddr> = args.many("cluster-dns");
    if dns.is_empty() {
        dns.extend(service_cidr.first().and_then(|range| nth(range, DNS)));
    }
    for address in &dns {
        if !service_cidr.iter().any(|range| range.contains(address)) {
            args.reject(format!("--cluster-dns: {address} is not in --service-cidr"));
        }
    }
    let flannel_backend = args.text("flannel-backend");
    if !["vxlan", "host-gw", "none"].contains(&flannel_backend.as_str()) {
        args.reject(format!(
            "--flannel-backend: {flannel_backend:?} is not built in; there are vxlan, host-gw and none"
        ));
    }
    Some(Cluster {
        cluster_cidr: args.many("cluster-cidr"),
        service_cidr,
        node_ports: args.text("service-node-port-range"),
        dns,
        domain: args.text("cluster-domain"),
        flannel_backend,
        port: args.required("https-listen-port")?,
    })
}

/// Which address of the services the DNS has (K3s' figure).
const DNS: u32 = 10;

/// The address so many after the first of a range.
pub(crate) fn nth(range: &IpNet, at: u32) -> Option<IpAddr> {
    let address = match range.network() {
        IpAddr::V4(first) => IpAddr::V4((u32::from(first).checked_add(at)?).into()),
        IpAddr::V6(first) => IpAddr::V6((u128::from(first).checked_add(at.into())?).into()),
    };
    range.contains(&address).then_some(address)
}

fn folder(args: &mut Args, flag: &'static str) -> Option<PathBuf> {
    let path: PathBuf = args.required(flag)?;
    match std::path::absolute(&path) {
        Ok(path) => Some(path),
        Err(error) => {
            args.reject(format!("--{flag}: {} is no folder: {error}", path.display()));
            None
        }
    }
}

fn token(args: &mut Args, flag: &'static str, file: &'static str) -> Option<Token> {
    let path: Option<PathBuf> = args.optional(file);
    let Some(path) = path else { return args.optional(flag) };
    let read = std::fs::read_to_string(&path).map_err(|error| error.to_string());
    match read.and_then(|text| text.parse()) {
        Ok(token) => Some(token),
        Err(error) => {
            args.reject(format!("--{file}: {} holds no token: {error}", path.display()));
            None
        }
    }
}

/// Flags for a component, as `name=value`, with dashes in front of them or not.
fn more(args: &Args, flag: &'static str) -> Vec<String> {
    args.each(flag).iter().map(|word| format!("--{}", word.trim_start_matches('-'))).collect()
}

fn etcd(args: &mut Args) -> Option<Etcd> {
    let endpoints: String = args.optional("datastore-endpoint")?;
    if !endpoints.split(',').all(|url| ["http://", "https://", "unix://"].iter().any(|s| url.starts_with(s)))
    {
        args.reject(format!(
            "--datastore-endpoint: {endpoints:?} is not a list of etcd URLs, as in https://host:2379"
        ));
    }
    Some(Etcd {
        endpoints,
        authority: args.optional("datastore-cafile"),
        certificate: args.optional("datastore-certfile"),
        key: args.optional("datastore-keyfile"),
    })
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
