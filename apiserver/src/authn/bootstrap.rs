//! Tokens of Secrets in `kube-system`, by which new nodes ask for their first certificate.

use base64::Engine;
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::kind::fill;
use crate::request::User;
use crate::server::Server;

/// What the users of such tokens are all in, and what begins the other groups they may be in.
const GROUP: &str = "system:bootstrappers";

/// The lengths of a token's two halves.
const HALVES: (usize, usize) = (6, 16);

/// The two halves of a token: its name and its secret.
fn halves(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let fits = |half: &str, length: usize| {
        half.len() == length && half.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    (fits(id, HALVES.0) && fits(secret, HALVES.1)).then_some((id, secret))
}

/// Whom such a token belongs to.
pub(super) async fn user(server: &Server, token: &str, now: Timestamp) -> Option<User> {
    if !server.settings().enable_bootstrap_token_auth {
        return None;
    }
    let (id, secret) = halves(token)?;
    let found = server.read("", "secrets", "kube-system", &format!("bootstrap-token-{id}")).await.ok()??;
    named(&found, id, secret, now)
}

/// The user that a Secret makes of who knows it.
fn named(secret: &Value, id: &str, given: &str, now: Timestamp) -> Option<User> {
    let data = |key: &str| {
        let text = fill::text(&secret["data"], key);
        base64::engine::general_purpose::STANDARD
            .decode(text)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
    };
    let is_alive = secret["metadata"].get("deletionTimestamp").is_none_or(Value::is_null)
        && secret["type"] == "bootstrap.kubernetes.io/token";
    let expected = data("token-secret").filter(|text| !text.is_empty())?;
    // Compared as hashes, so that the time it takes tells nothing.
    let same = Sha256::digest(&expected) == Sha256::digest(given);
    let ends = data("expiration").unwrap_or_default();
    let in_time = ends.is_empty() || ends.parse::<Timestamp>().is_ok_and(|ends| now < ends);
    let usable = data("usage-bootstrap-authentication").as_deref() == Some("true");
    if !(is_alive && same && in_time && usable && data("token-id").as_deref() == Some(id)) {
        return None;
    }
    let mut groups = vec![GROUP.to_owned()];
    for group in data("auth-extra-groups").unwrap_or_default().split(',').map(str::trim) {
        let Some(rest) = group.strip_prefix(GROUP).and_then(|rest| rest.strip_prefix(':')) else {
            // One group that is none spoils the token, as upstream has it.
            if group.is_empty() {
                continue;
            } else {
                return None;
            };
        };
        let fine =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b':' | b'-');
        if !rest.bytes().all(fine) || rest.ends_with([':', '-']) {
            return None;
        }
        groups.push(group.to_owned());
    }
    Some(User { name: format!("system:bootstrap:{id}"), groups, ..User::default() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn halves_of_tokens() {
        assert_eq!(halves("abcdef.0123456789abcdef"), Some(("abcdef", "0123456789abcdef")));
        for wrong in ["abcdef", "ABCDEF.0123456789abcdef", "abcdef.0123", "a.b.c"] {
            assert_eq!(halves(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn secrets_and_their_users() {
        let now = Timestamp::from_second(1_000_000_000).unwrap();
        let secret = |change: (&str, &str)| {
            let mut data = json!({});
            for (key, value) in [
                ("token-id", "abcdef"),
                ("token-secret", "s"),
                ("usage-bootstrap-authentication", "true"),
                ("auth-extra-groups", "system:bootstrappers:a"),
                change,
            ] {
                data[key] = base64::engine::general_purpose::STANDARD.encode(value).into();
            }
            json!({"type": "bootstrap.kubernetes.io/token", "data": data})
        };
        let user = named(&secret(("description", "x")), "abcdef", "s", now).unwrap();
        assert_eq!(user.groups, ["system:bootstrappers", "system:bootstrappers:a"]);
        assert_eq!(named(&secret(("description", "x")), "abcdef", "t", now), None);
        for change in [
            ("token-id", "x"),
            ("expiration", "2001-01-01T00:00:00Z"),
            ("usage-bootstrap-authentication", "false"),
            ("auth-extra-groups", "system:masters"),
        ] {
            assert_eq!(named(&secret(change), "abcdef", "s", now), None, "{change:?}");
        }
    }
}
