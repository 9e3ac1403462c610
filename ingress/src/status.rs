//! Writes to Ingresses where they are reached, and makes the class they name.
//!
//! The daemons of all nodes write the same, as all of them see the same nodes. So that they do not all write at once,
//! each waits its turn, and finds nothing left to do unless those before it are gone.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use client::Key;
use client::k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use client::kube::api::{Patch, PatchParams, PostParams};
use client::kube::{Api, Client};
use client::object::{found, status_code};
use serde_json::json;
use tokio::sync::Notify;

use crate::plan::{CONTROLLER, DEFAULT_CLASS, is_default};
use crate::view::Caches;

pub mod plan;

/// How long one daemon gives the one before it: a write and its way back through the watch take far less.
const TURN: Duration = Duration::from_secs(3);

/// The last turn: with more nodes, the rest go together.
const LAST_TURN: u32 = 10;

/// The pause after the API server refused something.
const PAUSE: Duration = Duration::from_secs(5);

/// Who this daemon is among those of other nodes.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The name of its node.
    pub node: String,
    /// The address of its node, for clusters in which no nodes are registered.
    pub address: Option<IpAddr>,
    /// The class it makes.
    pub class: String,
}

/// Keeps the status of our Ingresses at where the nodes are.
///
/// # Errors
/// None; the type fits what spawns it.
pub async fn run(caches: Caches, client: Client, identity: Identity) -> anyhow::Result<()> {
    let wake = Arc::new(Notify::new());
    let bell = || {
        let wake = Arc::clone(&wake);
        move || wake.notify_one()
    };
    let (ingress, class, node) = (bell(), bell(), bell());
    caches.ingresses.subscribe(move |_| ingress());
    caches.classes.subscribe(move |_| class());
    caches.nodes.subscribe(move |_| node());
    caches.synced().await;
    ensure_class(&caches, &client, &identity.class).await;
    loop {
        if !wrong(&caches, &identity).is_empty() {
            let turn = plan::turn(&caches.nodes.list(), &identity.node).min(LAST_TURN);
            tokio::time::sleep(TURN * turn).await;
            if !write(&client, wrong(&caches, &identity)).await {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        }
        wake.notified().await;
    }
}

/// The Ingresses whose status is not what it should be, and what that is.
fn wrong(caches: &Caches, identity: &Identity) -> Vec<(Key, Vec<IpAddr>)> {
    let addresses = plan::addresses(&caches.nodes.list(), identity.address);
    if addresses.is_empty() {
        return Vec::new();
    }
    let ours = caches.ours(&identity.class);
    let wrong = ours.iter().filter(|ingress| {
        plan::told(ingress) != addresses.iter().map(ToString::to_string).collect::<Vec<_>>()
    });
    wrong.map(|ingress| (Key::of(&**ingress), addresses.clone())).collect()
}

/// Writes all of these; says whether that worked.
async fn write(client: &Client, wrong: Vec<(Key, Vec<IpAddr>)>) -> bool {
    let mut all = true;
    for (key, addresses) in wrong {
        let entries: Vec<_> = addresses.iter().map(|address| json!({"ip": address})).collect();
        let patch = Patch::Merge(json!({"status": {"loadBalancer": {"ingress": entries}}}));
        let api: Api<Ingress> = Api::namespaced(client.clone(), &key.namespace);
        if let Err(error) = found(api.patch_status(&key.name, &PatchParams::default(), &patch).await) {
            tracing::warn!(ingress = %key, "could not write the status: {error}");
            all = false;
        }
    }
    all
}

/// Makes our class unless there is one of its name; the default one, unless there is another default.
async fn ensure_class(caches: &Caches, client: &Client, name: &str) {
    if caches.classes.get(&Key::cluster(name)).is_some() {
        return;
    }
    let default = !caches.classes.list().iter().any(|class| is_default(class));
    let class = serde_json::from_value::<IngressClass>(json!({
        "metadata": {"name": name, "annotations": {DEFAULT_CLASS: default.to_string()}},
        "spec": {"controller": CONTROLLER},
    }));
    let Ok(class) = class else { return };
    let api: Api<IngressClass> = Api::all(client.clone());
    while let Err(error) = api.create(&PostParams::default(), &class).await {
        if status_code(&error) == Some(409) {
            return;
        }
        tracing::warn!("could not make the IngressClass {name}: {error}");
        tokio::time::sleep(PAUSE).await;
    }
}
