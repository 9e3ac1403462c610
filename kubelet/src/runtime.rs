//! The container runtime as seen through CRI v1: one connection, one method a call, errors in plain words.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use proto::cri::v1::image_service_client::ImageServiceClient;
use proto::cri::v1::runtime_service_client::RuntimeServiceClient;
use proto::cri::v1::{self as cri};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

pub mod container;
pub mod observe;
pub mod sandbox;

use crate::pod::name;

/// Until a call without its own limit is given up (upstream's figure).
const PATIENCE: Duration = Duration::from_secs(120);

/// How long a pull may take: a slow line and a large image; the runtime has its own idea of a stalled one.
const PULL_PATIENCE: Duration = Duration::from_secs(30 * 60);

/// The answer to a list on a node with 110 pods of many containers stays below this.
const LARGEST_ANSWER: usize = 16 << 20;

/// A call to the runtime that failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub code: Code,
    /// The runtime's own words, as upstream puts them into events and reasons.
    pub message: String,
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let code = status.code();
        let kind = format!("{code:?}");
        Self { code, message: format!("rpc error: code = {kind} desc = {}", status.message()) }
    }
}

impl Failure {
    pub fn is_missing(&self) -> bool {
        self.code == Code::NotFound
    }
}

/// Where the runtime listens.
#[derive(Debug, Clone)]
pub struct Sockets {
    pub runtime: PathBuf,
    pub images: PathBuf,
}

/// A connection to the runtime; cheap to clone, and made anew by itself when the runtime comes back.
#[derive(Debug, Clone)]
pub struct Runtime {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

fn channel(socket: &std::path::Path) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?;
    Ok(endpoint.connect_lazy())
}

fn timed<T>(message: T, patience: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(patience);
    request
}

impl Runtime {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// Where a socket's path cannot be an address.
    pub fn new(sockets: &Sockets) -> anyhow::Result<Self> {
        let (runtime, images) = (channel(&sockets.runtime)?, channel(&sockets.images)?);
        Ok(Self {
            runtime: RuntimeServiceClient::new(runtime).max_decoding_message_size(LARGEST_ANSWER),
            images: ImageServiceClient::new(images).max_decoding_message_size(LARGEST_ANSWER),
        })
    }

    pub async fn version(&self) -> Result<cri::VersionResponse, Failure> {
        let request = cri::VersionRequest { version: "0.1.0".to_owned() };
        Ok(self.runtime.clone().version(timed(request, PATIENCE)).await?.into_inner())
    }

    /// The runtime's conditions: RuntimeReady and NetworkReady.
    pub async fn conditions(&self) -> Result<Vec<cri::RuntimeCondition>, Failure> {
        let answer =
            self.runtime.clone().status(timed(cri::StatusRequest { verbose: false }, PATIENCE)).await?;
        Ok(answer.into_inner().status.unwrap_or_default().conditions)
    }

    pub async fn run_sandbox(&self, config: cri::PodSandboxConfig, handler: &str) -> Result<String, Failure> {
        // Making a pod's network may take as long as four other calls (upstream's figure).
        let request = cri::RunPodSandboxRequest { config: Some(config), runtime_handler: handler.to_owned() };
        let answer = self.runtime.clone().run_pod_sandbox(timed(request, PATIENCE * 2)).await?;
        Ok(answer.into_inner().pod_sandbox_id)
    }

    pub async fn stop_sandbox(&self, id: &str) -> Result<(), Failure> {
        let request = cri::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        gone_is_fine(self.runtime.clone().stop_pod_sandbox(timed(request, PATIENCE)).await)
    }

    pub async fn remove_sandbox(&self, id: &str) -> Result<(), Failure> {
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        gone_is_fine(self.runtime.clone().remove_pod_sandbox(timed(request, PATIENCE)).await)
    }

    pub async fn create_container(
        &self,
        sandbox: &str,
        config: cri::ContainerConfig,
        sandbox_config: cri::PodSandboxConfig,
    ) -> Result<String, Failure> {
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        let answer = self.runtime.clone().create_container(timed(request, PATIENCE)).await?;
        Ok(answer.into_inner().container_id)
    }

    pub async fn start_container(&self, id: &str) -> Result<(), Failure> {
        let request = cri::StartContainerRequest { container_id: id.to_owned() };
        self.runtime.clone().start_container(timed(request, PATIENCE)).await?;
        Ok(())
    }

