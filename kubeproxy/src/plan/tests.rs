//! Services and slices in, rules out: `tests/NAME.yaml` is planned for node `here` and compared with `tests/NAME.nft`.
//!
//! `UPDATE=1 cargo test -p kubeproxy plan` writes the expected files anew; read the difference before committing it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use client::k8s_openapi::api::core::v1 as core;
use client::k8s_openapi::api::discovery::v1::EndpointSlice;
use nft::Nft;
use serde_saphyr::from_str;
use testkit::netns::Namespace;

use super::*;
use crate::model::Service;

fn options() -> Options {
    Options {
        pods: vec!["10.42.0.0/16".parse().unwrap()],
        services: vec!["10.43.0.0/16".parse().unwrap()],
        ..Options::default()
    }
}

/// The first document is the Service, the others are slices.
fn read(text: &str) -> Option<Service> {
    let mut documents = text.split("\n---\n");
    let service: core::Service = from_str(documents.next().unwrap()).unwrap();
    let slices: Vec<Arc<EndpointSlice>> =
        documents.map(|document| Arc::new(from_str(document).unwrap())).collect();
    Service::of(&service, &slices, "here")
}

fn compare(path: &Path, actual: &str) {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert!(expected == actual, "{} differs; the plan is now:\n{actual}", path.display());
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plan/tests")
}

/// All cases: where they are written, and their parts of the table.
fn cases() -> Vec<(PathBuf, Table)> {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let cases: Vec<(PathBuf, Table)> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| {
            let service = read(&std::fs::read_to_string(&path).unwrap());
            (path, service.map_or_else(empty, |service| part(&service, &options())))
        })
        .collect();
    assert!(!cases.is_empty(), "no case was found");
    cases
}

#[test]
fn each_service_gives_its_rules() {
    for (path, part) in cases() {
        compare(&path.with_extension("nft"), &nft::diff(&empty(), &part).text());
    }
}

/// All cases are one Service in different states: the kernel must take each change from any to any other.
#[tokio::test]
async fn a_service_may_become_any_other() {
    let namespace = Namespace::new("changes");
    let nft = Nft::inside(namespace.path().to_str().unwrap());
    let list = || {
        let text = namespace.run("nft -s list ruleset");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let (cases, frame) = (cases(), frame(&options()));
    for (from, before) in &cases {
        for (to, after) in &cases {
            let mut whole = frame.clone();
            whole.merge(after);
            nft.apply(&nft::replace(&whole)).await.unwrap();
            let expected = list();
            let mut whole = frame.clone();
            whole.merge(before);
            nft.apply(&nft::replace(&whole)).await.unwrap();
            let what = format!("{} to {}", from.display(), to.display());
            nft.apply(&nft::diff(before, after)).await.expect(&what);
            assert_eq!(list(), expected, "{what}");
        }
    }
}

#[test]
fn the_frame_is_as_written() {
    compare(&folder().join("frame.nft"), &nft::replace(&frame(&options())).text());
}

#[test]
fn options_shape_the_frame_and_the_masquerading() {
    let web = read(&std::fs::read_to_string(folder().join("cluster-ip.yaml")).unwrap()).unwrap();
    let narrow =
        Options { node_ports: vec!["192.168.0.0/24".parse().unwrap()], masquerade_all: true, ..options() };
    let dispatch = &frame(&narrow).chains["services"].rules[1];
    assert_eq!(
        dispatch.to_string(),
        "fib daddr type local ip daddr 192.168.0.0/24 meta l4proto . th dport vmap @service-nodeports"
    );
    let first =
        |options: &Options| part(&web, options).chains["service-demo/web/tcp/80"].rules[0].to_string();
    assert_eq!(first(&narrow), "ip daddr 10.43.0.80 tcp dport 80 jump mark-for-masquerade");
    let nowhere = Options { pods: Vec::new(), ..options() };
    assert!(first(&nowhere).starts_with("numgen"));
}
