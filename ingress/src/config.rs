//! The command line.

use std::net::{IpAddr, SocketAddr};

use daemon::{Args, Flag};

use crate::status::Identity;

/// What the daemon was told.
#[derive(Debug)]
pub struct Settings {
    /// Who it is to the API server.
    pub kubeconfig: String,
    /// Where HTTP is served.
    pub http: SocketAddr,
    /// Where HTTPS is served.
    pub https: SocketAddr,
    /// Who it is among the daemons of other nodes.
    pub identity: Identity,
    /// Where health and metrics are served.
    pub healthz: Option<SocketAddr>,
}

impl daemon::Settings for Settings {
    const FLAGS: &'static [Flag] = &[
        Flag::one("kubeconfig", "", "The file that says where the API server is and who this is"),
        Flag::one("bind-address", "0.0.0.0", "The address to serve on; :: for IPv6 as well"),
        Flag::one("http-port", "80", "The port for HTTP"),
        Flag::one("https-port", "443", "The port for HTTPS"),
        Flag::one("node-name", "", "The name of this node; the host's name where not given"),
        Flag::one("node-ip", "", "The address of this node, told where no nodes are registered"),
        Flag::one("ingress-class", "isopod", "The IngressClass to make and to serve"),
        Flag::one(
            "healthz-bind-address",
            "127.0.0.1:10254",
            "Where to serve health and metrics; empty for nowhere",
        ),
    ];

    fn read(args: &mut Args) -> Option<Self> {
        let kubeconfig = args.required("kubeconfig");
        let bind: Option<IpAddr> = args.required("bind-address");
        let (http, https): (Option<u16>, Option<u16>) =
            (args.required("http-port"), args.required("https-port"));
        if http == https && http != Some(0) && http.is_some() {
            args.reject("--https-port: is the same as --http-port; choose another");
        }
        let node = match args.text("node-name") {
            name if !name.is_empty() => name,
            _ => rustix::system::uname().nodename().to_string_lossy().trim().to_lowercase(),
        };
        // Two families, comma between, is how kubelets are told; the first is the node's own.
        let address = args.many("node-ip").first().copied();
        let class = args.required("ingress-class");
        let healthz = args.optional("healthz-bind-address");
        Some(Self {
            kubeconfig: kubeconfig?,
            http: SocketAddr::new(bind?, http?),
            https: SocketAddr::new(bind?, https?),
            identity: Identity { node, address, class: class? },
            healthz,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_what_they_mean() {
        type Case<'a> = (&'a str, Result<(&'a str, &'a str), &'a str>);
        let cases: &[Case<'_>] = &[
            ("--kubeconfig k --node-name n", Ok(("0.0.0.0:80", "0.0.0.0:443"))),
            (
                "--kubeconfig k --bind-address :: --http-port 8080 --node-ip 10.0.0.1,fd00::1",
                Ok(("[::]:8080", "[::]:443")),
            ),
            ("--node-name n", Err("--kubeconfig is required")),
            (
                "--kubeconfig k --http-port 443",
                Err("--https-port: is the same as --http-port; choose another"),
            ),
            ("--kubeconfig k --node-ip x", Err("--node-ip: \"x\" is not usable: invalid IP address syntax")),
        ];
        for (line, expected) in cases {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let parsed = daemon::flag::parse::<Settings>(&words)
                .map(|(settings, _, _)| (settings.http.to_string(), settings.https.to_string()))
                .map_err(|mistakes| mistakes.join("\n"));
            let expected = expected.map(|(http, https)| (http.to_owned(), https.to_owned()));
            assert_eq!(parsed, expected.map_err(str::to_owned), "{line}");
        }
    }
}
