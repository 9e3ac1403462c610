//! The demo on both nodes, and its Ingress over TLS with the certificate of its Secret.

use std::net::TcpStream;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use e2e::stage::Stage;
use rustls::pki_types::ServerName;
use xtask::web;

/// The host of the demo's Ingress.
pub(crate) const HOST: &str = "web.demo.example";

pub(crate) fn deploy(stage: &Stage) -> Result<()> {
    stage.play(concat!(
        "$ kubectl apply -f $M/demo.yaml > /dev/null\n",
        "$ kubectl -n demo rollout status deployment/web --timeout=90s | tail -n 1\n",
        "deployment \"web\" successfully rolled out\n",
        "$ kubectl -n demo wait --for=condition=Ready pod/caller pod/caller1 --timeout=60s\n",
        "pod/caller condition met\n",
        "pod/caller1 condition met\n",
    ))
}

pub(crate) fn tls(stage: &Stage) -> Result<()> {
    let made =
        rcgen::generate_simple_self_signed(vec![HOST.to_owned()]).context("could not make a certificate")?;
    let folder = &stage.cluster.site.folder;
    let (certificate, key) = (folder.join("web.crt"), folder.join("web.key"));
    std::fs::write(&certificate, made.cert.pem()).context("could not write the certificate")?;
    std::fs::write(&key, made.signing_key.serialize_pem()).context("could not write its key")?;
    let files = [format!("--cert={}", certificate.display()), format!("--key={}", key.display())];
    stage.kubectl().run(&["-n", "demo", "delete", "secret", "web-tls", "--ignore-not-found"])?;
    stage.kubectl().run(&["-n", "demo", "create", "secret", "tls", "web-tls", &files[0], &files[1]])?;

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).context("the certificate is no authority")?;
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let config = Arc::new(config);
    for index in 0..stage.cluster.hosts.len() {
        let address = format!("{}:443", stage.cluster.address(index));
        // The ingress learns of the Secret by a watch.
        let answer = xtask::patience::until("the ingress shows the certificate", super::SOON, || {
            Ok(ask(&config, &address).ok().filter(|answer| answer.status == 200))
        })
        .or_else(|error| ask(&config, &address).context(error.to_string()))?;
        ensure!(answer.body.starts_with("web 1 on web-"), "{address} answers {answer:?}");
    }
    Ok(())
}

fn ask(config: &Arc<rustls::ClientConfig>, address: &str) -> Result<web::Answer> {
    let name = ServerName::try_from(HOST).context("the host is a name")?;
    let session = rustls::ClientConnection::new(Arc::clone(config), name).context("could not begin TLS")?;
    let stream = TcpStream::connect(address).with_context(|| format!("could not connect to {address}"))?;
    web::ask(rustls::StreamOwned::new(session, stream), HOST, "/")
}
