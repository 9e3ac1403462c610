//! Makes the image of a container present, by its pull policy.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::event::Severity;
use client::k8s_openapi::api::core::v1::{Pod, Secret};
use jiff::Timestamp;
use proto::cri::v1::{AuthConfig, Image, PodSandboxConfig};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::agent::Agent;
use crate::pod::Member;
use crate::pod::backoff::Backoff;
use crate::pod::status::Waiting;

/// Pulls at a time where they are not one by one: enough to fill a line, few enough to keep a slow disk alive.
const PARALLEL_PULLS: usize = 5;

/// The right to pull.
#[derive(Debug)]
pub struct Images {
    turns: Semaphore,
}

/// What failed before, by image.
#[derive(Debug, Default)]
pub struct Pulls {
    backoff: Backoff,
    failed: BTreeMap<String, (Timestamp, String)>,
}

impl Images {
    pub fn new(serialize: bool) -> Self {
        Self { turns: Semaphore::new(if serialize { 1 } else { PARALLEL_PULLS }) }
    }
}

/// An image's full name: with `latest` where it has neither tag nor digest.
///
/// # Errors
/// Where it cannot be a name.
pub fn full_name(image: &str) -> Result<String, String> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "._-/:@".contains(letter);
    let path = image.split('@').next().unwrap_or_default();
    let bare = path.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(path, |(name, _)| name);
    let repository = bare.split_once('/').map_or(bare, |(_, rest)| rest);
    if image.is_empty()
        || !image.chars().all(allowed)
        || repository.chars().any(|letter| letter.is_uppercase())
    {
        return Err(format!(
            "Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": invalid reference format"
        ));
    }
    Ok(if image.contains('@') || bare != path { image.to_owned() } else { format!("{image}:latest") })
}

/// Makes a container's image present and says what it is.
///
/// # Errors
/// Why not, as the container's status shall say it.
pub async fn ensure(
    agent: &Agent,
    pod: &Pod,
    member: &Member<'_>,
    pulls: &mut Pulls,
    secrets: &[Arc<Secret>],
    sandbox: &PodSandboxConfig,
) -> Result<Image, Waiting> {
    let wanted = member.container.image.clone().unwrap_or_default();
    let waiting = |reason: &str, message: String| Waiting { reason: reason.to_owned(), message };
    let name = full_name(&wanted).map_err(|message| {
        agent.tell_of(pod, member, Severity::Warning, "InspectFailed", message.clone());
        waiting("InvalidImageName", message)
    })?;
    let present = agent.runtime.image(&name).await.map_err(|failure| {
        let message = format!("Failed to inspect image \"{name}\": {failure}");
        agent.tell_of(pod, member, Severity::Warning, "InspectFailed", message.clone());
        waiting("ImageInspectError", message)
    })?;
    let policy = member
        .container
        .image_pull_policy
        .as_deref()
        .unwrap_or_else(|| if name.ends_with(":latest") { "Always" } else { "IfNotPresent" });
    match (policy, present) {
        ("IfNotPresent" | "Never", Some(image)) => {
            let message = format!(
                "Container image \"{wanted}\" already present on machine and can be accessed by the pod"
            );
            agent.tell_of(pod, member, Severity::Normal, "Pulled", message);
            Ok(image)
        }
        ("Never", None) => {
            let message = format!("Container image \"{wanted}\" is not present with pull policy of Never");
            agent.tell_of(pod, member, Severity::Warning, "ErrImageNeverPull", message.clone());
            Err(waiting("ErrImageNeverPull", message))
        }
        _ => pull(agent, pod, member, pulls, &name, credentials(&name, secrets), sandbox).await,
    }
}

