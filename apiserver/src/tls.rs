//! The serving side's TLS: our certificate, and whose client certificates are looked at.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::Settings;

/// The TLS side of a server with this certificate; clients may show one signed by an authority of `authorities`.
///
/// # Errors
/// Where the certificate and the key do not fit.
pub fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authorities: Vec<CertificateDer<'static>>,
) -> anyhow::Result<Arc<rustls::ServerConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .context("could not choose TLS versions")?;
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).context("an authority's certificate cannot be used")?;
    }
    let builder = if roots.is_empty() {
        builder.with_no_client_auth()
    } else {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .allow_unauthenticated()
            .build()
            .context("could not verify client certificates")?;
        builder.with_client_cert_verifier(verifier)
    };
    let mut config = builder.with_single_cert(chain, key).context("certificate and key do not fit")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The certificates in a file.
///
/// # Errors
/// Where it cannot be read; the message names it.
pub fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .with_context(|| format!("{} does not hold PEM certificates", path.display()))
}

/// The key in a file.
///
/// # Errors
/// Where it cannot be read; the message names it.
pub fn key(path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path)
        .with_context(|| format!("{} does not hold a PEM private key", path.display()))
}

/// The TLS side of the server that the flags describe.
///
/// # Errors
/// Where a file cannot be read or used; the message names it.
pub fn from_settings(settings: &Settings) -> anyhow::Result<Arc<rustls::ServerConfig>> {
    let mut authorities = Vec::new();
    for path in [&settings.client_ca_file, &settings.requestheader_client_ca_file].into_iter().flatten() {
        authorities.extend(certificates(path)?);
    }
    config(certificates(&settings.tls_cert_file)?, key(&settings.tls_private_key_file)?, authorities)
}
