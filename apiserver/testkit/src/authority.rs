//! A certificate authority that lives as long as a test.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Signs certificates.
pub struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
#[derive(Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// The same in PEM.
    pub certificate_pem: String,
    /// The key.
    pub key: PrivateKeyDer<'static>,
    /// The same in PEM.
    pub key_pem: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = named("test authority", &[]);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate of its own");
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// Its certificate.
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }

    /// Its certificate in PEM.
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// An identity for a server on the loopback interface.
    pub fn server(&self) -> Identity {
        let names = ["127.0.0.1", "::1", "localhost"].map(str::to_owned);
        let params = CertificateParams::new(names).expect("names that certificates can have");
        self.sign(params, "test server", &[], ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// An identity for a client, with one group at most.
    ///
    /// # Panics
    /// With more groups: the library that writes certificates keeps one attribute of a sort.
    pub fn client(&self, name: &str, groups: &[&str]) -> Identity {
        assert!(groups.len() <= 1, "a test's certificate has one group at most: {groups:?}");
        let params = CertificateParams::new(Vec::new()).expect("no names");
        self.sign(params, name, groups, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        name: &str,
        groups: &[&str],
        usage: ExtendedKeyUsagePurpose,
    ) -> Identity {
        params.distinguished_name = named(name, groups);
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a signed certificate");
        Identity {
            certificate: certificate.der().clone(),
            certificate_pem: certificate.pem(),
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            key_pem: key.serialize_pem(),
        }
    }
}

fn named(name: &str, groups: &[&str]) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    for group in groups {
        names.push(DnType::OrganizationName, *group);
    }
    names
}

/// A request for a certificate, in PEM, with a key of its own.
///
/// # Panics
/// Where the library that writes it fails, which fails the test.
pub fn request(name: &str, group: &str) -> String {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.distinguished_name = named(name, &[group]);
    let key = KeyPair::generate().expect("a key");
    params.serialize_request(&key).and_then(|request| request.pem()).expect("a request")
}

/// Bytes as kubeconfigs carry them.
pub(crate) fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
