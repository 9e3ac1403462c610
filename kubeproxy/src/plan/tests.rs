//! Services and slices in, rules out: `tests/NAME.yaml` is planned for node `here` and compared with `tests/NAME.nft`.
//!
//! `UPDATE=1 cargo test -p kubeproxy plan` writes the expected files anew; read the difference before committing it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use client::k8s_openapi::api::core::v1 as core;
use client::k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_saphyr::from_str;

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

#[test]
fn each_service_gives_its_rules() {
    let mut cases = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let service = read(&std::fs::read_to_string(&path).unwrap());
        let part = service.map_or_else(empty, |service| part(&service, &options()));
        compare(&path.with_extension("nft"), &nft::diff(&empty(), &part).text());
        cases += 1;
    }
    assert!(cases > 0, "no case was found");
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
