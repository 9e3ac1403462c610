//! The certificates of this node: which one a client gets, by the name it asks for.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use client::Key;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::model::Secret;

/// Who the certificate is for that nobody asked us to have.
const DEFAULT_NAME: &str = "ISOPOD DEFAULT CERTIFICATE";

/// Where a Secret of type `kubernetes.io/tls` has its certificates.
const CERTIFICATE: &str = "tls.crt";

/// Where it has their key.
const PRIVATE_KEY: &str = "tls.key";

/// What the handshake looks certificates up in; what is in it is replaced whole.
#[derive(Debug)]
pub struct Resolver {
    current: ArcSwap<Shelf>,
    own: Arc<CertifiedKey>,
}

/// The certificates by name.
#[derive(Debug, Default)]
struct Shelf {
    hosts: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows the first label, dot included.
    wildcards: HashMap<String, Arc<CertifiedKey>>,
    fallback: Option<Arc<CertifiedKey>>,
}

/// The certificates of Secrets, each read once for each version of it.
#[derive(Debug, Default)]
pub struct Read {
    known: BTreeMap<Key, (Option<String>, Option<Arc<CertifiedKey>>)>,
}

impl Read {
    /// What is in this Secret; nothing, with a word in the log, where it cannot be used.
    fn certificate(&mut self, key: &Key, secret: &Secret) -> Option<Arc<CertifiedKey>> {
        let version = &secret.metadata.resource_version;
        if let Some((known, certificate)) = self.known.get(key)
            && known == version
        {
            return certificate.clone();
        }
        let certificate = match certified(secret) {
            Ok(certificate) => Some(Arc::new(certificate)),
            Err(error) => {
                tracing::warn!(secret = %key, "a certificate cannot be used: {error:#}");
                None
            }
        };
        self.known.insert(key.clone(), (version.clone(), certificate.clone()));
        certificate
    }
}

fn certified(secret: &Secret) -> anyhow::Result<CertifiedKey> {
    let part = |name: &str| {
        secret.data.get(name).map(|bytes| &*bytes.0).with_context(|| format!("it has no {name}"))
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(part(CERTIFICATE)?)
        .collect::<Result<_, _>>()
        .with_context(|| format!("{CERTIFICATE} is not PEM"))?;
    let key = PrivateKeyDer::from_pem_slice(part(PRIVATE_KEY)?)
        .with_context(|| format!("{PRIVATE_KEY} holds no private key in PEM"))?;
    CertifiedKey::from_der(chain, key, &provider()).context("certificate and key do not fit")
}

fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

impl Resolver {
    /// One that knows nothing but a certificate of its own making.
    ///
    /// # Errors
    /// Where none can be made.
    pub fn new() -> anyhow::Result<Self> {
        let key = rcgen::KeyPair::generate().context("could not make a key")?;
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, DEFAULT_NAME);
        let certificate = params.self_signed(&key).context("could not make a certificate")?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
        let own = CertifiedKey::from_der(vec![certificate.der().clone()], key, &provider())
            .context("could not use the certificate just made")?;
        Ok(Self { current: ArcSwap::default(), own: Arc::new(own) })
    }

    /// Shows these from now on: a host and the Secret that has its certificate. The first of two for a host counts,
    /// unless it cannot be used; an empty host stands for all others.
    pub fn replace(
        &self,
        read: &mut Read,
        wanted: &[(String, Key)],
        secret: impl Fn(&Key) -> Option<Arc<Secret>>,
    ) {
        let mut shelf = Shelf::default();
        for (host, key) in wanted {
            let Some(secret) = secret(key) else {
                tracing::debug!(secret = %key, %host, "there is no Secret of type kubernetes.io/tls of this name");
                continue;
            };
            let Some(certificate) = read.certificate(key, &secret) else { continue };
            match host.strip_prefix('*') {
                _ if host.is_empty() => {
                    shelf.fallback.get_or_insert(certificate);
                }
                Some(suffix) => {
                    shelf.wildcards.entry(suffix.to_owned()).or_insert(certificate);
                }
                None => {
                    shelf.hosts.entry(host.clone()).or_insert(certificate);
                }
            }
        }
        read.known.retain(|key, _| wanted.iter().any(|(_, wanted)| wanted == key));
        self.current.store(Arc::new(shelf));
    }

    fn certificate(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let shelf = self.current.load();
        let named = name.and_then(|name| {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            let wildcard = || name.find('.').and_then(|dot| shelf.wildcards.get(&name[dot..]));
            shelf.hosts.get(&name).or_else(wildcard)
        });
        Arc::clone(named.or(shelf.fallback.as_ref()).unwrap_or(&self.own))
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certificate(hello.server_name()))
    }
}

