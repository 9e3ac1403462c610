//! The flags of the API server, under kube-apiserver's names, as one checked value.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use daemon::{Args, Flag};
use ipnet::IpNet;

/// Everything the API server can be told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where etcd, or what speaks its protocol, is: `unix:///path`, `http://host:port`, `https://host:port`.
    pub etcd_servers: Vec<String>,
    /// The authority that signed the etcd servers' certificates.
    pub etcd_cafile: Option<PathBuf>,
    /// Our certificate for etcd.
    pub etcd_certfile: Option<PathBuf>,
    /// Our key for etcd.
    pub etcd_keyfile: Option<PathBuf>,
    /// What all our keys begin with.
    pub etcd_prefix: String,
    /// The address to listen on.
    pub bind_address: IpAddr,
    /// The port to listen on; 0 takes a free one.
    pub secure_port: u16,
    /// The address that the `kubernetes` Service leads to.
    pub advertise_address: Option<IpAddr>,
    /// Our certificate and intermediate ones.
    pub tls_cert_file: PathBuf,
    /// Our key.
    pub tls_private_key_file: PathBuf,
    /// The authority whose client certificates count.
    pub client_ca_file: Option<PathBuf>,
    /// The ranges of Services' addresses: one, or one of each family.
    pub service_cluster_ip_range: Vec<IpNet>,
    /// The range of Services' node ports, both ends included.
    pub service_node_port_range: (u16, u16),
    /// The issuers of service account tokens; the first one is put into new tokens.
    pub service_account_issuer: Vec<String>,
    /// Keys that verify service account tokens.
    pub service_account_key_file: Vec<PathBuf>,
    /// The key that signs service account tokens.
    pub service_account_signing_key_file: Option<PathBuf>,
    /// Audiences of the API itself; empty: the issuers.
    pub api_audiences: Vec<String>,
    /// Where the signing keys are published; empty: at our own address.
    pub service_account_jwks_uri: String,
    /// The longest life a token request may ask for; zero: no limit.
    pub service_account_max_token_expiration: Duration,
    /// Whether tokens that admission asked for live a year, for programs that do not read them again.
    pub service_account_extend_token_expiration: bool,
    /// Fixed tokens: lines `token,user,uid,"group,group"`.
    pub token_auth_file: Option<PathBuf>,
    /// The authorizers, in order.
    pub authorization_mode: Vec<String>,
    /// Whether privileged containers are allowed.
    pub allow_privileged: bool,
    /// Whether requests without credentials are `system:anonymous`.
    pub anonymous_auth: bool,
    /// Whether tokens of bootstrap Secrets count.
    pub enable_bootstrap_token_auth: bool,
    /// Our certificate for kubelets.
    pub kubelet_client_certificate: Option<PathBuf>,
    /// Our key for kubelets.
    pub kubelet_client_key: Option<PathBuf>,
    /// The authority that signed the kubelets' certificates.
    pub kubelet_certificate_authority: Option<PathBuf>,
    /// Which of a node's addresses to call, in order of preference.
    pub kubelet_preferred_address_types: Vec<String>,
    /// The authority of front proxies.
    pub requestheader_client_ca_file: Option<PathBuf>,
    /// The common names front proxies may have; empty: any.
    pub requestheader_allowed_names: Vec<String>,
    /// Headers with the user's name.
    pub requestheader_username_headers: Vec<String>,
    /// Headers with the user's groups.
    pub requestheader_group_headers: Vec<String>,
    /// What begins headers with extras.
    pub requestheader_extra_headers_prefix: Vec<String>,
    /// Our certificate as a front proxy.
    pub proxy_client_cert_file: Option<PathBuf>,
    /// Our key as a front proxy.
    pub proxy_client_key_file: Option<PathBuf>,
    /// Groups and versions to switch on or off, as `api/all=true`, `batch/v1=false`.
    pub runtime_config: Vec<String>,
    /// Admission plugins to switch on besides the default ones.
    pub enable_admission_plugins: Vec<String>,
    /// Admission plugins to switch off.
    pub disable_admission_plugins: Vec<String>,
    /// How long events live.
    pub event_ttl: Duration,
    /// How long a request may take, watches and the like excepted.
    pub request_timeout: Duration,
    /// How long a watch lasts at least where the client does not say.
    pub min_request_timeout: Duration,
    /// The seconds a pod gets to leave a node that is not ready.
    pub default_not_ready_toleration_seconds: i64,
    /// The seconds a pod gets to leave a node that cannot be reached.
    pub default_unreachable_toleration_seconds: i64,
    /// The socket of the supervisor, which answers its own paths.
    pub supervisor_socket: Option<PathBuf>,
}