async fn pull(
    agent: &Agent,
    pod: &Pod,
    member: &Member<'_>,
    pulls: &mut Pulls,
    name: &str,
    auth: Option<AuthConfig>,
    sandbox: &PodSandboxConfig,
) -> Result<Image, Waiting> {
    let wanted = member.container.image.as_deref().unwrap_or_default();
    let now = Timestamp::now();
    if let Some((at, error)) = pulls.failed.get(name)
        && pulls.backoff.pause(name, *at, now).is_some()
    {
        let message = format!("Back-off pulling image \"{wanted}\"");
        agent.tell_of(pod, member, Severity::Normal, "BackOff", message.clone());
        let message = format!("{message}: ErrImagePull: {error}");
        return Err(Waiting { reason: "ImagePullBackOff".to_owned(), message });
    }
    agent.tell_of(pod, member, Severity::Normal, "Pulling", format!("Pulling image \"{wanted}\""));
    let asked = Instant::now();
    // The semaphore is never closed; without a turn the pull would merely not be counted.
    let turn = agent.images.turns.acquire().await.ok();
    let begun = Instant::now();
    let outcome = async {
        let exact = agent.runtime.pull(name, auth, sandbox.clone()).await?;
        agent.runtime.image(&exact).await
    }
    .await;
    drop(turn);
    let error = match outcome {
        Ok(Some(image)) => {
            pulls.failed.remove(name);
            pulls.backoff.forget(name);
            let message = format!(
                "Successfully pulled image \"{wanted}\" in {} ({} including waiting). Image size: {} bytes.",
                seconds(begun.elapsed()),
                seconds(asked.elapsed()),
                image.size
            );
            agent.tell_of(pod, member, Severity::Normal, "Pulled", message);
            return Ok(image);
        }
        Ok(None) => "the image was pulled but is gone again".to_owned(),
        Err(failure) => failure.message,
    };
    pulls.backoff.grow(name, now, now);
    pulls.failed.insert(name.to_owned(), (Timestamp::now(), error.clone()));
    let message = format!("Failed to pull image \"{wanted}\": {error}");
    agent.tell_of(pod, member, Severity::Warning, "Failed", message);
    Err(Waiting { reason: "ErrImagePull".to_owned(), message: error })
}

impl Pulls {
    /// When the pull that failed last may be tried again.
    pub fn retry(&self, image: &str, now: Timestamp) -> Option<Timestamp> {
        let name = full_name(image).ok()?;
        let (at, _) = self.failed.get(&name)?;
        self.backoff.pause(&name, *at, now).map(|(_, until)| until)
    }
}

fn seconds(elapsed: std::time::Duration) -> String {
    format!("{:.3}s", elapsed.as_secs_f64())
}

/// The registry in an image's name; images without one come from Docker's.
fn registry(name: &str) -> &str {
    match name.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "index.docker.io",
    }
}

/// The credentials for an image in the pod's pull secrets.
fn credentials(name: &str, secrets: &[Arc<Secret>]) -> Option<AuthConfig> {
    let host = registry(name);
    let data = |secret: &Secret, key: &str| -> Option<Value> {
        serde_json::from_slice(&secret.data.as_ref()?.get(key)?.0).ok()
    };
    secrets.iter().find_map(|secret| {
        let auths = data(secret, ".dockerconfigjson")
            .and_then(|config| config.get("auths").cloned())
            .or_else(|| data(secret, ".dockercfg"))?;
        let (_, entry) = auths.as_object()?.iter().find(|(server, _)| {
            let server = server.trim_start_matches("https://").trim_start_matches("http://");
            server.split('/').next() == Some(host) || name.starts_with(server.trim_end_matches('/'))
        })?;
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(AuthConfig {
            username: text("username"),
            password: text("password"),
            auth: text("auth"),
            identity_token: text("identitytoken"),
            registry_token: text("registrytoken"),
            server_address: String::new(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let cases = [
            ("busybox", Some("busybox:latest")),
            ("busybox:1", Some("busybox:1")),
            ("localhost:5000/web", Some("localhost:5000/web:latest")),
            ("web@sha256:00", Some("web@sha256:00")),
            ("Busybox", None),
            ("a b", None),
            ("", None),
        ];
        for (image, expected) in cases {
            assert_eq!(full_name(image).ok().as_deref(), expected, "{image}");
        }
    }

    #[test]
    fn credentials_by_registry() {
        let config = r#"{"auths": {"https://index.docker.io/v1/": {"username": "d"}, "localhost:5000": {"username": "l"}}}"#;
        let secret = Secret {
            data: Some(
                [(".dockerconfigjson".to_owned(), client::k8s_openapi::ByteString(config.into()))].into(),
            ),
            ..Secret::default()
        };
        let secrets = [Arc::new(secret)];
        let user = |image: &str| credentials(image, &secrets).map(|auth| auth.username);
        assert_eq!(user("busybox:latest").as_deref(), Some("d"));
        assert_eq!(user("localhost:5000/web:1").as_deref(), Some("l"));
        assert_eq!(user("example.org/web:1"), None);
    }
}
