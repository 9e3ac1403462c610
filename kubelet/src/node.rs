//! The node's own presence in the API: its object, its status, its lease.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use client::k8s_openapi::api::core::v1::{Node as NodeObject, NodeSpec, NodeStatus};
use client::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use client::kube::api::{Patch, PatchParams, PostParams};
use client::kube::{Api, Client};
use client::object::{found, status_code};
use jiff::{SignedDuration, Timestamp};
use proto::cri::v1::VersionResponse;

use crate::agent::Agent;
use crate::config::Settings;
use crate::runtime::sandbox::{Resolver, Surroundings};
use crate::runtime::{Runtime, Sockets};

pub mod lease;
pub mod machine;
pub mod status;
pub mod threshold;

/// How often the lease is renewed and the runtime asked how it is (upstream's figures for a lease of 40 s).
const BEAT: Duration = Duration::from_secs(10);
/// The same while the node is not ready: CRI tells of readiness only when asked, and pods wait for it.
const EAGER_BEAT: Duration = Duration::from_millis(250);
/// A status that has not changed is written again after this (upstream's figure).
const REPORT: SignedDuration = SignedDuration::from_mins(5);
/// The first and the longest pause between attempts to reach a runtime that is not up.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The node and what is known of it from the start.
pub struct Node {
    client: Option<Client>,
    settings: Settings,
    ips: Vec<IpAddr>,
    capacity: BTreeMap<String, Quantity>,
    runtime_version: tokio::sync::OnceCell<String>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("ips", &self.ips).finish_non_exhaustive()
    }
}

/// The runtime's version, as soon as it answers.
pub async fn runtime_version(runtime: &Runtime, sockets: &Sockets) -> anyhow::Result<VersionResponse> {
    let mut pause = FIRST_PAUSE;
    loop {
        match runtime.version().await {
            Ok(version) => return Ok(version),
            Err(failure) => {
                let socket = sockets.runtime.display();
                tracing::warn!(
                    "no container runtime answers at {socket} (--container-runtime-endpoint): {failure}"
                );
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

impl Node {
    /// Looks at the machine.
    ///
    /// # Errors
    /// Where the machine cannot be read.
    pub fn new(settings: &Settings, client: Option<Client>) -> anyhow::Result<Self> {
        let ips = if settings.node.ips.is_empty() { vec![own_address()] } else { settings.node.ips.clone() };
        let capacity = machine::capacity(&settings.layout.root, settings.node.max_pods)
            .context("could not read the machine's size")?;
        let runtime_version = tokio::sync::OnceCell::new();
        Ok(Self { client, settings: settings.clone(), ips, capacity, runtime_version })
    }

    pub fn ips(&self) -> &[IpAddr] {
        &self.ips
    }

    pub fn allocatable(&self) -> BTreeMap<String, Quantity> {
        self.capacity.clone()
    }

    /// What the node adds to its pods' wishes.
    pub fn surroundings(&self, settings: &Settings) -> Surroundings {
        let resolver = settings.resolv_conf.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
        Surroundings {
            cluster_dns: settings.cluster_dns.clone(),
            cluster_domain: settings.cluster_domain.clone(),
            resolver: Resolver::parse(&resolver.unwrap_or_default()),
            cgroup_root: settings.cgroups.root.clone(),
            systemd_cgroups: settings.cgroups.systemd,
            seccomp_root: settings.layout.root.join("seccomp").display().to_string(),
            memory: self.capacity.get("memory").map_or(0, crate::quantity::value),
        }
    }

    /// Keeps the node's object, status and lease up to date for ever.
    ///
    /// # Errors
    /// None; the type fits what spawns it.
    pub async fn run(self, agent: Arc<Agent>) -> anyhow::Result<()> {
        let Some(client) = self.client.clone() else { return Ok(()) };
        let mut lease = lease::Lease::new(client.clone(), &agent.node);
        let mut beat = Beat { node: &self, agent: &agent, api: Api::all(client), written: None };
        loop {
            let beaten = tokio::time::timeout(BEAT, beat.once()).await;
            let ready = match beaten.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {BEAT:?}"))) {
                Ok(ready) => ready,
                Err(error) => {
                    tracing::warn!("could not report the node's status: {error:#}");
                    true
                }
            };
            let renewed = tokio::time::timeout(BEAT, lease.renew_if_due()).await;
            if let Err(error) = renewed.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {BEAT:?}")))
            {
                tracing::warn!("could not renew the node's lease: {error:#}");
            }
            tokio::time::sleep(if ready { BEAT } else { EAGER_BEAT }).await;
        }
    }

    async fn status(&self, agent: &Agent) -> NodeStatus {
        let version = self.runtime_version.get_or_init(|| async {
            let version = agent.runtime.version().await.unwrap_or_default();
            format!("{}://{}", version.runtime_name, version.runtime_version)
        });
        let version = version.await.clone();
        status::status(&status::Input {
            name: &agent.node,
            ips: &self.ips,
            port: self.settings.serve.address.port(),
            capacity: &self.capacity,
            info: machine::info(version),
            runtime: agent.runtime.conditions().await.map_err(|failure| failure.to_string()),
            pressure: machine::pressure(&self.settings.layout.root, &self.settings.node.thresholds),
            now: Timestamp::now(),
        })
    }

    fn object(&self, status: NodeStatus) -> NodeObject {
        let name = &self.settings.node.name;
        let taints = self.settings.node.taints.clone();
        let annotations =
            [("volumes.kubernetes.io/controller-managed-attach-detach".to_owned(), "true".to_owned())];
        NodeObject {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some(self.labels()),
                annotations: Some(annotations.into()),
                ..ObjectMeta::default()
            },
            spec: Some(NodeSpec {
                taints: (!taints.is_empty()).then_some(taints),
                provider_id: self.settings.node.provider_id.clone(),
                ..NodeSpec::default()
            }),
            status: Some(status),
        }
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let name = self.settings.node.name.clone();
        let arch = machine::architecture().to_owned();
        let own = [
            ("beta.kubernetes.io/arch", arch.clone()),
            ("beta.kubernetes.io/os", "linux".to_owned()),
            ("kubernetes.io/arch", arch),
            ("kubernetes.io/hostname", name),
            ("kubernetes.io/os", "linux".to_owned()),
        ];
        let own = own.map(|(key, value)| (key.to_owned(), value));
        own.into_iter().chain(self.settings.node.labels.iter().cloned()).collect()
    }
}

/// The address by which others reach this machine, as far as it can be told without sending anything: the one from
/// which a packet to elsewhere would leave.
fn own_address() -> IpAddr {
    /// Reserved for documentation: no machine has it.
    const ELSEWHERE: &str = "192.0.2.1:9";
    let found = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect(ELSEWHERE)?;
        socket.local_addr()
    });
    found.map_or_else(
        |_| {
            tracing::warn!("this machine has no route to elsewhere; give its address with --node-ip");
            IpAddr::from([127, 0, 0, 1])
        },
        |address| address.ip(),
    )
}

