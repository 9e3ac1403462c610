//! What the scheduler is told on its command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use daemon::{Args, Flag};

/// The settings of the scheduler.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How to reach the API server.
    pub kubeconfig: PathBuf,
    /// Where health and metrics are served; nowhere where the port is 0.
    pub health: Option<SocketAddr>,
    /// The `schedulerName` of the pods this scheduler answers for.
    pub name: String,
}

impl daemon::Settings for Settings {
    const FLAGS: &'static [Flag] = &[
        Flag::one("kubeconfig", "", "The kubeconfig file that says how to reach the API server"),
        Flag::one("bind-address", "127.0.0.1", "The address on which health and metrics are served"),
        Flag::one("secure-port", "10259", "The port on which health and metrics are served; 0 for nowhere"),
        Flag::one("scheduler-name", "default-scheduler", "Only pods with this schedulerName are scheduled"),
    ];
    const INERT: &'static [&'static str] = &[
        "authentication-kubeconfig",
        "authentication-skip-lookup",
        "authentication-tolerate-lookup-failure",
        "authorization-always-allow-paths",
        "authorization-kubeconfig",
        "cert-dir",
        "client-ca-file",
        "contention-profiling",
        "feature-gates",
        "kube-api-burst",
        "kube-api-content-type",
        "kube-api-qps",
        "leader-elect",
        "leader-elect-lease-duration",
        "leader-elect-renew-deadline",
        "leader-elect-resource-lock",
        "leader-elect-resource-name",
        "leader-elect-resource-namespace",
        "leader-elect-retry-period",
        "logging-format",
        "profiling",
        "requestheader-allowed-names",
        "requestheader-client-ca-file",
        "tls-cert-file",
        "tls-cipher-suites",
        "tls-min-version",
        "tls-private-key-file",
    ];

    fn read(args: &mut Args) -> Option<Self> {
        let kubeconfig = args.required("kubeconfig");
        let (address, port) = (args.required::<IpAddr>("bind-address"), args.required::<u16>("secure-port"));
        let name = args.required("scheduler-name");
        Some(Self {
            kubeconfig: kubeconfig?,
            health: Some(SocketAddr::new(address?, port?)).filter(|address| address.port() != 0),
            name: name?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_upstreams() {
        let line = ["--kubeconfig=k", "--leader-elect=false"].map(str::to_owned);
        let (settings, _, _) = daemon::flag::parse::<Settings>(&line).unwrap();
        assert_eq!(settings.health, Some("127.0.0.1:10259".parse().unwrap()));
        assert_eq!(settings.name, "default-scheduler");
    }
}
