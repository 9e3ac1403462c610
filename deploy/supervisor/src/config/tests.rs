//! What command lines mean, and which are refused.

use super::*;

fn parse(line: &str) -> Result<Server, Vec<String>> {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    daemon::flag::parse::<Server>(&words).map(|(server, _, _)| server)
}

#[test]
fn defaults_are_k3s() {
    let server = parse("--node-name A").unwrap();
    assert_eq!(server.node.name, "a");
    assert_eq!(server.cluster.port, 6443);
    assert_eq!(server.cluster.dns, ["10.43.0.10".parse::<IpAddr>().unwrap()]);
    assert_eq!(server.kubeconfig.mode, 0o600);
    assert_eq!(server.node.layout.kubelet_root(), Path::new("/var/lib/kubelet"));
    let elsewhere = parse("--data-dir /x").unwrap();
    assert_eq!(elsewhere.node.layout.kubelet_root(), Path::new("/x/agent/kubelet"));
}

#[test]
fn lists_of_a_components_flags_keep_their_commas() {
    let server =
        parse("--kubelet-arg=node-labels=a=b,c=d --kubelet-arg max-pods=7 --disable traefik").unwrap();
    assert_eq!(server.node.more[0].1, ["--node-labels=a=b,c=d", "--max-pods=7"]);
    assert_eq!(server.node.disabled, ["ingress"]);
}

#[test]
fn mistakes_name_the_flag() {
    let cases = [
        ("--disable nginx", "--disable: \"nginx\" is no component; there are"),
        ("--cluster-dns 10.0.0.1", "--cluster-dns: 10.0.0.1 is not in --service-cidr"),
        ("--flannel-backend ipip", "--flannel-backend: \"ipip\" is not built in"),
        ("--write-kubeconfig-mode rw", "--write-kubeconfig-mode: \"rw\" is no mode such as 644"),
        ("--token K10x", "--token: \"K10x\" is not usable: a full token is"),
        ("--datastore-endpoint mysql://x", "--datastore-endpoint: \"mysql://x\" is not a list of etcd URLs"),
        ("--token-file /nowhere", "--token-file: /nowhere holds no token"),
        ("--tls-sun a", "--tls-sun is not a known flag"),
    ];
    for (line, expected) in cases {
        let mistakes = parse(line).unwrap_err();
        assert!(mistakes[0].starts_with(expected), "{line}: {mistakes:?}");
    }
}
