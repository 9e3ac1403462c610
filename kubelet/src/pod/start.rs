//! Starts one container: image, configuration, creation, start, postStart hook.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use client::event::Severity;
use client::k8s_openapi::api::core::v1::{Pod, Service};
use proto::cri::v1::{Image, PodSandboxConfig};

use super::downward::Facts;
use super::env::{Objects, variables};
use super::name::attempt_from_logs;
use super::observed::{Observed, Sandbox};
use super::status::Waiting;
use super::{Member, is_host_network, spec, uid};
use crate::agent::Agent;
use crate::hook;
use crate::image::{self, Pulls};
use crate::reference::Needs;
use crate::runtime::container::{self, Bind};
use crate::volume::{self, Mounted};

/// How long a start waits for the first list of services.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a start needs beyond the pod.
#[derive(Debug)]
pub struct Start<'a> {
    pub agent: &'a Agent,
    pub pod: &'a Pod,
    pub member: &'a Member<'a>,
    pub observed: &'a Observed,
    pub sandbox: &'a Sandbox,
    pub sandbox_config: &'a PodSandboxConfig,
    pub mounted: &'a Mounted,
    pub facts: &'a Facts,
    pub attempt: u32,
}

fn waiting(reason: &str, message: impl ToString) -> Waiting {
    Waiting { reason: reason.to_owned(), message: message.to_string() }
}

