//! Who is at the other end of a connection, by the certificate they showed; and front proxies, who speak for others.
//!
//! TLS lets in whoever shows a certificate of any authority that we know. Which one it was makes the difference: users'
//! certificates say who they are, front proxies' only that their headers may be believed.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use http::HeaderMap;
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::Settings;
use crate::request::User;

/// The authorities that tell users and front proxies apart. Where only one sort is known, TLS has looked already.
#[derive(Debug, Default)]
pub(super) struct Authorities {
    users: Option<Arc<dyn ClientCertVerifier>>,
    proxies: Option<Arc<dyn ClientCertVerifier>>,
    names: Vec<String>,
    headers: Headers,
}

/// The headers in which front proxies tell for whom they speak.
#[derive(Debug, Default)]
struct Headers {
    names: Vec<String>,
    groups: Vec<String>,
    extras: Vec<String>,
}

/// What a certificate says, worked out once for a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    user: Option<User>,
    is_proxy: bool,
    /// When it ends, in seconds since 1970.
    ends: i64,
}

fn verifier(path: Option<&Path>) -> anyhow::Result<Option<Arc<dyn ClientCertVerifier>>> {
    let Some(path) = path else { return Ok(None) };
    let mut roots = RootCertStore::empty();
    for authority in crate::tls::certificates(path)? {
        roots.add(authority).with_context(|| format!("{} holds a certificate of no use", path.display()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let built = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    Ok(Some(built.with_context(|| format!("{} holds no authority", path.display()))?))
}

impl Authorities {
    /// Reads the files that the flags name.
    pub(super) fn read(settings: &Settings) -> anyhow::Result<Self> {
        let proxies = verifier(settings.requestheader_client_ca_file.as_deref())?;
        anyhow::ensure!(
            proxies.is_none() || !settings.requestheader_username_headers.is_empty(),
            "--requestheader-client-ca-file needs --requestheader-username-headers, as in X-Remote-User"
        );
        Ok(Self {
            users: verifier(settings.client_ca_file.as_deref())?,
            proxies,
            names: settings.requestheader_allowed_names.clone(),
            headers: Headers {
                names: settings.requestheader_username_headers.clone(),
                groups: settings.requestheader_group_headers.clone(),
                extras: settings.requestheader_extra_headers_prefix.clone(),
            },
        })
    }

    /// What a chain that TLS let in says.
    pub(super) fn look(&self, chain: &[CertificateDer<'_>]) -> Option<Shown> {
        let (first, others) = chain.split_first()?;
        let (_, parsed) = X509Certificate::from_der(first).ok()?;
        let is_of = |authority: &Arc<dyn ClientCertVerifier>| {
            authority.verify_client_cert(first, others, UnixTime::now()).is_ok()
        };
        let is_user = self.proxies.is_none() || self.users.as_ref().is_some_and(is_of);
        let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let allowed = self.names.is_empty() || name.is_some_and(|name| self.names.iter().any(|n| n == name));
        Some(Shown {
            user: name.filter(|name| is_user && !name.is_empty()).map(|name| user(name, &parsed, first)),
            is_proxy: allowed && self.proxies.as_ref().is_some_and(is_of),
            ends: parsed.validity().not_after.timestamp(),
        })
    }

    /// For whom a front proxy speaks, if it is one; the headers are taken away.
    pub(super) fn spoken_for(&self, shown: &Shown, headers: &mut HeaderMap, now: Timestamp) -> Option<User> {
        if !shown.is_proxy || now.as_second() > shown.ends {
            return None;
        }
        self.headers.take(headers)
    }
}

impl Shown {
    /// Whom it names, while it is good.
    pub(super) fn user(&self, now: Timestamp) -> Option<User> {
        self.user.clone().filter(|_| now.as_second() <= self.ends)
    }
}

/// The user a certificate names: its common name, and its organisations as groups.
fn user(name: &str, parsed: &X509Certificate<'_>, der: &CertificateDer<'_>) -> User {
    let groups = parsed.subject().iter_organization().filter_map(|group| group.as_str().ok());
    let hash: String = Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect();
    let id = format!("X509SHA256={hash}");
    User {
        name: name.to_owned(),
        groups: groups.map(str::to_owned).collect(),
        extra: [("authentication.kubernetes.io/credential-id".to_owned(), vec![id])].into(),
        ..User::default()
    }
}

impl Headers {
    /// The user that headers name.
    fn take(&self, headers: &mut HeaderMap) -> Option<User> {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let first = |name: &String| headers.get(name.as_str()).map(text).filter(|name| !name.is_empty());
        let name = self.names.iter().find_map(first)?;
        let mut user = User { name, ..User::default() };
        for group in &self.groups {
            user.groups.extend(headers.get_all(group.as_str()).iter().map(text));
        }
        let mut used: Vec<String> =
            self.names.iter().chain(&self.groups).map(|name| name.to_lowercase()).collect();
        for (header, value) in headers.iter() {
            let is_extra = |prefix: &String| {
                header.as_str().strip_prefix(prefix.to_lowercase().as_str()).map(str::to_owned)
            };
            if let Some(key) = self.extras.iter().find_map(is_extra) {
                user.extra.entry(crate::request::decoded(&key)).or_default().push(text(value));
                used.push(header.as_str().to_owned());
            }
        }
        for header in used {
            headers.remove(header);
        }
        Some(user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn front_proxies_speak_for_others() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let headers = Headers {
            names: list(&["X-Remote-User"]),
            groups: list(&["X-Remote-Group"]),
            extras: list(&["X-Remote-Extra-"]),
        };
        let authorities = Authorities { headers, ..Authorities::default() };
        let given: HeaderMap = [
            ("x-remote-user", "jane"),
            ("x-remote-group", "dev"),
            ("x-remote-extra-a%2fb", "c"),
            ("accept", "x"),
        ]
        .into_iter()
        .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)))
        .collect();
        let now = Timestamp::from_second(10).unwrap();
        for (is_proxy, ends, expected) in [(true, 20, Some("jane")), (true, 5, None), (false, 20, None)] {
            let mut left = given.clone();
            let shown = Shown { user: None, is_proxy, ends };
            let user = authorities.spoken_for(&shown, &mut left, now);
            assert_eq!(user.as_ref().map(|user| user.name.as_str()), expected);
            assert_eq!(left.len(), if user.is_some() { 1 } else { 4 });
            if let Some(user) = user {
                assert_eq!(
                    (user.groups, user.extra["a/b"].clone()),
                    (vec!["dev".to_owned()], vec!["c".to_owned()])
                );
            }
        }
    }
}