/// The TLS side of the listener.
///
/// # Errors
/// Where the cryptography lacks something.
pub fn server(resolver: Arc<Resolver>) -> anyhow::Result<Arc<ServerConfig>> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .context("could not choose TLS versions")?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use client::k8s_openapi::ByteString;
    use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn secret(version: &str) -> Secret {
        let made = rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap();
        let data = [(CERTIFICATE, made.cert.pem()), (PRIVATE_KEY, made.signing_key.serialize_pem())];
        Secret {
            metadata: ObjectMeta { resource_version: Some(version.to_owned()), ..ObjectMeta::default() },
            data: data.map(|(name, pem)| (name.to_owned(), ByteString(pem.into_bytes()))).into(),
        }
    }

    #[test]
    fn by_name() {
        let mut broken = secret("1");
        broken.data.insert(PRIVATE_KEY.to_owned(), ByteString(b"nothing".to_vec()));
        let secrets: BTreeMap<Key, Arc<Secret>> =
            [("exact", secret("1")), ("wild", secret("1")), ("other", secret("1")), ("broken", broken)]
                .map(|(name, secret)| (Key::new("d", name), Arc::new(secret)))
                .into();
        let resolver = Resolver::new().unwrap();
        let mut read = Read::default();
        let want = |pairs: &[(&str, &str)]| -> Vec<(String, Key)> {
            pairs.iter().map(|(host, name)| ((*host).to_owned(), Key::new("d", name))).collect()
        };
        let wanted = want(&[
            ("a.com", "gone"),
            ("a.com", "broken"),
            ("a.com", "exact"),
            ("*.a.com", "wild"),
            ("a.com", "other"),
        ]);
        resolver.replace(&mut read, &wanted, |key| secrets.get(key).cloned());
        let of = |name: &str| read.known[&Key::new("d", name)].1.clone().unwrap();
        let (exact, wild) = (of("exact"), of("wild"));
        let cases: &[(Option<&str>, &Arc<CertifiedKey>)] = &[
            (Some("a.com"), &exact),
            (Some("A.com."), &exact),
            (Some("b.a.com"), &wild),
            (Some("c.b.a.com"), &resolver.own),
            (Some("b.com"), &resolver.own),
            (None, &resolver.own),
        ];
        for (name, expected) in cases {
            assert!(Arc::ptr_eq(&resolver.certificate(*name), expected), "{name:?}");
        }
        resolver.replace(&mut read, &want(&[("", "other")]), |key| secrets.get(key).cloned());
        assert_eq!(read.known.len(), 1, "what nobody wants is forgotten");
        assert!(!Arc::ptr_eq(&resolver.certificate(None), &resolver.own));
    }

    #[test]
    fn a_new_version_is_read_anew() {
        let (mut read, key) = (Read::default(), Key::new("d", "s"));
        let first = secret("1");
        let one = read.certificate(&key, &first).unwrap();
        assert!(Arc::ptr_eq(&one, &read.certificate(&key, &first).unwrap()));
        assert!(!Arc::ptr_eq(&one, &read.certificate(&key, &secret("2")).unwrap()));
    }
}
