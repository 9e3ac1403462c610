//! Mutual TLS: who has a certificate of the right authority gets in, and renewed files take effect at once.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use store::Store;
use store::remote::{Remote, Tls};

use crate::etcd::free_ports;
use crate::ours::Ours;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes a certificate and its key as `name.crt` and `name.key`.
fn issue(directory: &Path, authority: &Authority, name: &str) -> (PathBuf, PathBuf) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let files = (directory.join(format!("{name}.crt")), directory.join(format!("{name}.key")));
    std::fs::write(&files.0, certificate.pem()).unwrap();
    std::fs::write(&files.1, key.serialize_pem()).unwrap();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn only_known_clients_get_in() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let scratch = tempfile::tempdir().unwrap();
    let (ours_ca, other_ca) = (authority(), authority());
    let ca = scratch.path().join("ca.crt");
    std::fs::write(&ca, ours_ca.pem()).unwrap();
    let (certificate, key) = issue(scratch.path(), &ours_ca, "server");
    let good = issue(scratch.path(), &ours_ca, "client");
    let bad = issue(scratch.path(), &other_ca, "stranger");
    let [port] = free_ports();
    let flags = [
        format!("--listen-client-urls=https://127.0.0.1:{port}"),
        format!("--cert-file={}", certificate.display()),
        format!("--key-file={}", key.display()),
        format!("--trusted-ca-file={}", ca.display()),
        "--client-cert-auth".to_owned(),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let ours = Ours::start(&scratch.path().join("data"), &flags).await;
    let endpoints = [ours.endpoint.clone()];
    let reaches = async |identity: Option<(PathBuf, PathBuf)>| {
        let tls = Tls { ca: ca.clone(), identity };
        Remote::connect(&endpoints, Some(&tls)).await.unwrap().get(b"/k").await.is_ok()
    };
    for (name, identity, expected) in
        [("client", Some(good.clone()), true), ("stranger", Some(bad), false), ("nobody", None, false)]
    {
        assert_eq!(reaches(identity).await, expected, "{name}");
    }
    // A server certificate that no client trusts, then a good one again: files are read for each connection.
    issue(scratch.path(), &other_ca, "server");
    assert!(!reaches(Some(good.clone())).await);
    issue(scratch.path(), &ours_ca, "server");
    assert!(reaches(Some(good)).await);
    ours.stop().await;
}
