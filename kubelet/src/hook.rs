//! Runs lifecycle hooks: postStart and preStop.

use std::net::IpAddr;
use std::time::Duration;

use client::k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use crate::agent::Agent;
use crate::probe::{http, port_number};

/// How long an HTTP hook may take (upstream has no limit, and hangs).
const HTTP_PATIENCE: Duration = Duration::from_secs(30);

/// Runs a hook to its end.
///
/// # Errors
/// What went wrong, in upstream's words.
pub async fn run(
    agent: &Agent,
    container: &Container,
    id: &str,
    ip: Option<IpAddr>,
    hook: &LifecycleHandler,
) -> Result<(), String> {
    if let Some(exec) = &hook.exec {
        let command = exec.command.clone().unwrap_or_default();
        let said = format!("Exec lifecycle hook ({command:?}) for Container \"{}\" failed", container.name);
        // No limit of its own: a preStop hook has the grace period, a postStart hook holds up its own pod only.
        let answer = agent.runtime.exec_sync(id, command, Duration::ZERO).await;
        let answer = answer.map_err(|failure| format!("{said} - error: {failure}"))?;
        if answer.exit_code != 0 {
            let output =
                String::from_utf8_lossy(&[&answer.stdout[..], &answer.stderr[..]].concat()).into_owned();
            return Err(format!(
                "{said} - error: command exited with {}, message: {output:?}",
                answer.exit_code
            ));
        }
    } else if let Some(get) = &hook.http_get {
        let port = port_number(container, &get.port)?;
        let host = match (get.host.as_deref().filter(|host| !host.is_empty()), ip) {
            (Some(host), _) => host.to_owned(),
            (None, Some(ip)) => ip.to_string(),
            (None, None) => return Err("failed to find networking container".to_owned()),
        };
        http::get(get, &host, port, HTTP_PATIENCE).await.map(drop)?;
    } else if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
    }
    Ok(())
}
