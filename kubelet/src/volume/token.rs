//! Service account tokens for pods: asked for, kept while fresh, renewed before they end.

use std::collections::BTreeMap;

use client::k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use client::k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use client::kube::Api;
use client::kube::api::PostParams;
use client::object::words;
use jiff::{SignedDuration, Timestamp};

use super::content::Token;
use super::layout::{Files, Source};
use crate::agent::Agent;
use crate::pod::{members, name, namespace, spec, uid};

/// A token that lives longer is renewed after this nevertheless (upstream's figure).
const LONGEST_USE: SignedDuration = SignedDuration::from_hours(24);

/// The tokens of one pod, by volume and path.
#[derive(Debug, Default)]
pub struct Tokens {
    issued: BTreeMap<(String, String), Issued>,
}

#[derive(Debug)]
struct Issued {
    text: String,
    renew: Timestamp,
    ends: Timestamp,
}

impl Tokens {
    /// When the next token wants to be renewed.
    pub fn renewal(&self) -> Option<Timestamp> {
        self.issued.values().map(|issued| issued.renew).min()
    }

    /// Fresh tokens for a volume, by path.
    ///
    /// # Errors
    /// Where the API server issues none and there is no earlier one that still holds.
    pub async fn current(
        &mut self,
        agent: &Agent,
        pod: &Pod,
        volume: &str,
        files: &Files,
    ) -> Result<BTreeMap<String, Token>, String> {
        let mut out = BTreeMap::new();
        for source in &files.sources {
            let Source::Token { audience, seconds, path } = source else { continue };
            let key = (volume.to_owned(), path.clone());
            let now = Timestamp::now();
            if self.issued.get(&key).is_none_or(|issued| issued.renew <= now) {
                match issue(agent, pod, audience.as_deref(), *seconds).await {
                    Ok(issued) => {
                        self.issued.insert(key.clone(), issued);
                    }
                    Err(message) => match self.issued.get_mut(&key).filter(|issued| issued.ends > now) {
                        Some(old) => old.renew = now.saturating_add(RETRY).unwrap_or(now),
                        None => return Err(message),
                    },
                }
            }
            if let Some(issued) = self.issued.get(&key) {
                let (owner, private) = audience_of_file(pod);
                out.insert(path.clone(), Token { text: issued.text.clone(), owner, private });
            }
        }
        Ok(out)
    }
}

/// How soon a renewal that failed is tried again.
const RETRY: SignedDuration = SignedDuration::from_secs(30);

async fn issue(agent: &Agent, pod: &Pod, audience: Option<&str>, seconds: i64) -> Result<Issued, String> {
    let client = agent.client.clone().ok_or("static pods cannot use service account tokens")?;
    let spec = spec(pod);
    let account = spec.service_account_name.as_deref().filter(|name| !name.is_empty()).unwrap_or("default");
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: audience.map(|audience| vec![audience.to_owned()]),
            expiration_seconds: Some(seconds),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: Some(name(pod).to_owned()),
                uid: Some(uid(pod).to_string()),
            }),
        }),
        ..TokenRequest::default()
    };
    let api: Api<ServiceAccount> = Api::namespaced(client, namespace(pod));
    let answer = api.create_token_request(account, &PostParams::default(), &request).await;
    let status = answer.map_err(|error| format!("failed to fetch token: {}", words(&error)))?.status;
    let none = "failed to fetch token: the API server issued none";
    let status = status.ok_or(none)?;
    let (text, ends) = (status.token.ok_or(none)?, status.expiration_timestamp.ok_or(none)?.0);
    Ok(Issued { text, renew: renewal(Timestamp::now(), ends), ends })
}

/// When a token that is issued now wants to be renewed: at four fifths of its life, so that there is time to try again.
fn renewal(now: Timestamp, ends: Timestamp) -> Timestamp {
    let use_for = (ends.duration_since(now) * 4 / 5).min(LONGEST_USE);
    now.saturating_add(use_for).unwrap_or(ends)
}

/// Who may read a token's file: the one user that all containers run as, the pod's group, or else everybody.
fn audience_of_file(pod: &Pod) -> (Option<u32>, bool) {
    let spec = spec(pod);
    let pods = spec.security_context.clone().unwrap_or_default();
    let users: Vec<Option<i64>> = members(&spec)
        .map(|member| {
            member.container.security_context.as_ref().and_then(|own| own.run_as_user).or(pods.run_as_user)
        })
        .collect();
    let first = users.first().copied().flatten();
    let same =
        first.filter(|_| users.iter().all(|user| *user == first)).and_then(|user| u32::try_from(user).ok());
    (same, same.is_some() || pods.fs_group.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewals_come_in_time() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        for (life, used) in [(600, 480), (3607, 2885), (100_000, 80_000), (86_400 * 365, 86_400)] {
            let ends = now.checked_add(SignedDuration::from_secs(life)).unwrap();
            assert_eq!(renewal(now, ends).duration_since(now).as_secs(), used, "{life}");
        }
    }
}
