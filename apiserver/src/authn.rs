//! Who asks: from client certificate, bearer token or front proxy headers to a [`User`].

use std::collections::HashMap;
use std::path::Path;

use anyhow::Context as _;
use http::HeaderMap;
use rustls_pki_types::CertificateDer;

use crate::config::Settings;
use crate::fault::Fault;
use crate::request::User;
use crate::server::Server;

mod account;
mod bootstrap;
pub mod certificate;
pub(crate) mod impersonation;
pub(crate) mod review;

use certificate::Authorities;
pub use certificate::Shown;

/// What the authenticators know, read once at start.
#[derive(Debug, Default)]
pub struct Authenticators {
    /// The fixed tokens of `--token-auth-file`.
    tokens: HashMap<String, User>,
    authorities: Authorities,
}

impl Authenticators {
    /// Reads the files that the flags name.
    ///
    /// # Errors
    /// Where one cannot be read or is malformed; the message names it.
    pub fn read(settings: &Settings) -> anyhow::Result<Self> {
        let tokens = settings.token_auth_file.as_deref().map(token_file).transpose()?.unwrap_or_default();
        Ok(Self { tokens, authorities: Authorities::read(settings)? })
    }

    /// What the certificates that a client showed say of it; TLS has let them in.
    pub fn look(&self, chain: &[CertificateDer<'_>]) -> Option<Shown> {
        self.authorities.look(chain)
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

/// Who sent a request: a front proxy says for whom, a certificate or a token whose they are. Headers that were believed
/// are taken away.
///
/// # Errors
/// 401 where nobody can be made out.
pub async fn authenticate(
    server: &Server,
    headers: &mut HeaderMap,
    shown: Option<&Shown>,
) -> Result<User, Fault> {
    let now = crate::object::now();
    let authorities = &server.authenticators().authorities;
    let certified =
        shown.and_then(|shown| authorities.spoken_for(shown, headers, now).or_else(|| shown.user(now)));
    if let Some(user) = certified {
        return Ok(authenticated(user));
    }
    let header = headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
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
    // Such tokens are for the API, whatever its audiences are called.
    let audiences: Vec<String> =
        tokens.audiences().iter().filter(|name| wanted.contains(name)).cloned().collect();
    if !audiences.is_empty() || wanted.is_empty() {
        let user = match server.authenticators().tokens.get(token) {
            Some(user) => Some(user.clone()),
            None => bootstrap::user(server, token, crate::object::now()).await,
        };
        if let Some(user) = user {
            return Ok(Proven { user: authenticated(user), audiences });
        }
    }
    let because = |why: String| format!("[{INVALID}, {why}]");
    let claims = tokens.open(token).map_err(because)?.ok_or(INVALID)?;
    let audiences = claims.audiences(wanted, tokens.audiences()).map_err(because)?;
    let user = account::user(server, &claims, crate::object::now()).await.map_err(because)?;
    Ok(Proven { user: authenticated(user), audiences })
}

fn authenticated(mut user: User) -> User {
    const GROUP: &str = "system:authenticated";
    if !user.groups.iter().any(|group| group == GROUP) {
        user.groups.push(GROUP.to_owned());
    }
    user
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
