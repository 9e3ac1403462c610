//! The command line.

use std::net::SocketAddr;

use daemon::{Args, Flag};
use ipnet::{IpNet, Ipv4Net};

use crate::plan::Options;

/// What the daemon was told.
#[derive(Debug)]
pub struct Settings {
    /// Who it is to the API server.
    pub kubeconfig: String,
    /// The name of its node.
    pub node: String,
    /// What the rules depend on.
    pub options: Options,
    /// Whether to remove all rules and routes and exit.
    pub cleanup: bool,
    /// Where health is served.
    pub healthz: Option<SocketAddr>,
    /// Where metrics are served.
    pub metrics: Option<SocketAddr>,
}

impl daemon::Settings for Settings {
    const FLAGS: &'static [Flag] = &[
        Flag::one("kubeconfig", "", "The file that says where the API server is and who this is"),
        Flag::one("hostname-override", "", "The name of this node; the host's name where not given"),
        Flag::many("cluster-cidr", "10.42.0.0/16", "The addresses of pods"),
        Flag::many("service-cluster-ip-range", "10.43.0.0/16", "The addresses of services"),
        Flag::one("proxy-mode", "nftables", "How packets are steered; nftables is the only way"),
        Flag::many(
            "nodeport-addresses",
            "",
            "Ranges of the node's addresses on which node ports answer; all but loopback where not given",
        ),
        Flag::switch(
            "masquerade-all",
            false,
            "Whether all traffic to cluster addresses leaves under the node's address",
        ),
        Flag::one("healthz-bind-address", "0.0.0.0:10256", "Where to serve health; empty for nowhere"),
        Flag::one("metrics-bind-address", "127.0.0.1:10249", "Where to serve metrics; empty for nowhere"),
        Flag::switch("cleanup", false, "Remove all rules and routes of this program and exit"),
    ];

    const INERT: &'static [&'static str] = &[
        "bind-address",
        "bind-address-hard-fail",
        "cluster-domain",
        "config-sync-period",
        "conntrack-max-per-core",
        "conntrack-min",
        "conntrack-tcp-be-liberal",
        "conntrack-tcp-timeout-close-wait",
        "conntrack-tcp-timeout-established",
        "conntrack-udp-timeout",
        "conntrack-udp-timeout-stream",
        "detect-local-mode",
        "feature-gates",
        "iptables-localhost-nodeports",
        "iptables-masquerade-bit",
        "iptables-min-sync-period",
        "iptables-sync-period",
        "kube-api-burst",
        "kube-api-content-type",
        "kube-api-qps",
        "logging-format",
        "masquerade-bit",
        "nftables-masquerade-bit",
        "nftables-min-sync-period",
        "nftables-sync-period",
        "oom-score-adj",
        "profiling",
        "show-hidden-metrics-for-version",
    ];

    fn read(args: &mut Args) -> Option<Self> {
        let cleanup = args.switch("cleanup");
        let mode = args.text("proxy-mode");
        if !matches!(mode.as_str(), "" | "nftables") {
            args.reject(format!("--proxy-mode: {mode:?} is not built in; the mode here is nftables"));
        }
        let kubeconfig = if cleanup { Some(String::new()) } else { args.required("kubeconfig") };
        let node = match args.text("hostname-override") {
            name if !name.is_empty() => name,
            _ => rustix::system::uname().nodename().to_string_lossy().trim().to_lowercase(),
        };
        let (pods, services) = (v4(args.many("cluster-cidr")), v4(args.many("service-cluster-ip-range")));
        let masquerade_all = args.switch("masquerade-all");
        let node_ports = node_ports(args);
        let (healthz, metrics) =
            (args.optional("healthz-bind-address"), args.optional("metrics-bind-address"));
        let options = Options { pods, services, node_ports, masquerade_all };
        Some(Self { kubeconfig: kubeconfig?, node, options, cleanup, healthz, metrics })
    }
}

/// IPv6 ranges are accepted, so that one setting serves all daemons, and have no rules yet.
fn v4(nets: Vec<IpNet>) -> Vec<Ipv4Net> {
    nets.into_iter()
        .filter_map(|net| match net {
            IpNet::V4(net) => Some(net.trunc()),
            IpNet::V6(_) => None,
        })
        .collect()
}

fn node_ports(args: &mut Args) -> Vec<Ipv4Net> {
    let texts: Vec<String> = args.many("nodeport-addresses");
    let mut nets = Vec::new();
    for text in texts {
        match text.parse() {
            Ok(net) => nets.push(net),
            Err(_) => args.reject(format!(
                "--nodeport-addresses: {text:?} is not a range of addresses such as 192.168.0.0/24"
            )),
        }
    }
    let nets = v4(nets);
    // A range of everything means the same as none: wherever the node is reached.
    if nets.iter().any(|net| net.prefix_len() == 0) { Vec::new() } else { nets }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_what_they_mean() {
        let cases: &[(&str, Result<&str, &str>)] = &[
            ("--kubeconfig k --hostname-override n", Ok("n")),
            ("--kubeconfig k --hostname-override n --iptables-sync-period 5s", Ok("n")),
            ("--hostname-override n --cleanup", Ok("n")),
            ("--hostname-override n", Err("--kubeconfig is required")),
            (
                "--kubeconfig k --proxy-mode ipvs",
                Err("--proxy-mode: \"ipvs\" is not built in; the mode here is nftables"),
            ),
            (
                "--kubeconfig k --nodeport-addresses primary",
                Err("--nodeport-addresses: \"primary\" is not a range of addresses such as 192.168.0.0/24"),
            ),
        ];
        for (line, expected) in cases {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let parsed = daemon::flag::parse::<Settings>(&words);
            let parsed = parsed.map(|(settings, _, _)| settings.node).map_err(|mistakes| mistakes.join("\n"));
            assert_eq!(parsed.as_deref().map_err(String::as_str), *expected, "{line}");
        }
    }
}
