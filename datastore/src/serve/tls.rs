//! TLS on accepted connections, with the files as they are at that moment.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::Tls;

/// How long a client may take to agree on TLS.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) type Accepted = io::Result<TlsStream<TcpStream>>;

/// Agrees on TLS with a client.
pub(super) async fn agree(tls: &Tls, stream: TcpStream) -> anyhow::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true).context("could not turn off delays")?;
    let acceptor = acceptor(tls)?;
    let agreed = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await;
    agreed.context("TLS took too long")?.context("TLS was not agreed on")
}

pub(super) fn acceptor(tls: &Tls) -> anyhow::Result<TlsAcceptor> {
    let certificates = certificates(&tls.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key)
        .with_context(|| format!("could not read the private key {} (--key-file)", tls.key.display()))?;
    let builder = match &tls.clients {
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in self::certificates(file)? {
                roots.add(certificate).with_context(|| format!("{} holds no authority", file.display()))?;
            }
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
                .build()
                .with_context(|| format!("{} holds no authority (--trusted-ca-file)", file.display()))?;
            rustls::ServerConfig::builder().with_client_cert_verifier(verifier)
        }
        None => rustls::ServerConfig::builder().with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(certificates, key).with_context(|| {
        format!("{} and {} do not belong together", tls.certificate.display(), tls.key.display())
    })?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let named = || format!("could not read certificates from {}", file.display());
    CertificateDer::pem_file_iter(file).with_context(named)?.collect::<Result<_, _>>().with_context(named)
}
