//! Service account tokens: signed statements of which account somebody acts for, made on request and believed while
//! the account, and the object a token is bound to, exist.

use std::path::Path;

use anyhow::Context as _;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::config::Settings;

pub mod claims;
pub mod discovery;
pub mod key;
pub(crate) mod request;

use claims::Claims;
use key::{Private, Public};

/// The keys and names that tokens are made and checked with, read once at start.
#[derive(Debug, Default)]
pub struct Tokens {
    signer: Option<Private>,
    keys: Vec<Public>,
    issuers: Vec<String>,
    audiences: Vec<String>,
}

impl Tokens {
    /// Reads the files that the flags name.
    ///
    /// # Errors
    /// Where one cannot be read or holds no key; the message names flag and file.
    pub fn read(settings: &Settings) -> anyhow::Result<Self> {
        let signing = settings.service_account_signing_key_file.as_deref();
        let signer = signing.map(signing_key).transpose()?;
        let mut keys: Vec<Public> = Vec::new();
        for path in &settings.service_account_key_file {
            let found = key::public_keys(&text("service-account-key-file", path)?).with_context(|| {
                format!("--service-account-key-file: {} holds no key that verifies tokens", path.display())
            })?;
            keys.extend(found);
        }
        if keys.is_empty() {
            keys.extend(signer.as_ref().map(|signer| signer.public().clone()));
        }
        let mut known = std::collections::HashSet::new();
        keys.retain(|key| known.insert(key.id().to_owned()));
        let issuers = settings.service_account_issuer.clone();
        let audiences =
            if settings.api_audiences.is_empty() { issuers.clone() } else { settings.api_audiences.clone() };
        Ok(Self { signer, keys, issuers, audiences })
    }

    /// Whom tokens are for that do not say: the API itself.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// Who issues new tokens, where tokens are issued at all.
    pub fn issuer(&self) -> Option<&str> {
        self.signer.as_ref().and_then(|_| self.issuers.first()).map(String::as_str)
    }

    /// A token that says this. `None`: no tokens are issued here.
    ///
    /// # Errors
    /// Where the key does not sign.
    pub fn sign(&self, claims: &Claims) -> Option<anyhow::Result<String>> {
        let signer = self.signer.as_ref()?;
        let header = json!({"alg": signer.public().algorithm(), "kid": signer.public().id()});
        let payload = serde_json::to_vec(claims).unwrap_or_default();
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(payload));
        Some(signer.sign(signed.as_bytes()).map(|signature| {
            let signature = URL_SAFE_NO_PAD.encode(signature);
            format!("{signed}.{signature}")
        }))
    }

    /// What a token of ours says. `None`: it is not one of ours, and somebody else may know it.
    ///
    /// # Errors
    /// Where it claims to be ours and is not, in upstream's words.
    pub fn open(&self, token: &str) -> Result<Option<Claims>, String> {
        let Some(parts) = Parts::split(token) else { return Ok(None) };
        if !self.issuers.contains(&parts.claims.iss) || self.keys.is_empty() {
            return Ok(None);
        }
        let mut right =
            self.keys.iter().filter(|key| parts.key.is_empty() || key.id() == parts.key).peekable();
        if right.peek().is_none() {
            return Err("invalid signature, no keys found".to_owned());
        }
        let proven = right.any(|key| {
            key.algorithm() == parts.algorithm && key.verifies(parts.signed.as_bytes(), &parts.signature)
        });
        if !proven {
            return Err("go-jose/go-jose: error in cryptographic primitive".to_owned());
        }
        Ok(Some(parts.claims))
    }

    /// The keys that verify tokens, as a JSON Web Key Set.
    pub fn key_set(&self) -> Value {
        json!({"keys": self.keys.iter().map(Public::json).collect::<Vec<_>>()})
    }

    /// The algorithms of those keys, each once.
    pub fn algorithms(&self) -> Vec<&'static str> {
        let mut names: Vec<&'static str> = self.keys.iter().map(Public::algorithm).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

fn text(flag: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("--{flag}: could not read {}", path.display()))
}

fn signing_key(path: &Path) -> anyhow::Result<Private> {
    const FLAG: &str = "service-account-signing-key-file";
    key::private_key(&text(FLAG, path)?).with_context(|| {
        format!("--{FLAG}: {} holds no private key (RSA, ECDSA P-256 or P-384, in PEM)", path.display())
    })
}

/// A token taken apart, nothing proven yet.
struct Parts<'a> {
    signed: &'a str,
    signature: Vec<u8>,
    algorithm: String,
    key: String,
    claims: Claims,
}

impl<'a> Parts<'a> {
    fn split(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
        let header: Value = serde_json::from_slice(&decoded(header)?).ok()?;
        let word = |name: &str| header.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let claims: Claims = serde_json::from_slice(&decoded(payload)?).ok()?;
        // What cannot be decoded is no valid signature, but the token's issuer is known already.
        let signature = decoded(signature).unwrap_or_default();
        Some(Self { signed, signature, algorithm: word("alg"), key: word("kid"), claims })
    }
}

#[cfg(test)]
mod tests;
