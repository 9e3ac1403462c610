//! Stops one container: preStop hook, then the runtime's stop, within one grace period.

use std::net::IpAddr;
use std::time::Duration;

use client::event::Severity;
use client::k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;

use super::{Member, grace_seconds};
use crate::agent::Agent;
use crate::hook;

/// What a container gets after its preStop hook, even if that has used up the grace period (upstream's figure).
const LEAST_GRACE: Duration = Duration::from_secs(2);

/// The pod's grace period.
pub fn grace(pod: &Pod) -> Duration {
    Duration::from_secs(u64::try_from(grace_seconds(pod)).unwrap_or(0))
}

/// Stops a container, after its preStop hook if `hooks`; what fails is logged and shows as a container that still runs.
pub async fn stop(
    agent: &Agent,
    pod: &Pod,
    id: &str,
    member: &Member<'_>,
    ip: Option<IpAddr>,
    grace: Duration,
    hooks: bool,
) {
    let begun = Instant::now();
    let hook = member.container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
    let mut left = grace;
    if let Some(hook) = hook.filter(|_| hooks && !grace.is_zero()) {
        match tokio::time::timeout(grace, hook::run(agent, &member.container, id, ip, hook)).await {
            Ok(Ok(())) => {}
            Ok(Err(message)) => {
                tracing::debug!(container = member.name(), "preStop hook failed: {message}");
                let message = "PreStopHook failed".to_owned();
                agent.tell_of(pod, member, Severity::Warning, "FailedPreStopHook", message);
            }
            Err(_) => {
                let message = "preStop hook did not end within the grace period";
                tracing::debug!(container = member.name(), "{message}");
            }
        }
        left = grace.saturating_sub(begun.elapsed()).max(LEAST_GRACE);
    }
    if let Err(failure) = agent.runtime.stop_container(id, left).await {
        tracing::warn!(container = member.name(), id, "could not stop a container: {failure}");
    }
}
