//! Keys that sign and verify tokens: read from PEM, named by the hash of their public half.

use anyhow::Context as _;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, KeyPair, RsaKeyPair, UnparsedPublicKey};
use rustls_pki_types::{AlgorithmIdentifier, alg_id};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use x509_parser::oid_registry::{OID_EC_P256, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// How a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Rs256,
    Es256,
    Es384,
}

/// A key that verifies tokens.
#[derive(Debug, Clone)]
pub struct Public {
    scheme: Scheme,
    bytes: Vec<u8>,
    id: String,
    json: Value,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ecdsa(Box<EcdsaKeyPair>),
}

/// A key that signs tokens.
pub struct Private {
    pair: Pair,
    public: Public,
}

impl std::fmt::Debug for Private {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Private").field("id", &self.public.id).finish_non_exhaustive()
    }
}

fn web(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Public {
    /// Reads a `SubjectPublicKeyInfo`.
    fn read(der: &[u8]) -> anyhow::Result<Self> {
        let (_, info) = SubjectPublicKeyInfo::from_der(der).context("a public key is malformed")?;
        let id = web(&Sha256::digest(info.raw));
        let curve = info.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
        let parsed = info.parsed().context("a public key is malformed")?;
        let (scheme, json) = match parsed {
            PublicKey::RSA(key) if info.algorithm.algorithm == OID_PKCS1_RSAENCRYPTION => {
                let number =
                    |bytes: &[u8]| web(&bytes[bytes.iter().take_while(|byte| **byte == 0).count()..]);
                let (n, e) = (number(key.modulus), number(key.exponent));
                (
                    Scheme::Rs256,
                    json!({"use": "sig", "kty": "RSA", "kid": id, "alg": "RS256", "n": n, "e": e}),
                )
            }
            PublicKey::EC(point) => {
                let (scheme, curve, algorithm) = match curve {
                    Some(curve) if curve == OID_EC_P256 => (Scheme::Es256, "P-256", "ES256"),
                    Some(curve) if curve == OID_NIST_EC_P384 => (Scheme::Es384, "P-384", "ES384"),
                    _ => anyhow::bail!("a public key is on another curve than P-256 or P-384"),
                };
                // The first byte says that both coordinates follow, uncompressed.
                let coordinates = point.data().get(1..).unwrap_or_default();
                let (x, y) = coordinates.split_at(coordinates.len() / 2);
                let (x, y) = (web(x), web(y));
                (
                    scheme,
                    json!({"use": "sig", "kty": "EC", "kid": id, "crv": curve, "alg": algorithm, "x": x, "y": y}),
                )
            }
            _ => anyhow::bail!("a public key is neither RSA nor ECDSA"),
        };
        Ok(Self { scheme, bytes: info.subject_public_key.data.to_vec(), id, json })
    }

    /// Its name in tokens.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its algorithm, as tokens name it.
    pub fn algorithm(&self) -> &'static str {
        match self.scheme {
            Scheme::Rs256 => "RS256",
            Scheme::Es256 => "ES256",
            Scheme::Es384 => "ES384",
        }
    }

    /// The key as a JSON Web Key.
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// Whether this key's other half made the signature.
    pub fn verifies(&self, message: &[u8], made: &[u8]) -> bool {
        let algorithm: &dyn signature::VerificationAlgorithm = match self.scheme {
            Scheme::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Scheme::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
            Scheme::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
        };
        UnparsedPublicKey::new(algorithm, &self.bytes).verify(message, made).is_ok()
    }
}

impl Private {
    fn rsa(pair: RsaKeyPair) -> anyhow::Result<Self> {
        let public = rustls::sign::public_key_to_spki(&alg_id::RSA_ENCRYPTION, pair.public().as_ref());
        Ok(Self { public: Public::read(&public)?, pair: Pair::Rsa(Box::new(pair)) })
    }

