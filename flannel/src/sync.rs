//! Keeps kernel, files and the node's annotations equal to what the Nodes say.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use client::Cache;
use client::k8s_openapi::api::core::v1::{Node, NodeCondition};
use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use client::k8s_openapi::jiff::Timestamp;
use client::kube::Api;
use client::kube::api::{Patch, PatchParams};
use daemon::ready::Gate;
use ipnet::Ipv4Net;
use nft::Nft;
use serde_json::json;
use tokio::sync::Notify;

use crate::config::{Backend, Settings};
use crate::device::{self, Vxlan};
use crate::interface::{self, External};
use crate::lease::{self, Own, View};
use crate::netlink::{Link, Mac, Netlink};
use crate::{file, masquerade, plan};

/// The pause before another try after a failure: the API server may be restarting, the interface not be there yet.
const RETRY: Duration = Duration::from_secs(2);

/// The one that does it.
#[derive(Debug)]
pub struct Driver {
    settings: Settings,
    client: Api<Node>,
    nodes: Cache<Node>,
    netlink: Netlink,
    nft: Nft,
    changed: Arc<Notify>,
    /// What the world was like when all was last in order.
    settled: Option<View>,
    /// Holds back readiness until pods can be joined to the network for the first time.
    gate: Option<Gate>,
}

/// How packets leave for other nodes: which device, and what it is for them.
struct Way {
    external: External,
    vxlan: Option<Link>,
    mtu: u32,
}

impl Driver {
    /// A driver that has done nothing yet.
    ///
    /// # Errors
    /// Where there is no netlink socket to be had.
    pub fn new(
        settings: Settings,
        client: client::kube::Client,
        nodes: Cache<Node>,
        gate: Gate,
    ) -> anyhow::Result<Self> {
        let changed = Arc::new(Notify::new());
        let wake = Arc::clone(&changed);
        nodes.subscribe(move |_| wake.notify_one());
        let netlink = Netlink::here()?;
        Ok(Self {
            settings,
            client: Api::all(client),
            nodes,
            netlink,
            nft: Nft::default(),
            changed,
            settled: None,
            gate: Some(gate),
        })
    }

    /// Follows the Nodes for ever.
    ///
    /// # Errors
    /// None; the type fits what spawns it.
    pub async fn run(mut self) -> anyhow::Result<()> {
        self.nodes.synced().await;
        loop {
            match self.reconcile().await {
                Ok(()) => self.changed.notified().await,
                Err(error) => {
                    tracing::warn!("the pod network is not up to date: {error:#}");
                    // A change may mend it sooner.
                    drop(tokio::time::timeout(RETRY, self.changed.notified()).await);
                }
            }
        }
    }

    /// Brings everything in order.
    async fn reconcile(&mut self) -> anyhow::Result<()> {
        let nodes = self.nodes.list();
        let Some(view) = View::of(nodes.iter().map(AsRef::as_ref), &self.settings.node) else {
            tracing::info!(node = %self.settings.node, "waiting until the node has addresses for pods (spec.podCIDR)");
            return Ok(());
        };
        if self.settled.as_ref() == Some(&view) {
            return Ok(());
        }
        allow_forwarding()?;
        let way = self.way(&view.own).await?;
        self.connect(&view, &way).await?;
        let subnet = view.own.subnet;
        if self.settled.as_ref().map(|view| view.own.subnet) != Some(subnet) {
            self.masquerade(subnet).await?;
        }
        self.announce(&view.own, &way).await?;
        self.tell_plugins(subnet, way.mtu)?;
        // The network is there; what follows tells others of it.
        drop(self.gate.take());
        if view.own.unavailable {
            self.report().await?;
        }
        self.settled = Some(view);
        Ok(())
    }

    /// Gives the kernel the ways to all other nodes.
    async fn connect(&self, view: &View, way: &Way) -> anyhow::Result<()> {
        let link = way.vxlan.as_ref().map_or(way.external.link.index, |link| link.index);
        let now = device::observe(&self.netlink, self.settings.pods, way.vxlan.as_ref()).await?;
        let then = plan::desired(&view.peers, self.settings.backend, link);
        for step in plan::steps(&now, &then) {
            tracing::info!(?step, "changing how pods on other nodes are reached");
            device::take(&self.netlink, link, step).await?;
        }
        Ok(())
    }