impl Start<'_> {
    /// Starts the container.
    ///
    /// # Errors
    /// Why not, as its status shall say it.
    pub async fn run(&self, pulls: &mut Pulls) -> Result<(), Waiting> {
        let config_error = |message: String| self.failed("CreateContainerConfigError", message);
        let needs = Needs::of(self.pod);
        let objects = self
            .agent
            .references
            .objects(super::namespace(self.pod), &needs)
            .await
            .map_err(|unseen| config_error(unseen.to_string()))?;
        let image = self.image(pulls, &objects).await?;
        let id = Box::pin(self.create(&image, &objects)).await?;
        self.tell(Severity::Normal, "Created", "Container created".to_owned());
        if let Err(failure) = self.agent.runtime.start_container(&id).await {
            self.tell(Severity::Warning, "Failed", format!("Error: {failure}"));
            return Err(waiting("RunContainerError", failure));
        }
        self.tell(Severity::Normal, "Started", "Container started".to_owned());
        self.after_start(&id).await
    }

    fn tell(&self, severity: Severity, reason: &str, message: String) {
        self.agent.tell_of(self.pod, self.member, severity, reason, message);
    }

    fn failed(&self, reason: &str, message: String) -> Waiting {
        self.tell(Severity::Warning, "Failed", format!("Error: {message}"));
        waiting(reason, message)
    }

    async fn image(&self, pulls: &mut Pulls, objects: &Objects) -> Result<Image, Waiting> {
        let names = spec(self.pod).image_pull_secrets.clone().unwrap_or_default();
        let secrets: Vec<_> =
            names.iter().filter_map(|secret| objects.secrets.get(&secret.name).cloned()).collect();
        let ensured =
            image::ensure(self.agent, self.pod, self.member, pulls, &secrets, self.sandbox_config).await;
        ensured.inspect_err(|waiting| {
            self.tell(Severity::Warning, "Failed", format!("Error: {}", waiting.reason));
        })
    }

    async fn create(&self, image: &Image, objects: &Objects) -> Result<String, Waiting> {
        let config_error = |message: String| self.failed("CreateContainerConfigError", message);
        let container = &self.member.container;
        let services = self.services().await.map_err(config_error)?;
        let variables =
            variables(self.pod, container, self.facts, objects, &services).map_err(config_error)?;
        let attempt = self.attempt()?;
        let mut binds = volume::binds(self.agent, self.pod, self.member, self.mounted, &variables)
            .map_err(config_error)?;
        binds.extend(self.hosts_file(&binds).map_err(|error| config_error(error.to_string()))?);
        binds.extend(self.message_file(&binds, attempt).map_err(|error| config_error(error.to_string()))?);
        let config = container::config(&container::Input {
            pod: self.pod,
            member: self.member,
            attempt,
            image,
            variables: &variables,
            binds: &binds,
            around: &self.agent.around,
            target: self.target().as_deref(),
        })
        .map_err(config_error)?;
        Box::pin(self.agent.runtime.create_container(&self.sandbox.id, config, self.sandbox_config.clone()))
            .await
            .map_err(|failure| self.failed("CreateContainerError", failure.to_string()))
    }

    /// The services of the cluster, once they have been seen.
    async fn services(&self) -> Result<Vec<Arc<Service>>, String> {
        let services = &self.agent.services;
        if self.agent.client.is_some() && tokio::time::timeout(PATIENCE, services.synced()).await.is_err() {
            return Err("services have not yet been read at least once, cannot construct envvars".to_owned());
        }
        Ok(services.list())
    }

    /// The run's number: what the runtime knows, else what the log files tell of runs that it forgot.
    fn attempt(&self) -> Result<u32, Waiting> {
        let folder = self.agent.layout.pod_logs(self.pod).join(self.member.name());
        let known = self.observed.latest(self.member.name()).is_some();
        let attempt = if known { self.attempt } else { attempt_from_logs(&folder).max(self.attempt) };
        std::fs::create_dir_all(&folder).map_err(|error| {
            self.failed(
                "CreateContainerConfigError",
                format!(
                    "create container log directory for container {} failed: {error}",
                    self.member.name()
                ),
            )
        })?;
        Ok(attempt)
    }

    fn target(&self) -> Option<String> {
        let spec = spec(self.pod);
        let ephemeral = spec.ephemeral_containers.iter().flatten();
        let mut own = ephemeral.filter(|container| container.name == self.member.name());
        let wanted = own.next()?.target_container_name.clone()?;
        self.observed.latest(&wanted).filter(|seen| seen.is_running()).map(|seen| seen.id.clone())
    }

    /// The pod's /etc/hosts, unless the container mounts its own.
    fn hosts_file(&self, binds: &[Bind]) -> std::io::Result<Option<Bind>> {
        const HOSTS: &str = "/etc/hosts";
        if binds.iter().any(|bind| bind.container == HOSTS) {
            return Ok(None);
        }
        let spec = spec(self.pod);
        let path = self.agent.layout.hosts(&uid(self.pod));
        let text = if is_host_network(&spec) {
            crate::hosts::of_node(&std::fs::read_to_string(HOSTS).unwrap_or_default(), &spec)
        } else {
            crate::hosts::of_pod(self.pod, &spec, &self.facts.pod_ips, &self.agent.around.cluster_domain)
        };
        if std::fs::read_to_string(&path).ok().as_ref() != Some(&text) {
            std::fs::write(&path, text)?;
        }
        Ok(Some(Bind { host: path, container: HOSTS.to_owned(), readonly: false, propagation: None }))
    }

    /// The file for the container's last words.
    fn message_file(&self, binds: &[Bind], attempt: u32) -> std::io::Result<Option<Bind>> {
        use std::os::unix::fs::PermissionsExt;
        let container = &self.member.container;
        let place = container.termination_message_path.as_deref().unwrap_or(container::DEFAULT_MESSAGE_PATH);
        if place.is_empty() || binds.iter().any(|bind| bind.container == place) {
            return Ok(None);
        }
        let folder = self.agent.layout.container(&uid(self.pod), self.member.name());
        std::fs::create_dir_all(&folder)?;
        let host = folder.join(attempt.to_string());
        std::fs::write(&host, "")?;
        // Whoever the container runs as may write to it, whatever our umask is.
        std::fs::set_permissions(&host, std::fs::Permissions::from_mode(0o666))?;
        Ok(Some(Bind { host, container: place.to_owned(), readonly: false, propagation: None }))
    }

    async fn after_start(&self, id: &str) -> Result<(), Waiting> {
        let hook =
            self.member.container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
        let Some(hook) = hook else { return Ok(()) };
        let ip = self.facts.pod_ips.first().copied();
        let Err(message) = hook::run(self.agent, &self.member.container, id, ip, hook).await else {
            return Ok(());
        };
        // The hook's words may hold secrets: the status has them, the event does not.
        self.tell(Severity::Warning, "FailedPostStartHook", "PostStartHook failed".to_owned());
        self.tell(Severity::Normal, "Killing", "FailedPostStartHook".to_owned());
        super::stop::stop(self.agent, self.pod, id, self.member, ip, super::stop::grace(self.pod), true)
            .await;
        Err(waiting("PostStartHookError", message))
    }
}

/// Makes the folders that the runtime and we write to.
pub fn prepare(agent: &Agent, pod: &Pod) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let make = |path: &Path| std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
    make(&agent.layout.pod_logs(pod))?;
    make(&agent.layout.pod(&uid(pod)))
}