    /// An ECDSA key, in PKCS#8 or (with the curve to try) in SEC 1.
    fn ecdsa(der: &[u8], is_sec1: bool) -> anyhow::Result<Self> {
        let curves = [
            (&signature::ECDSA_P256_SHA256_FIXED_SIGNING, alg_id::ECDSA_P256),
            (&signature::ECDSA_P384_SHA384_FIXED_SIGNING, alg_id::ECDSA_P384),
        ];
        for (algorithm, curve) in curves {
            let wrapped = if is_sec1 { pkcs8(curve, der) } else { der.to_vec() };
            let Ok(pair) = EcdsaKeyPair::from_pkcs8(algorithm, &wrapped, &SystemRandom::new()) else {
                continue;
            };
            let public = rustls::sign::public_key_to_spki(&curve, pair.public_key().as_ref());
            return Ok(Self { public: Public::read(&public)?, pair: Pair::Ecdsa(Box::new(pair)) });
        }
        anyhow::bail!("the private key is neither RSA nor ECDSA with P-256 or P-384 and its public half")
    }

    /// The half that verifies.
    pub fn public(&self) -> &Public {
        &self.public
    }

    /// Signs.
    ///
    /// # Errors
    /// Where the system has no randomness to give.
    pub fn sign(&self, message: &[u8]) -> anyhow::Result<Vec<u8>> {
        let random = SystemRandom::new();
        let failed = |_| anyhow::anyhow!("the key did not sign");
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut made = vec![0; pair.public().modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut made).map_err(failed)?;
                Ok(made)
            }
            Pair::Ecdsa(pair) => {
                pair.sign(&random, message).map(|made| made.as_ref().to_vec()).map_err(failed)
            }
        }
    }
}

/// DER: a tag, a length, contents.
fn der(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match contents.len() {
        length @ 0..=127 => out.push(length as u8),
        length => {
            let bytes = length.to_be_bytes();
            let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
            out.push(0x80 | bytes.len() as u8);
            out.extend_from_slice(bytes);
        }
    }
    out.extend_from_slice(contents);
    out
}

/// A SEC 1 key in the envelope that the signing library wants.
fn pkcs8(curve: AlgorithmIdentifier, sec1: &[u8]) -> Vec<u8> {
    const INTEGER_ZERO: [u8; 3] = [2, 1, 0];
    let inner = [&INTEGER_ZERO[..], &der(0x30, curve.as_ref()), &der(0x04, sec1)].concat();
    der(0x30, &inner)
}

/// The first private key of a PEM file.
///
/// # Errors
/// Where there is none, or none of a sort that signs tokens.
pub fn private_key(pem: &[u8]) -> anyhow::Result<Private> {
    for block in Pem::iter_from_buffer(pem) {
        let block = block.context("the PEM is malformed")?;
        if let Some(key) = private(&block) {
            return key;
        }
    }
    anyhow::bail!("there is no private key in it")
}

/// A PEM block as a private key, where it is one.
fn private(block: &Pem) -> Option<anyhow::Result<Private>> {
    let contents = &block.contents;
    let rejected = |error: ring::error::KeyRejected| anyhow::anyhow!("the RSA key cannot be used: {error}");
    match block.label.as_str() {
        "RSA PRIVATE KEY" => Some(RsaKeyPair::from_der(contents).map_err(rejected).and_then(Private::rsa)),
        "EC PRIVATE KEY" => Some(Private::ecdsa(contents, true)),
        "PRIVATE KEY" => Some(match RsaKeyPair::from_pkcs8(contents) {
            Ok(pair) => Private::rsa(pair),
            Err(error) => Private::ecdsa(contents, false).with_context(|| format!("as an RSA key: {error}")),
        }),
        _ => None,
    }
}

/// All keys of a PEM file, of private ones the public half.
///
/// # Errors
/// Where there is none, or one that is malformed or of another sort.
pub fn public_keys(pem: &[u8]) -> anyhow::Result<Vec<Public>> {
    let mut keys = Vec::new();
    for block in Pem::iter_from_buffer(pem) {
        let block = block.context("the PEM is malformed")?;
        match block.label.as_str() {
            "PUBLIC KEY" => keys.push(Public::read(&block.contents)?),
            "RSA PUBLIC KEY" => {
                let info = rustls::sign::public_key_to_spki(&alg_id::RSA_ENCRYPTION, &block.contents);
                keys.push(Public::read(&info)?);
            }
            "CERTIFICATE" => {
                let (_, certificate) =
                    X509Certificate::from_der(&block.contents).context("a certificate is malformed")?;
                keys.push(Public::read(certificate.public_key().raw)?);
            }
            _ => keys.extend(private(&block).transpose()?.map(|key| key.public)),
        }
    }
    anyhow::ensure!(!keys.is_empty(), "there is no key in it");
    Ok(keys)
}
