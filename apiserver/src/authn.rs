//! Who asks: from client certificate, bearer token or front proxy headers to a [`User`].

use std::collections::HashMap;
use std::path::Path;

use anyhow::Context as _;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::Settings;
use crate::fault::Fault;
use crate::request::User;
use crate::server::Server;

mod account;
pub(crate) mod impersonation;
pub(crate) mod review;

/// What the authenticators know, read once at start.
#[derive(Debug, Default)]
pub struct Authenticators {
    /// The fixed tokens of `--token-auth-file`.
    tokens: HashMap<String, User>,
}

impl Authenticators {
    /// Reads the files that the flags name.
    ///
    /// # Errors
    /// Where one cannot be read or is malformed; the message names it.
    pub fn read(settings: &Settings) -> anyhow::Result<Self> {
        let tokens = settings.token_auth_file.as_deref().map(token_file).transpose()?.unwrap_or_default();
        Ok(Self { tokens })
    }
}

fn token_file(path: &Path) -> anyhow::Result<HashMap<String, User>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("--token-auth-file: could not read {}", path.display()))?;
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| {
            token_line(line).with_context(|| {
                format!(
                    "--token-auth-file: {}: a line is token,user,uid or token,user,uid,\"groups\"",
                    path.display()
                )
            })
        })
        .collect()
}

/// `token,user,uid` and perhaps `,"group,group"`.
fn token_line(line: &str) -> Option<(String, User)> {
    let mut parts = line.splitn(4, ',').map(|part| part.trim().trim_matches('"'));
    let (token, name, uid) = (parts.next()?, parts.next()?, parts.next()?);
    if token.is_empty() || name.is_empty() {
        return None;
    }
    let groups = parts.next().unwrap_or_default();
    let groups = groups.split(',').map(str::trim).filter(|group| !group.is_empty()).map(str::to_owned);
    let user =
        User { name: name.to_owned(), uid: uid.to_owned(), groups: groups.collect(), ..User::default() };
    Some((token.to_owned(), user))
}

/// Who sent a request; `peer` is the chain of the client's certificate, verified already.
///
/// # Errors
/// 401 where nobody can be made out.
pub async fn authenticate(
    server: &Server,
    parts: &http::request::Parts,
    peer: Option<&[CertificateDer<'static>]>,
) -> Result<User, Fault> {
    if let Some(user) = peer.and_then(|chain| chain.first()).and_then(subject) {
        return Ok(authenticated(user));
    }
    let header = parts.headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some(token) = header.and_then(|header| header.strip_prefix("Bearer ")) {
        let proven = by_token(server, token.trim(), server.tokens().audiences()).await;
        return proven.map(|proven| proven.user).map_err(|why| {
            tracing::debug!(why, "a bearer token was refused");
            Fault::unauthorized()
        });
    }
    if server.settings().anonymous_auth {
        return Ok(User {
            name: "system:anonymous".to_owned(),
            groups: vec!["system:unauthenticated".to_owned()],
            ..User::default()
        });
    }
    Err(Fault::unauthorized())
}

/// Whom a token belongs to, and which of the audiences asked for it is good for.
#[derive(Debug)]
pub(crate) struct Proven {
    pub(crate) user: User,
    pub(crate) audiences: Vec<String>,
}

/// Whom a token belongs to, if it is good for one of these audiences.
///
/// # Errors
/// Where it is nobody's, in upstream's words.
pub(crate) async fn by_token(server: &Server, token: &str, wanted: &[String]) -> Result<Proven, String> {
    const INVALID: &str = "invalid bearer token";
    let tokens = server.tokens();
    if let Some(user) = server.authenticators().tokens.get(token) {
        // Fixed tokens are for the API, whatever its audiences are called.
        let audiences: Vec<String> =
            tokens.audiences().iter().filter(|name| wanted.contains(name)).cloned().collect();
        if !audiences.is_empty() || wanted.is_empty() {
            return Ok(Proven { user: authenticated(user.clone()), audiences });
        }
    }
    let because = |why: String| format!("[{INVALID}, {why}]");
    let claims = tokens.open(token).map_err(because)?.ok_or(INVALID)?;
    let audiences = claims.audiences(wanted, tokens.audiences()).map_err(because)?;
    let user = account::user(server, &claims, crate::object::now()).await.map_err(because)?;
    Ok(Proven { user: authenticated(user), audiences })
}

fn authenticated(mut user: User) -> User {
    user.groups.push("system:authenticated".to_owned());
    user
}

/// The user a certificate names: its common name, and its organisations as groups.
fn subject(certificate: &CertificateDer<'static>) -> Option<User> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let subject = parsed.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups =
        subject.iter_organization().filter_map(|group| group.as_str().ok()).map(str::to_owned).collect();
    Some(User { name, groups, ..User::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_token_file() {
        let cases = [
            ("t,admin,u1,\"a,b\"", Some(("t", "admin", 2))),
            ("t,alice,u2", Some(("t", "alice", 0))),
            ("t,alice", None),
            (",a,b", None),
        ];
        for (line, expected) in cases {
            let found = token_line(line);
            let found =
                found.as_ref().map(|(token, user)| (token.as_str(), user.name.as_str(), user.groups.len()));
            assert_eq!(found, expected, "{line}");
        }
    }
}
