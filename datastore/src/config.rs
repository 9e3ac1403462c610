//! The datastore's flags, named as etcd names them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use daemon::{Args, Flag};

use crate::compact::Policy;
use crate::durability::Lazy;

/// What `run` works by.
#[derive(Debug)]
pub struct Settings {
    pub data: PathBuf,
    pub listen: Vec<Url>,
    pub metrics: Vec<SocketAddr>,
    pub tls: Option<Tls>,
    pub(crate) policy: Policy,
    pub(crate) lazy: Lazy,
}

/// The files of the serving side of TLS; they are read anew for each connection, so renewed ones take effect at once.
#[derive(Debug, Clone)]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// The authorities whose clients are let in; none means that anybody is.
    pub clients: Option<PathBuf>,
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Url {
    Unix(PathBuf),
    Http(String),
    Https(String),
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) =
            text.split_once("://").ok_or("write unix:///path, http://host:port or https://host:port")?;
        let authority = rest.trim_end_matches('/');
        match scheme {
            "unix" if rest.starts_with('/') => Ok(Self::Unix(rest.into())),
            "unix" => {
                Err("the path of a socket must be absolute, as in unix:///run/datastore.sock".to_owned())
            }
            "http" | "https" if !authority.contains(':') => Err("the port is missing".to_owned()),
            "http" => Ok(Self::Http(authority.to_owned())),
            "https" => Ok(Self::Https(authority.to_owned())),
            _ => Err(format!("the scheme {scheme:?} is unknown; use unix, http or https")),
        }
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Http(authority) => write!(f, "http://{authority}"),
            Self::Https(authority) => write!(f, "https://{authority}"),
        }
    }
}

/// A metrics URL: plain HTTP on an address.
struct Metrics(SocketAddr);

impl FromStr for Metrics {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Url::Http(authority) = text.parse()? else {
            return Err("metrics are served over plain HTTP only, as in http://127.0.0.1:2381".to_owned());
        };
        let authority = authority.replace("localhost:", "127.0.0.1:");
        authority
            .parse()
            .map(Self)
            .map_err(|error| format!("{authority:?} is no address with a port: {error}"))
    }
}

/// How long or how much history is kept, as etcd writes it: a number (of hours or of revisions) or a duration.
fn policy(mode: &str, retention: &str) -> Result<Policy, String> {
    if retention == "0" {
        return Ok(Policy::Everything);
    }
    let unusable = |what: &str| format!("--auto-compaction-retention: {retention:?} is no {what}");
    match mode {
        "revision" => match retention.parse() {
            Ok(kept) if kept > 0 => Ok(Policy::Last(kept)),
            _ => Err(unusable("number of revisions, such as 1000")),
        },
        "periodic" => {
            let number = |text: &str| text.parse::<u32>().ok().map(u64::from);
            let seconds = match retention.char_indices().last() {
                Some((end, 's')) => number(&retention[..end]),
                Some((end, 'm')) => number(&retention[..end]).map(|minutes| minutes * 60),
                Some((end, 'h')) => number(&retention[..end]).map(|hours| hours * 3600),
                _ => number(retention).map(|hours| hours * 3600),
            };
            match seconds {
                Some(seconds) if seconds > 0 => Ok(Policy::Younger(Duration::from_secs(seconds))),
                _ => Err(unusable("duration, such as 5m, 72h or 1 (hours)")),
            }
        }
        _ => Err(format!("--auto-compaction-mode: {mode:?} is unknown; use periodic or revision")),
    }
}