/// A duration as Go writes it (`1h30m`, `10s`, `500ms`).
#[derive(Debug, Clone, Copy)]
struct GoDuration(Duration);

impl std::str::FromStr for GoDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "a duration is numbers with units, such as 1h30m or 500ms".to_owned();
        let mut total = 0.0;
        let mut rest = text;
        while !rest.is_empty() {
            if rest == "0" {
                break;
            }
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
            let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
            rest = &rest[digits..];
            let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            total += number
                * match &rest[..letters] {
                    "h" => 3600.0,
                    "m" => 60.0,
                    "s" => 1.0,
                    "ms" => 0.001,
                    _ => return Err(wrong()),
                };
            rest = &rest[letters..];
        }
        Duration::try_from_secs_f64(total).map(Self).map_err(|_| wrong())
    }
}

/// A range of ports, `30000-32767`.
#[derive(Debug, Clone, Copy)]
struct PortRange(u16, u16);

impl std::str::FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "a range of ports is two numbers, as in 30000-32767".to_owned();
        let (low, high) = text.split_once('-').ok_or_else(wrong)?;
        let low: u16 = low.parse().map_err(|_| wrong())?;
        let high: u16 = high.parse().map_err(|_| wrong())?;
        if low > high { Err(wrong()) } else { Ok(Self(low, high)) }
    }
}

