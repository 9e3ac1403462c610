//! What runs where, in which order, with which flags.

use super::*;

fn scene(line: &str) -> Scene {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let (server, _, _) = daemon::flag::parse::<Server>(&words).unwrap();
    Scene {
        node: server.node.clone(),
        cluster: server.cluster.clone(),
        address: "10.214.0.11".parse().unwrap(),
        url: "https://127.0.0.1:6443".to_owned(),
        host: Host { may_protect: false },
        server: Some(server),
    }
}

fn names(line: &str) -> Vec<&'static str> {
    plan(&scene(line)).iter().map(|unit| unit.name).collect()
}

#[test]
fn what_runs() {
    let all: Vec<&str> = COMPONENTS.iter().map(|row| row.name).collect();
    let cases: &[(&str, &[&str])] = &[
        ("", &[]),
        ("--disable-scheduler", &["scheduler"]),
        ("--disable-controller-manager", &["controller-manager"]),
        ("--datastore-endpoint http://127.0.0.1:2379", &["datastore"]),
        ("--disable-agent", &["containerd", "images", "kubelet", "flannel", "kubeproxy", "dns", "ingress"]),
        ("--container-runtime-endpoint /run/crio.sock", &["containerd", "images"]),
        ("--disable traefik", &["ingress"]),
        ("--disable coredns", &["dns"]),
        ("--flannel-backend none --disable-kube-proxy", &["flannel", "kubeproxy"]),
    ];
    for (line, missing) in cases {
        let expected: Vec<&str> = all.iter().copied().filter(|name| !missing.contains(name)).collect();
        assert_eq!(names(line), expected, "{line}");
    }
}

#[test]
fn a_row_comes_after_what_it_needs() {
    let mut before = BTreeSet::new();
    for row in COMPONENTS {
        for need in row.needs {
            assert!(before.contains(need), "{} needs {need}, which comes later", row.name);
        }
        before.insert(row.name);
    }
}

#[test]
fn the_users_flags_take_the_place_of_ours() {
    let units =
        plan(&scene("--kube-apiserver-arg=authorization-mode=AlwaysAllow --kube-apiserver-arg event-ttl=2h"));
    let apiserver = units.iter().find(|unit| unit.name == "apiserver").unwrap();
    let modes: Vec<&String> =
        apiserver.arguments.iter().filter(|flag| flag.starts_with("--authorization-mode")).collect();
    assert_eq!(modes, ["--authorization-mode=AlwaysAllow"]);
    assert!(apiserver.arguments.contains(&"--event-ttl=2h".to_owned()));
    assert!(apiserver.arguments.contains(&"--advertise-address=10.214.0.11".to_owned()));
}