impl daemon::Settings for Settings {
    const FLAGS: &'static [Flag] = &[
        Flag::one("data-dir", "/var/lib/isopod/server/db", "Where the data is kept"),
        Flag::many(
            "listen-client-urls",
            "",
            "Where to serve: unix:///path, http://host:port, https://host:port (default datastore.sock in the data directory)",
        ),
        Flag::many("listen-metrics-urls", "", "Where to serve /readyz and /metrics: http://address:port"),
        Flag::one("cert-file", "", "The certificate served on https"),
        Flag::one("key-file", "", "Its private key"),
        Flag::one("trusted-ca-file", "", "The authorities that clients' certificates may come from"),
        Flag::switch("client-cert-auth", false, "Whether clients on https must show a certificate"),
        Flag::one("auto-compaction-mode", "periodic", "What bounds history by itself: periodic or revision"),
        Flag::one(
            "auto-compaction-retention",
            "5m",
            "How much history stays: a duration, hours, or revisions; 0 keeps all",
        ),
        Flag::many(
            "lazy-prefixes",
            "/registry/leases/kube-node-lease/,/registry/events/",
            "Keys whose changes do not wait for the disk, so a power cut may lose the latest; empty for none",
        ),
    ];

    const INERT: &'static [&'static str] = &[
        "advertise-client-urls",
        "election-timeout",
        "enable-v2",
        "experimental-initial-corrupt-check",
        "experimental-watch-progress-notify-interval",
        "heartbeat-interval",
        "initial-advertise-peer-urls",
        "initial-cluster",
        "initial-cluster-state",
        "initial-cluster-token",
        "listen-peer-urls",
        "log-level",
        "log-outputs",
        "logger",
        "max-request-bytes",
        "max-txn-ops",
        "name",
        "peer-cert-file",
        "peer-client-cert-auth",
        "peer-key-file",
        "peer-trusted-ca-file",
        "quota-backend-bytes",
        "snapshot-count",
    ];

    fn read(args: &mut Args) -> Option<Self> {
        let data: Option<PathBuf> = args.required("data-dir");
        let mut listen: Vec<Url> = args.many("listen-client-urls");
        let metrics = args.many::<Metrics>("listen-metrics-urls").into_iter().map(|url| url.0).collect();
        let tls = tls(args, listen.iter().any(|url| matches!(url, Url::Https(_))));
        let policy = policy(&args.text("auto-compaction-mode"), &args.text("auto-compaction-retention"))
            .map_err(|mistake| args.reject(mistake));
        let (data, lazy) = (data?, Lazy::new(args.many("lazy-prefixes")));
        if listen.is_empty() {
            let directory = std::path::absolute(&data).unwrap_or_else(|_| data.clone());
            listen.push(Url::Unix(directory.join("datastore.sock")));
        }
        Some(Self { data, listen, metrics, tls, policy: policy.ok()?, lazy })
    }
}

fn tls(args: &mut Args, https: bool) -> Option<Tls> {
    let certificate: Option<PathBuf> = args.optional("cert-file");
    let key: Option<PathBuf> = args.optional("key-file");
    let authorities: Option<PathBuf> = args.optional("trusted-ca-file");
    let must_show = args.switch("client-cert-auth");
    if must_show && authorities.is_none() {
        args.reject("--client-cert-auth needs --trusted-ca-file");
    }
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            Some(Tls { certificate, key, clients: authorities.filter(|_| must_show) })
        }
        (None, None) if !https => None,
        _ => {
            args.reject("https and TLS need both --cert-file and --key-file");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let cases = [
            ("unix:///run/x.sock", Ok(Url::Unix("/run/x.sock".into()))),
            ("http://127.0.0.1:2379", Ok(Url::Http("127.0.0.1:2379".into()))),
            ("https://[::1]:2379/", Ok(Url::Https("[::1]:2379".into()))),
            ("unix://x.sock", Err("absolute")),
            ("http://localhost", Err("port")),
            ("ftp://localhost:1", Err("unknown")),
            ("2379", Err("write unix:///path")),
        ];
        for (text, expected) in cases {
            match (text.parse::<Url>(), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{text}"),
                (Err(error), Err(part)) => assert!(error.contains(part), "{text}: {error}"),
                (found, expected) => panic!("{text}: {found:?}, expected {expected:?}"),
            }
        }
    }

    #[test]
    fn policies() {
        let age = |seconds| Ok(Policy::Younger(Duration::from_secs(seconds)));
        let cases = [
            ("periodic", "0", Ok(Policy::Everything)),
            ("periodic", "5m", age(300)),
            ("periodic", "30s", age(30)),
            ("periodic", "2", age(7200)),
            ("periodic", "72h", age(72 * 3600)),
            ("revision", "1000", Ok(Policy::Last(1000))),
            ("revision", "5m", Err(())),
            ("periodic", "m", Err(())),
            ("sometimes", "1", Err(())),
        ];
        for (mode, retention, expected) in cases {
            assert_eq!(policy(mode, retention).map_err(drop), expected, "{mode} {retention}");
        }
    }
}
