//! What a supervisor refuses, in which words, and that nothing is left of it.

use client::k8s_openapi::api::core::v1::{Node, Secret};
use client::kube::Api;
use client::kube::api::ListParams;

use crate::node::{Place, Supervisor, administrator, refused};

/// Exit status for a mistake on the command line.
const USAGE: Option<i32> = Some(64);

/// Exit status for any other failure.
const FAILURE: Option<i32> = Some(1);

#[test]
fn mistakes_are_named_with_file_and_flag() {
    let place = Place::new();
    let file = place.path("config.yaml");
    std::fs::write(&file, "tls-sun: a\ndisable: [dns]\n").unwrap();
    let config = format!("--config={}", file.display());
    let cases: [(&[&str], Option<i32>, &str); 4] = [
        (&[&config], USAGE, "config.yaml: \"tls-sun\" is no flag of isopod server"),
        (&["--config=/nowhere.yaml"], USAGE, "/nowhere.yaml: could not read it"),
        (&["--tls-sun=a"], USAGE, "--tls-sun is not a known flag"),
        (&["--kube-scheduler-arg=no-such-flag"], FAILURE, "--no-such-flag is not a known flag"),
    ];
    for (more, status, expected) in cases {
        let (code, words) = refused(&mut place.server(more));
        assert_eq!(code, status, "{more:?}: {words}");
        assert!(words.contains(expected), "{more:?}: {words}");
    }
}

#[test]
fn a_taken_port_is_named() {
    let place = Place::new();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", place.port)).unwrap();
    let (code, words) = refused(&mut place.server(&[]));
    assert_eq!(code, FAILURE, "{words}");
    let expected = format!("apiserver cannot listen on 127.0.0.1:{}", place.port);
    assert!(words.contains(&expected) && words.contains("--https-listen-port"), "{words}");
}

#[test]
fn what_the_host_lacks_is_named_before_anything_starts() {
    let place = Place::new();
    let (code, words) = refused(place.server(&["--disable-agent=false"]).env("PATH", "/nowhere"));
    assert_eq!(code, FAILURE, "{words}");
    for expected in [
        "containerd needs the program containerd; install the package containerd",
        "containerd needs the program runc; install the package runc",
        "kubeproxy needs the program nft; install the package nftables",
    ] {
        assert!(words.contains(expected), "{words}");
    }
    assert!(!place.path("run/pid").exists(), "something was started");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_has_no_right_to_join_leaves_nothing_behind() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let place = Place::new();
    let _supervisor = Supervisor::ready(place.server(&["--token=right"]));
    let token = std::fs::read_to_string(place.path("data/server/token")).unwrap();
    let (hash, _) = token.trim().split_once("::").unwrap();
    let other = format!("K10{}::server:right", "ab".repeat(32));
    let cases = [
        (format!("{hash}::server:wrong"), "the token is not this cluster's"),
        (format!("{hash}::node:wrong"), "the token is not this cluster's"),
        ("wrong".to_owned(), "the token is not this cluster's"),
        (other, "is not the server this token is from"),
        ("K10abc".to_owned(), "a full token is K10"),
    ];
    for (token, expected) in cases {
        let (code, words) = refused(&mut place.agent(&token));
        assert!(code != Some(0) && words.contains(expected), "{words}");
    }
    let (_, words) = refused(place.agent(token.trim()).arg("--node-name=B_b"));
    assert!(words.contains("is no name of a node"), "{words}");
    let (_, words) = refused(&mut place.server(&[]));
    assert!(words.contains("another isopod runs on"), "{words}");
    let client = administrator(&place.kubeconfig()).await;
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await.unwrap();
    assert_eq!(nodes.items.len(), 0);
    let secrets =
        Api::<Secret>::namespaced(client, "kube-system").list(&ListParams::default()).await.unwrap();
    let passwords = secrets.items.iter().filter_map(|secret| secret.metadata.name.as_deref());
    assert_eq!(passwords.filter(|name| name.contains("node-password")).count(), 0);
}

#[test]
fn another_token_than_the_clusters_is_refused_on_a_server() {
    let place = Place::new();
    drop(Supervisor::ready(place.server(&["--token=one"])));
    let (code, words) = refused(&mut place.server(&["--token=two"]));
    assert_eq!(code, FAILURE, "{words}");
    assert!(words.contains("this cluster was made with another token"), "{words}");
}