impl daemon::Settings for Settings {
    const FLAGS: &'static [Flag] = &[
        Flag::many("etcd-servers", "", "etcd endpoints: unix:///path, http://host:port or https://host:port"),
        Flag::one("etcd-cafile", "", "the authority that signed the etcd servers' certificates"),
        Flag::one("etcd-certfile", "", "the client certificate for etcd"),
        Flag::one("etcd-keyfile", "", "the client key for etcd"),
        Flag::one("etcd-prefix", "/registry", "what all keys in etcd begin with"),
        Flag::one("bind-address", "0.0.0.0", "the address to listen on"),
        Flag::one("secure-port", "6443", "the port to listen on"),
        Flag::one("advertise-address", "", "the address that members of the cluster reach this server at"),
        Flag::one("tls-cert-file", "", "the serving certificate, followed by intermediate ones"),
        Flag::one("tls-private-key-file", "", "the serving key"),
        Flag::one("client-ca-file", "", "the authority whose client certificates are accepted"),
        Flag::many("service-cluster-ip-range", "10.43.0.0/16", "the ranges of Services' addresses"),
        Flag::one("service-node-port-range", "30000-32767", "the range of Services' node ports"),
        Flag::many(
            "service-account-issuer",
            "https://kubernetes.default.svc.cluster.local",
            "the issuers of service account tokens",
        ),
        Flag::many("service-account-key-file", "", "keys that verify service account tokens"),
        Flag::one("service-account-signing-key-file", "", "the key that signs service account tokens"),
        Flag::many("api-audiences", "", "audiences of the API; the issuers where not given"),
        Flag::one("service-account-jwks-uri", "", "where the signing keys are published"),
        Flag::one("service-account-max-token-expiration", "0", "the longest life of a requested token"),
        Flag::switch(
            "service-account-extend-token-expiration",
            true,
            "whether tokens of pods live longer than admission asked for",
        ),
        Flag::one("token-auth-file", "", "fixed tokens, as lines of token,user,uid,\"groups\""),
        Flag::many("authorization-mode", "AlwaysAllow", "the authorizers, in order"),
        Flag::switch("allow-privileged", false, "whether privileged containers are allowed"),
        Flag::switch("anonymous-auth", true, "whether requests without credentials are system:anonymous"),
        Flag::switch(
            "enable-bootstrap-token-auth",
            false,
            "whether tokens of bootstrap Secrets are accepted",
        ),
        Flag::one("kubelet-client-certificate", "", "the client certificate for kubelets"),
        Flag::one("kubelet-client-key", "", "the client key for kubelets"),
        Flag::one(
            "kubelet-certificate-authority",
            "",
            "the authority that signed the kubelets' certificates",
        ),
        Flag::many(
            "kubelet-preferred-address-types",
            "InternalIP,ExternalIP,Hostname,InternalDNS,ExternalDNS",
            "which of a node's addresses to call, in order of preference",
        ),
        Flag::one("requestheader-client-ca-file", "", "the authority of front proxies"),
        Flag::many("requestheader-allowed-names", "", "common names of front proxies; any where empty"),
        Flag::many("requestheader-username-headers", "", "headers in which front proxies name the user"),
        Flag::many("requestheader-group-headers", "", "headers in which front proxies name the groups"),
        Flag::many(
            "requestheader-extra-headers-prefix",
            "",
            "what begins front proxies' headers with extras",
        ),
        Flag::one("proxy-client-cert-file", "", "the client certificate for aggregated API servers"),
        Flag::one("proxy-client-key-file", "", "the client key for aggregated API servers"),
        Flag::many("runtime-config", "", "groups and versions to switch on or off, as api/all=true"),
        Flag::many("enable-admission-plugins", "", "admission plugins besides the default ones"),
        Flag::many("disable-admission-plugins", "", "admission plugins to switch off"),
        Flag::one("event-ttl", "1h", "how long events live"),
        Flag::one("request-timeout", "1m", "how long a request may take"),
        Flag::one("min-request-timeout", "30m", "how long a watch lasts at least"),
        Flag::one("default-not-ready-toleration-seconds", "300", "toleration of nodes that are not ready"),
        Flag::one("default-unreachable-toleration-seconds", "300", "toleration of unreachable nodes"),
        Flag::one("supervisor-socket", "", "the socket of the supervisor, which answers its own paths"),
    ];

    const INERT: &'static [&'static str] = &[
        "allow-metric-labels",
        "apiserver-count",
        "cert-dir",
        "cloud-provider",
        "contention-profiling",
        "cors-allowed-origins",
        "default-watch-cache-size",
        "delete-collection-workers",
        "enable-aggregator-routing",
        "enable-garbage-collector",
        "enable-priority-and-fairness",
        "endpoint-reconciler-type",
        "etcd-compaction-interval",
        "etcd-count-metric-poll-period",
        "etcd-db-metric-poll-interval",
        "etcd-healthcheck-timeout",
        "etcd-readycheck-timeout",
        "etcd-servers-overrides",
        "feature-gates",
        "goaway-chance",
        "http2-max-streams-per-connection",
        "kubelet-timeout",
        "lease-reuse-duration-seconds",
        "livez-grace-period",
        "log-flush-frequency",
        "logging-format",
        "max-mutating-requests-inflight",
        "max-requests-inflight",
        "profiling",
        "requestheader-uid-headers",
        "service-account-lookup",
        "shutdown-delay-duration",
        "shutdown-send-retry-after",
        "storage-backend",
        "storage-media-type",
        "tls-cipher-suites",
        "tls-min-version",
        "vmodule",
        "watch-cache",
        "watch-cache-sizes",
    ];

    fn read(args: &mut Args) -> Option<Self> {
        let etcd_servers: Vec<String> = args.many("etcd-servers");
        if etcd_servers.is_empty() {
            args.reject("--etcd-servers is required; name the datastore, as in unix:///run/isopod/db.sock");
        }
        let cert: Option<PathBuf> = args.required("tls-cert-file");
        let key: Option<PathBuf> = args.required("tls-private-key-file");
        let ports: Option<PortRange> = args.required("service-node-port-range");
        let durations =
            ["service-account-max-token-expiration", "event-ttl", "request-timeout", "min-request-timeout"]
                .map(|name| args.required::<GoDuration>(name));
        let [Some(token_life), Some(event_ttl), Some(request_timeout), Some(min_request_timeout)] = durations
        else {
            return None;
        };
        let (etcd, kubelet) = (Files::read(args, ETCD), Files::read(args, KUBELET));
        Some(Self {
            etcd_servers,
            etcd_cafile: etcd.authority,
            etcd_certfile: etcd.certificate,
            etcd_keyfile: etcd.key,
            etcd_prefix: format!("/{}", args.text("etcd-prefix").trim_matches('/')),
            bind_address: args.required("bind-address")?,
            secure_port: args.required("secure-port")?,
            advertise_address: args.optional("advertise-address"),
            tls_cert_file: cert?,
            tls_private_key_file: key?,
            client_ca_file: args.optional("client-ca-file"),
            service_cluster_ip_range: ranges(args),
            service_node_port_range: ports.map(|range| (range.0, range.1))?,
            service_account_issuer: args.many("service-account-issuer"),
            service_account_key_file: args.many("service-account-key-file"),
            service_account_signing_key_file: args.optional("service-account-signing-key-file"),
            api_audiences: args.many("api-audiences"),
            service_account_jwks_uri: args.text("service-account-jwks-uri"),
            service_account_max_token_expiration: token_life.0,
            service_account_extend_token_expiration: args.switch("service-account-extend-token-expiration"),
            token_auth_file: args.optional("token-auth-file"),
            authorization_mode: modes(args),
            allow_privileged: args.switch("allow-privileged"),
            anonymous_auth: args.switch("anonymous-auth"),
            enable_bootstrap_token_auth: args.switch("enable-bootstrap-token-auth"),
            kubelet_client_certificate: kubelet.certificate,
            kubelet_client_key: kubelet.key,
            kubelet_certificate_authority: kubelet.authority,
            kubelet_preferred_address_types: args.many("kubelet-preferred-address-types"),
            requestheader_client_ca_file: args.optional("requestheader-client-ca-file"),
            requestheader_allowed_names: args.many("requestheader-allowed-names"),
            requestheader_username_headers: args.many("requestheader-username-headers"),
            requestheader_group_headers: args.many("requestheader-group-headers"),
            requestheader_extra_headers_prefix: args.many("requestheader-extra-headers-prefix"),
            proxy_client_cert_file: args.optional("proxy-client-cert-file"),
            proxy_client_key_file: args.optional("proxy-client-key-file"),
            runtime_config: args.many("runtime-config"),
            enable_admission_plugins: args.many("enable-admission-plugins"),
            disable_admission_plugins: args.many("disable-admission-plugins"),
            event_ttl: event_ttl.0,
            request_timeout: request_timeout.0,
            min_request_timeout: min_request_timeout.0,
            default_not_ready_toleration_seconds: args.required("default-not-ready-toleration-seconds")?,
            default_unreachable_toleration_seconds: args
                .required("default-unreachable-toleration-seconds")?,
            supervisor_socket: args.optional("supervisor-socket"),
        })
    }
}