/// The writing of the node's status.
struct Beat<'a> {
    node: &'a Node,
    agent: &'a Agent,
    api: Api<NodeObject>,
    written: Option<(Timestamp, NodeStatus)>,
}

impl Beat<'_> {
    /// Writes the status where it has changed or its time has come; tells whether the node is ready.
    async fn once(&mut self) -> anyhow::Result<bool> {
        let mut status = self.node.status(self.agent).await;
        let now = Timestamp::now();
        let before = self.written.as_ref().map(|(_, status)| status);
        let ready = status::keep_transitions(&mut status, before);
        let is_due = self.written.as_ref().is_none_or(|(at, _)| now.duration_since(*at) >= REPORT);
        if !is_due && before.is_some_and(|before| status::is_same(before, &status)) {
            return Ok(ready);
        }
        if self.written.is_none() && self.node.settings.node.register {
            self.register(&status).await?;
        }
        status.images = Some(status::images(self.agent.runtime.images().await.unwrap_or_default()));
        let patch = status::patch(&status)?;
        let patched =
            self.api.patch_status(&self.agent.node, &PatchParams::default(), &Patch::Strategic(patch)).await;
        match found(patched)? {
            // Compared without the images, which come and go without anybody waiting for it.
            Some(_) => self.written = Some((now, NodeStatus { images: None, ..status })),
            // Somebody deleted the node: it presents itself anew.
            None => self.written = None,
        }
        Ok(ready)
    }

    async fn register(&self, status: &NodeStatus) -> anyhow::Result<()> {
        let object = self.node.object(status.clone());
        match self.api.create(&PostParams::default(), &object).await {
            Ok(_) => {
                tracing::info!(node = self.agent.node, "registered the node");
                Ok(())
            }
            Err(error) if status_code(&error) == Some(409) => {
                let labels = serde_json::json!({"metadata": {"labels": self.node.labels()}});
                let patched =
                    self.api.patch(&self.agent.node, &PatchParams::default(), &Patch::Merge(labels)).await;
                if let Err(error) = patched {
                    // Labels that a node may not give itself are no reason to be silent.
                    tracing::warn!("could not renew the node's labels: {error}");
                }
                Ok(())
            }
            Err(error) => Err(error).context("could not register the node"),
        }
    }
}