    async fn way(&self, own: &Own) -> anyhow::Result<Way> {
        let Settings { interface, vni, port, backend, .. } = &self.settings;
        let external = interface::external(&self.netlink, interface.as_deref(), own.internal_ip).await?;
        let vxlan = Vxlan { vni: *vni, port: *port, external: external.clone(), mac: own.vtep };
        match backend {
            Backend::Vxlan => {
                let link = vxlan.ensure(&self.netlink, own.subnet).await?;
                Ok(Way { external, vxlan: Some(link), mtu: vxlan.mtu() })
            }
            Backend::HostGateway => {
                // Left over from another backend, it would still own routes.
                if let Some(link) = self.netlink.link(&vxlan.name()).await? {
                    self.netlink.delete_link(&link).await?;
                }
                let mtu = external.link.mtu;
                Ok(Way { external, vxlan: None, mtu })
            }
        }
    }

    async fn masquerade(&self, subnet: Ipv4Net) -> anyhow::Result<()> {
        let rules = match self.settings.masquerade {
            true => nft::replace(&masquerade::table(self.settings.pods, subnet)),
            false => nft::remove(nft::Family::Ip, masquerade::TABLE),
        };
        self.nft.apply(&rules).await.context("could not set the rules for masquerading")
    }

    /// Writes the annotations by which other nodes find this one, if they say something else.
    async fn announce(&self, own: &Own, way: &Way) -> anyhow::Result<()> {
        let public_ip = own.overwritten_ip.or(self.settings.public_ip).unwrap_or(way.external.ip);
        let mac = |link: &Link| -> Option<(u32, Mac)> { Some((self.settings.vni, link.mac?)) };
        let vxlan = way.vxlan.as_ref().and_then(mac);
        let wanted = lease::announcement(self.settings.backend, public_ip, vxlan);
        if own.announced == wanted {
            return Ok(());
        }
        let patch = json!({"metadata": {"annotations": wanted}});
        let (node, how) = (&self.settings.node, PatchParams::default());
        let patched = self.client.patch(node, &how, &Patch::Merge(patch)).await;
        patched.context("could not write the node's annotations").map(|_| ())
    }

    fn tell_plugins(&self, subnet: Ipv4Net, mtu: u32) -> anyhow::Result<()> {
        let Settings { pods, masquerade, subnet_file, conf_dir, data_dir, .. } = &self.settings;
        file::put(subnet_file, &file::subnet_env(*pods, subnet, mtu, *masquerade))?;
        // Last: from here on the runtime counts the network as there.
        file::put(&conf_dir.join(file::CONFLIST), &file::conflist(subnet_file, data_dir))
    }

    /// Says in the node's status that it has a network.
    async fn report(&self) -> anyhow::Result<()> {
        let name = &self.settings.node;
        let what = "could not write the node's condition NetworkUnavailable";
        let mut node = self.client.get(name).await.context(what)?;
        let now = Time(Timestamp::now());
        let mut conditions = node.status.take().and_then(|status| status.conditions).unwrap_or_default();
        conditions.retain(|condition| condition.type_ != lease::NETWORK_UNAVAILABLE);
        conditions.push(NodeCondition {
            type_: lease::NETWORK_UNAVAILABLE.to_owned(),
            status: "False".to_owned(),
            reason: Some("FlannelIsUp".to_owned()),
            message: Some("Flannel is running on this node".to_owned()),
            last_transition_time: Some(now.clone()),
            last_heartbeat_time: Some(now),
        });
        // The whole list, so only if nobody has changed it meanwhile; if somebody has, that change wakes us.
        let patch = json!({
            "metadata": {"resourceVersion": node.metadata.resource_version},
            "status": {"conditions": conditions},
        });
        let patched = self.client.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.context(what).map(|_| ())
    }
}

/// Lets the kernel hand packets on, and shows bridged packets to the rules for Services: a pod's answer to its
/// neighbour on the same bridge must be translated back.
fn allow_forwarding() -> anyhow::Result<()> {
    const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
    const BRIDGED: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    set(FORWARD).with_context(|| format!("could not write 1 to {FORWARD}"))?;
    set(BRIDGED).with_context(|| {
        format!("could not write 1 to {BRIDGED}; the kernel needs br_netfilter (CONFIG_BRIDGE_NETFILTER, modprobe br_netfilter)")
    })
}

fn set(path: &str) -> std::io::Result<()> {
    if std::fs::read_to_string(path)?.trim() == "1" {
        return Ok(());
    }
    std::fs::write(path, "1")
}