/// The ranges of Services' addresses.
fn ranges(args: &mut Args) -> Vec<IpNet> {
    let ranges: Vec<IpNet> = args.many("service-cluster-ip-range");
    if ranges.is_empty() || ranges.len() > 2 {
        args.reject("--service-cluster-ip-range takes one range, or one of each address family");
    }
    ranges
}

/// The authorizers, which must be known ones: who misspells one would go unguarded.
fn modes(args: &mut Args) -> Vec<String> {
    let modes: Vec<String> = args.many("authorization-mode");
    for mode in modes.iter().filter(|mode| !crate::authz::is_mode(mode)) {
        args.reject(format!(
            "--authorization-mode: there is no {mode:?}; take some of Node, RBAC, AlwaysAllow and AlwaysDeny"
        ));
    }
    modes
}

/// The three files of a TLS client.
struct Files {
    authority: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

const ETCD: [&str; 3] = ["etcd-cafile", "etcd-certfile", "etcd-keyfile"];
const KUBELET: [&str; 3] =
    ["kubelet-certificate-authority", "kubelet-client-certificate", "kubelet-client-key"];

impl Files {
    fn read(args: &mut Args, names: [&'static str; 3]) -> Self {
        let [authority, certificate, key] = names.map(|name| args.optional::<PathBuf>(name));
        if certificate.is_some() != key.is_some() {
            args.reject(format!("--{} and --{} are given together or not at all", names[1], names[2]));
        }
        Self { authority, certificate, key }
    }
}

impl Settings {
    /// Settings of a test: everything at its default, on a free port of the loopback interface.
    pub fn for_tests() -> Self {
        let line: Vec<String> = [
            "--etcd-servers=memory:",
            "--bind-address=127.0.0.1",
            "--secure-port=0",
            "--tls-cert-file=none",
            "--tls-private-key-file=none",
            "--allow-privileged",
            // Tests of other things need not make a service account first, nor make nodes ready.
            "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
        ]
        .map(str::to_owned)
        .into();
        match daemon::flag::parse::<Self>(&line) {
            Ok((settings, _, _)) => settings,
            // The line above is fixed, and a test holds it to be right.
            Err(mistakes) => unreachable!("{mistakes:?}"),
        }
    }

    /// The address we tell others to reach us at.
    pub fn advertised(&self) -> IpAddr {
        match (self.advertise_address, self.bind_address) {
            (Some(address), _) => address,
            (None, address) if !address.is_unspecified() => address,
            (None, _) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_of_tests_are_the_defaults() {
        let settings = Settings::for_tests();
        assert_eq!(settings.service_node_port_range, (30000, 32767));
        assert_eq!(settings.event_ttl, Duration::from_secs(3600));
        assert_eq!(settings.etcd_prefix, "/registry");
    }

    #[test]
    fn durations() {
        for (text, seconds) in [("1h30m", Some(5400.0)), ("500ms", Some(0.5)), ("0", Some(0.0)), ("5", None)]
        {
            let parsed = text.parse::<GoDuration>().ok().map(|duration| duration.0.as_secs_f64());
            assert_eq!(parsed, seconds, "{text}");
        }
    }
}
