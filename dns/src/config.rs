//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use daemon::{Args, Flag};
use hickory_proto::rr::Name;
use ipnet::IpNet;

/// The port of DNS.
pub const PORT: u16 = 53;

/// What the daemon was told.
#[derive(Debug)]
pub struct Settings {
    /// Who it is to the API server.
    pub kubeconfig: String,
    /// The addresses it listens on.
    pub listen: Vec<SocketAddr>,
    /// The addresses at which the Service's traffic reaches it.
    pub advertise: Vec<IpAddr>,
    /// The addresses of the Service, at which pods find it.
    pub cluster_dns: Vec<IpAddr>,
    /// The domain of the cluster.
    pub domain: Name,
    /// The ranges of pods and services.
    pub ranges: Vec<IpNet>,
    /// The name of its node.
    pub node: String,
    /// Who knows the rest of the world.
    pub upstream: Upstream,
    /// Who besides the cluster and its neighbours may ask.
    pub allowed: Vec<IpNet>,
    /// Where health and metrics are served.
    pub metrics: Option<SocketAddr>,
}

/// Where the servers are found to which foreign questions go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upstream {
    /// These.
    Fixed(Vec<SocketAddr>),
    /// The name servers of a resolv.conf, as it is at the time.
    File(PathBuf),
}

impl daemon::Settings for Settings {
    const FLAGS: &'static [Flag] = &[
        Flag::one("kubeconfig", "", "The file that says where the API server is and who this is"),
        Flag::many("bind-address", "", "The node's addresses to listen on, one of each family"),
        Flag::one("port", "10053", "The port to listen on"),
        Flag::many(
            "advertise-address",
            "",
            "The addresses at which other nodes reach this server; --bind-address where not given",
        ),
        Flag::many("cluster-dns", "10.43.0.10", "The addresses of the kube-dns Service"),
        Flag::one("cluster-domain", "cluster.local", "The domain of the cluster"),
        Flag::many("cluster-cidr", "10.42.0.0/16", "The addresses of pods"),
        Flag::many("service-cluster-ip-range", "10.43.0.0/16", "The addresses of services"),
        Flag::one("node-name", "", "The name of this node; the host's name where not given"),
        Flag::one(
            "resolv-conf",
            "/etc/resolv.conf",
            "The file that names the servers for everything outside the cluster",
        ),
        Flag::many("forward", "", "Servers for everything outside the cluster, instead of --resolv-conf's"),
        Flag::many(
            "allow-from",
            "",
            "Ranges of public addresses that may ask; private ones, pods and nodes always may",
        ),
        Flag::one(
            "metrics-bind-address",
            "127.0.0.1:9153",
            "Where to serve health and metrics; empty for nowhere",
        ),
    ];

    fn read(args: &mut Args) -> Option<Self> {
        let kubeconfig = args.required("kubeconfig");
        let _: Option<String> = args.required("bind-address");
        let bind: Vec<IpAddr> = args.many("bind-address");
        let port: Option<u16> = args.required("port");
        let advertise: Vec<IpAddr> = args.many("advertise-address");
        let advertise = if advertise.is_empty() { bind.clone() } else { advertise };
        if advertise.iter().any(IpAddr::is_unspecified) {
            args.reject(
                "--bind-address: name one of the node's own addresses, or say with --advertise-address where \
                 other nodes reach this server",
            );
        }
        let mut ranges = args.many("cluster-cidr");
        ranges.extend(args.many::<IpNet>("service-cluster-ip-range"));
        let forward = args.text("forward");
        let upstream = if forward.is_empty() {
            Upstream::File(args.text("resolv-conf").into())
        } else {
            Upstream::Fixed(servers(args))
        };
        let node = match args.text("node-name") {
            name if !name.is_empty() => name,
            _ => host_name(),
        };
        let (cluster_dns, allowed) = (args.many("cluster-dns"), args.many("allow-from"));
        let (domain, metrics) = (domain(args), args.optional("metrics-bind-address"));
        let port = port?;
        Some(Self {
            kubeconfig: kubeconfig?,
            listen: bind.into_iter().map(|address| SocketAddr::new(address, port)).collect(),
            advertise,
            cluster_dns,
            domain: domain?,
            ranges,
            node,
            upstream,
            allowed,
            metrics,
        })
    }
}

fn domain(args: &mut Args) -> Option<Name> {
    let text = args.text("cluster-domain");
    match Name::from_ascii(&text) {
        Ok(name) if !name.is_root() => Some(name),
        _ => {
            args.reject(format!("--cluster-domain: {text:?} is not a domain such as cluster.local"));
            None
        }
    }
}

/// Addresses with or without a port.
fn servers(args: &mut Args) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for text in args.many::<String>("forward") {
        let server = text.parse().or_else(|_| text.parse().map(|address| SocketAddr::new(address, PORT)));
        match server {
            Ok(server) => servers.push(server),
            Err(_) => args.reject(format!("--forward: {text:?} is not an address such as 192.168.0.1:53")),
        }
    }
    servers
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_what_they_mean() {
        let cases: &[(&str, Result<&str, &str>)] = &[
            (
                "--kubeconfig k --bind-address 10.0.0.1",
                Ok("[10.0.0.1:10053] [10.0.0.1] File(\"/etc/resolv.conf\")"),
            ),
            (
                "--kubeconfig k --bind-address 0.0.0.0 --advertise-address 10.0.0.1 --port 53 --forward 9.9.9.9,[::1]:54",
                Ok("[0.0.0.0:53] [10.0.0.1] Fixed([9.9.9.9:53, [::1]:54])"),
            ),
            ("--kubeconfig k", Err("--bind-address is required")),
            (
                "--kubeconfig k --bind-address ::",
                Err(
                    "--bind-address: name one of the node's own addresses, or say with --advertise-address where \
                     other nodes reach this server",
                ),
            ),
            (
                "--kubeconfig k --bind-address ::1 --forward a:53 --cluster-domain a..b",
                Err("--forward: \"a:53\" is not an address such as 192.168.0.1:53\n\
                     --cluster-domain: \"a..b\" is not a domain such as cluster.local"),
            ),
        ];
        for (line, expected) in cases {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let parsed = daemon::flag::parse::<Settings>(&words);
            let parsed = parsed
                .map(|(settings, _, _)| {
                    format!("{:?} {:?} {:?}", settings.listen, settings.advertise, settings.upstream)
                })
                .map_err(|mistakes| mistakes.join("\n"));
            assert_eq!(parsed.as_deref().map_err(String::as_str), *expected, "{line}");
        }
    }
}
