//! Tokens in K3s' form: the hash of the cluster's authority, a user, and a secret.

use std::fmt;
use std::process::ExitCode;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// What joins a node to a server.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The hash of the authority's certificate, by which the server is known before anything is sent to it; a short
    /// token has none and trusts whoever answers.
    pub authority: Option<String>,
    /// `server` or `node`.
    pub user: String,
    /// What nobody else knows.
    pub secret: String,
}

/// The user who may do whatever a server may.
pub(crate) const SERVER: &str = "server";

/// The user who may join as an agent only.
pub(crate) const NODE: &str = "node";

/// How many random bytes a secret has (K3s' figure).
const SECRET: usize = 16;

/// How long the hash is in hex digits.
const HASH: usize = 64;

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("user", &self.user).finish_non_exhaustive()
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.authority {
            Some(hash) => write!(f, "K10{hash}::{}:{}", self.user, self.secret),
            None => f.write_str(&self.secret),
        }
    }
}

impl FromStr for Token {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let Some(rest) = text.strip_prefix("K10") else {
            return match text {
                "" => Err("a token is not empty".to_owned()),
                // As K3s: a short token may say who it is for.
                _ => {
                    let secret = text.rsplit_once("::").map_or(text, |(_, secret)| secret);
                    let (user, secret) = secret.split_once(':').unwrap_or((NODE, secret));
                    Ok(Self { authority: None, user: user.to_owned(), secret: secret.to_owned() })
                }
            };
        };
        let form =
            || "a full token is K10<64 hex digits>::<user>:<secret>, as <data-dir>/server/token has it";
        let (hash, rest) = rest.split_once("::").ok_or_else(form)?;
        let (user, secret) = rest.split_once(':').ok_or_else(form)?;
        let hex = hash.len() == HASH && hash.bytes().all(|b| b.is_ascii_hexdigit());
        if !hex || user.is_empty() || secret.is_empty() {
            return Err(form().to_owned());
        }
        Ok(Self { authority: Some(hash.to_lowercase()), user: user.to_owned(), secret: secret.to_owned() })
    }
}

/// The hash by which tokens know an authority: over the PEM of a lone certificate, as it is served.
pub fn hash(authority: &str) -> String {
    hex(&Sha256::digest(authority.as_bytes()))
}

/// A new secret.
pub(crate) fn secret() -> String {
    let mut bytes = [0; SECRET];
    rand::fill(&mut bytes);
    hex(&bytes)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `isopod token`: prints the token of the server whose data directory is named.
pub(crate) fn print(words: Vec<String>, _: crate::Programs) -> ExitCode {
    let mut data = std::path::PathBuf::from(crate::layout::DATA);
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match (word.split_once('='), word.as_str()) {
            (Some(("--data-dir", value)), _) => data = value.into(),
            (_, "--data-dir" | "-d") => data = rest.next().map_or(data, Into::into),
            _ => {
                daemon::log::complain("isopod token: the one flag is --data-dir DIRECTORY");
                return ExitCode::from(crate::USAGE);
            }
        }
    }
    let path = data.join("server/token");
    match std::fs::read_to_string(&path) {
        Ok(token) => {
            daemon::log::say(token.trim());
            ExitCode::SUCCESS
        }
        Err(error) => {
            daemon::log::complain(&format!(
                "isopod token: could not read {}: {error}; is this a server, and is --data-dir right?",
                path.display()
            ));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_tokens() {
        let hash = "ab".repeat(32);
        let full = format!("K10{hash}::server:s3cret");
        type Parts<'a> = Option<(Option<&'a str>, &'a str, &'a str)>;
        let cases: &[(&str, Parts<'_>)] = &[
            (&full, Some((Some(&hash), "server", "s3cret"))),
            ("s3cret", Some((None, "node", "s3cret"))),
            ("server:s3cret", Some((None, "server", "s3cret"))),
            ("", None),
            ("K10abc::server:x", None),
            ("K10abc", None),
        ];
        for (text, expected) in cases {
            let token = text.parse::<Token>().ok();
            let found = token.as_ref().map(|t| (t.authority.as_deref(), t.user.as_str(), t.secret.as_str()));
            assert_eq!(found, *expected, "{text}");
        }
        assert_eq!(full.parse::<Token>().unwrap().to_string(), full);
    }

    #[test]
    fn the_hash_is_over_the_text_as_served() {
        assert_eq!(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