    /// Asks the container to stop, and kills it after `grace`.
    pub async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), Failure> {
        let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let request = cri::StopContainerRequest { container_id: id.to_owned(), timeout };
        gone_is_fine(self.runtime.clone().stop_container(timed(request, PATIENCE + grace)).await)
    }

    pub async fn remove_container(&self, id: &str) -> Result<(), Failure> {
        let request = cri::RemoveContainerRequest { container_id: id.to_owned() };
        gone_is_fine(self.runtime.clone().remove_container(timed(request, PATIENCE)).await)
    }

    /// Makes the runtime write on into a file of the old name, whatever became of the old file.
    pub async fn reopen_log(&self, id: &str) -> Result<(), Failure> {
        let request = cri::ReopenContainerLogRequest { container_id: id.to_owned() };
        self.runtime.clone().reopen_container_log(timed(request, PATIENCE)).await?;
        Ok(())
    }

    /// The sandboxes of one pod, or all.
    pub async fn sandboxes(&self, uid: Option<&str>) -> Result<Vec<cri::PodSandbox>, Failure> {
        let filter = cri::PodSandboxFilter { label_selector: of_pod(uid), ..Default::default() };
        let request = cri::ListPodSandboxRequest { filter: Some(filter) };
        Ok(self.runtime.clone().list_pod_sandbox(timed(request, PATIENCE)).await?.into_inner().items)
    }

    /// The containers of one pod, or all.
    pub async fn containers(&self, uid: Option<&str>) -> Result<Vec<cri::Container>, Failure> {
        let filter = cri::ContainerFilter { label_selector: of_pod(uid), ..Default::default() };
        let request = cri::ListContainersRequest { filter: Some(filter) };
        Ok(self.runtime.clone().list_containers(timed(request, PATIENCE)).await?.into_inner().containers)
    }

    pub async fn sandbox_status(&self, id: &str) -> Result<cri::PodSandboxStatusResponse, Failure> {
        let request = cri::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
        Ok(self.runtime.clone().pod_sandbox_status(timed(request, PATIENCE)).await?.into_inner())
    }

    /// With what the runtime adds for the curious, among it the process id.
    pub async fn container_status(&self, id: &str) -> Result<cri::ContainerStatusResponse, Failure> {
        let request = cri::ContainerStatusRequest { container_id: id.to_owned(), verbose: true };
        Ok(self.runtime.clone().container_status(timed(request, PATIENCE)).await?.into_inner())
    }

    /// Runs a command in a container; its exit code is part of the answer.
    pub async fn exec_sync(
        &self,
        id: &str,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<cri::ExecSyncResponse, Failure> {
        let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
        let request = cri::ExecSyncRequest { container_id: id.to_owned(), cmd: command, timeout: seconds };
        let patience = if timeout.is_zero() { PATIENCE } else { PATIENCE + timeout };
        Ok(self.runtime.clone().exec_sync(timed(request, patience)).await?.into_inner())
    }

    /// The address at which the runtime streams a command's input and output.
    pub async fn exec(&self, request: cri::ExecRequest) -> Result<String, Failure> {
        Ok(self.runtime.clone().exec(timed(request, PATIENCE)).await?.into_inner().url)
    }

    /// The address at which the runtime streams a container's own input and output.
    pub async fn attach(&self, request: cri::AttachRequest) -> Result<String, Failure> {
        Ok(self.runtime.clone().attach(timed(request, PATIENCE)).await?.into_inner().url)
    }

    /// The address at which the runtime streams connections to a pod's ports.
    pub async fn port_forward(&self, request: cri::PortForwardRequest) -> Result<String, Failure> {
        Ok(self.runtime.clone().port_forward(timed(request, PATIENCE)).await?.into_inner().url)
    }

    /// The stream of changes, where the runtime has one (containerd since 1.7).
    pub async fn events(&self) -> Result<tonic::codec::Streaming<cri::ContainerEventResponse>, Failure> {
        Ok(self.runtime.clone().get_container_events(cri::GetEventsRequest {}).await?.into_inner())
    }

    pub async fn stats(&self) -> Result<Vec<cri::ContainerStats>, Failure> {
        let request = cri::ListContainerStatsRequest { filter: None };
        Ok(self.runtime.clone().list_container_stats(timed(request, PATIENCE)).await?.into_inner().stats)
    }

    /// The image of this name, if it is on the node.
    pub async fn image(&self, image: &str) -> Result<Option<cri::Image>, Failure> {
        let request = cri::ImageStatusRequest { image: Some(spec(image)), verbose: false };
        Ok(self.images.clone().image_status(timed(request, PATIENCE)).await?.into_inner().image)
    }

    pub async fn images(&self) -> Result<Vec<cri::Image>, Failure> {
        let request = cri::ListImagesRequest { filter: None };
        Ok(self.images.clone().list_images(timed(request, PATIENCE)).await?.into_inner().images)
    }

    /// Fetches an image; the answer names it exactly.
    pub async fn pull(
        &self,
        image: &str,
        auth: Option<cri::AuthConfig>,
        sandbox_config: cri::PodSandboxConfig,
    ) -> Result<String, Failure> {
        let request =
            cri::PullImageRequest { image: Some(spec(image)), auth, sandbox_config: Some(sandbox_config) };
        Ok(self.images.clone().pull_image(timed(request, PULL_PATIENCE)).await?.into_inner().image_ref)
    }
}

fn spec(image: &str) -> cri::ImageSpec {
    cri::ImageSpec { image: image.to_owned(), ..Default::default() }
}

fn of_pod(uid: Option<&str>) -> BTreeMap<String, String> {
    uid.map(|uid| (name::POD_UID.to_owned(), uid.to_owned())).into_iter().collect()
}

fn gone_is_fine<T>(result: Result<T, Status>) -> Result<(), Failure> {
    match result {
        Ok(_) => Ok(()),
        Err(status) if status.code() == Code::NotFound => Ok(()),
        Err(status) => Err(status.into()),
    }
}
