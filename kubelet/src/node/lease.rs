//! The node's lease: the sign of life that costs little.

use std::time::Duration;

use client::k8s_openapi::api::coordination::v1::{Lease as LeaseObject, LeaseSpec};
use client::k8s_openapi::api::core::v1::Node;
use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use client::kube::api::{Patch, PatchParams, PostParams};
use client::kube::{Api, Client};
use client::object::found;
use jiff::Timestamp;
use tokio::time::Instant;

/// How long the node counts as alive after its last renewal (upstream's figure).
const SECONDS: i32 = 40;
/// A renewal is due a little before the next beat, so that none is skipped.
const DUE: Duration = Duration::from_secs(9);
const NAMESPACE: &str = "kube-node-lease";

/// The lease of one node.
#[derive(Debug)]
pub struct Lease {
    leases: Api<LeaseObject>,
    nodes: Api<Node>,
    node: String,
    renewed: Option<Instant>,
}

impl Lease {
    pub fn new(client: Client, node: &str) -> Self {
        Self {
            leases: Api::namespaced(client.clone(), NAMESPACE),
            nodes: Api::all(client),
            node: node.to_owned(),
            renewed: None,
        }
    }

    /// Renews the lease if that is due.
    ///
    /// # Errors
    /// Where the API server does not take it.
    pub async fn renew_if_due(&mut self) -> anyhow::Result<()> {
        if self.renewed.is_some_and(|at| at.elapsed() < DUE) {
            return Ok(());
        }
        let now = MicroTime(Timestamp::now());
        let spec = serde_json::json!({"spec": {
            "holderIdentity": self.node, "leaseDurationSeconds": SECONDS, "renewTime": now,
        }});
        let patched = self.leases.patch(&self.node, &PatchParams::default(), &Patch::Merge(spec)).await;
        if found(patched)?.is_none() {
            self.create(now).await?;
        }
        self.renewed = Some(Instant::now());
        Ok(())
    }

    async fn create(&self, now: MicroTime) -> anyhow::Result<()> {
        let node = self.nodes.get(&self.node).await?;
        // Deleted with its node.
        let owner = OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: self.node.clone(),
            uid: node.metadata.uid.unwrap_or_default(),
            ..OwnerReference::default()
        };
        let lease = LeaseObject {
            metadata: ObjectMeta {
                name: Some(self.node.clone()),
                namespace: Some(NAMESPACE.to_owned()),
                owner_references: Some(vec![owner]),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.node.clone()),
                lease_duration_seconds: Some(SECONDS),
                renew_time: Some(now),
                ..LeaseSpec::default()
            }),
        };
        self.leases.create(&PostParams::default(), &lease).await?;
        Ok(())
    }
}
