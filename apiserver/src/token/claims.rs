//! What a token says, and whether that holds at a moment: pure.

use serde::{Deserialize, Serialize};

/// How far the clocks of a cluster may be apart, in seconds (upstream's figure).
pub(crate) const LEEWAY: i64 = 60;

/// The life in seconds that admission gives the tokens of pods. Such a token of the API's own audience lives
/// [`EXTENDED`] instead, so that programs which read it only once go on working; `warnafter` keeps what was asked for.
pub(super) const FROM_ADMISSION: i64 = 3607;

/// The life in seconds of such tokens: a year.
pub(super) const EXTENDED: i64 = 365 * 24 * 60 * 60;

/// An object by name and uid.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reference {
    /// The name.
    pub name: String,
    /// The uid; may be empty for the node of a pod.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// What Kubernetes says in its tokens beside what all tokens say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Private {
    /// The namespace of the account and of what the token is bound to.
    pub namespace: String,
    /// The node of the pod, or the node the token is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    /// The pod the token is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    /// The secret the token is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    /// The account.
    pub serviceaccount: Reference,
    /// When the token should have been renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// Whom a token is for: one, or several.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

fn audiences<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Audience::deserialize(from).map(|audience| match audience {
        Audience::One(name) => vec![name],
        Audience::Many(names) => names,
    })
}

/// What a token says; times are seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Whom it is for.
    #[serde(default, deserialize_with = "audiences")]
    pub aud: Vec<String>,
    /// When it ends.
    pub exp: i64,
    /// When it was made.
    #[serde(default)]
    pub iat: i64,
    /// Who made it.
    pub iss: String,
    /// Its own name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub jti: String,
    /// The rest.
    #[serde(default, rename = "kubernetes.io")]
    pub kubernetes: Private,
    /// When it begins.
    #[serde(default)]
    pub nbf: i64,
    /// The user it makes its bearer.
    #[serde(default)]
    pub sub: String,
}

/// How long a token lives, in seconds, and after how many it should have been renewed.
pub(super) fn life(asked: i64, of_pod: bool, for_api: bool, extend: bool) -> (i64, Option<i64>) {
    if extend && of_pod && for_api && asked == FROM_ADMISSION {
        (EXTENDED, Some(asked))
    } else {
        (asked, None)
    }
}

impl Claims {
    /// Whether the token's time has come and is not over.
    ///
    /// # Errors
    /// Where not, in upstream's words.
    pub fn in_time(&self, now: i64) -> Result<(), String> {
        if now - LEEWAY > self.exp {
            return Err("service account token has expired".to_owned());
        }
        if now + LEEWAY < self.nbf {
            return Err("service account token is not valid yet".to_owned());
        }
        if now + LEEWAY < self.iat {
            return Err("service account token is issued in the future".to_owned());
        }
        Ok(())
    }

    /// Those of the audiences that the token is for.
    ///
    /// # Errors
    /// Where there is none, in upstream's words.
    pub fn audiences(&self, wanted: &[String], own: &[String]) -> Result<Vec<String>, String> {
        let named = if self.aud.is_empty() { own } else { &self.aud };
        let common: Vec<String> = named.iter().filter(|name| wanted.contains(name)).cloned().collect();
        if common.is_empty() && !own.is_empty() {
            return Err(format!(
                "token audiences {} is invalid for the target audiences {}",
                list(named),
                list(wanted)
            ));
        }
        Ok(common)
    }
}

/// Texts as Go prints a list of quoted ones.
fn list(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| crate::field::quoted(text)).collect();
    format!("[{}]", quoted.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_their_time() {
        let claims = Claims { nbf: 1000, iat: 1000, exp: 2000, ..Claims::default() };
        for (now, fine) in [(939, false), (940, true), (1500, true), (2060, true), (2061, false)] {
            assert_eq!(claims.in_time(now).is_ok(), fine, "{now}");
        }
    }

    #[test]
    fn tokens_are_for_somebody() {
        let own = ["api".to_owned()];
        let with =
            |aud: &[&str]| Claims { aud: aud.iter().map(|a| (*a).to_owned()).collect(), ..Claims::default() };
        let wanted = |names: &[&str]| names.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>();
        assert_eq!(with(&["a", "api"]).audiences(&wanted(&["api"]), &own), Ok(wanted(&["api"])));
        assert_eq!(with(&[]).audiences(&wanted(&["api"]), &own), Ok(wanted(&["api"])));
        assert_eq!(
            with(&["a"]).audiences(&wanted(&["x", "y"]), &own),
            Err(r#"token audiences ["a"] is invalid for the target audiences ["x" "y"]"#.to_owned())
        );
    }

    #[test]
    fn only_tokens_of_admission_live_longer() {
        assert_eq!(life(3607, true, true, true), (EXTENDED, Some(3607)));
        for (asked, of_pod, for_api, extend) in [
            (3600, true, true, true),
            (3607, false, true, true),
            (3607, true, false, true),
            (3607, true, true, false),
        ] {
            assert_eq!(life(asked, of_pod, for_api, extend), (asked, None));
        }
    }
}
