//! Makes this server findable: the `kube-dns` Service, and an EndpointSlice of its own behind it.

use std::time::Duration;

use anyhow::Context as _;
use client::k8s_openapi::api::core::v1::Service;
use client::k8s_openapi::api::discovery::v1::EndpointSlice;
use client::kube::api::{Api, Patch, PatchParams, PostParams};
use client::kube::{Client, Resource};
use client::{Cache, Key, Next, Queue, controller, object};
use daemon::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::resource;
use plan::{NAMESPACE, SERVICE, Site, Step, step};

pub mod plan;

/// How long this server says goodbye; the API server may have gone first.
const FAREWELL: Duration = Duration::from_secs(2);

/// Keeps the Service and the slices as they should be.
#[derive(Debug, Clone)]
pub struct Publisher {
    site: Site,
    services: Api<Service>,
    slices: Api<EndpointSlice>,
    nodes: Cache<resource::Node>,
}

/// The caches whose changes concern what is published.
#[derive(Debug, Clone)]
pub struct Sources {
    pub services: Cache<resource::Service>,
    pub slices: Cache<resource::Slice>,
    pub nodes: Cache<resource::Node>,
}

impl Publisher {
    pub fn new(site: Site, client: Client, nodes: Cache<resource::Node>) -> Self {
        let services = Api::namespaced(client.clone(), NAMESPACE);
        let slices = Api::namespaced(client, NAMESPACE);
        Self { site, services, slices, nodes }
    }

    /// Publishes for ever, and says at the drain that this server is about to go.
    pub fn start(self, context: &Context, sources: &Sources) {
        let queue = Queue::default();
        let key = Key::new(NAMESPACE, SERVICE);
        queue.add(key.clone());
        let on_service = (queue.clone(), key.clone());
        sources.services.subscribe(move |change| {
            if Key::of(&**change.object()) == on_service.1 {
                on_service.0.add(on_service.1.clone());
            }
        });
        let (on_slice, own) = ((queue.clone(), key.clone()), self.site.slice_names());
        sources.slices.subscribe(move |change| {
            let changed = Key::of(&**change.object());
            if &*changed.namespace == NAMESPACE && own.iter().any(|name| **name == *changed.name) {
                on_slice.0.add(on_slice.1.clone());
            }
        });
        let (on_node, node) = ((queue.clone(), key), Key::cluster(&self.site.node));
        sources.nodes.subscribe(move |change| {
            // Only the Node's birth matters: from then on the slices go when it goes.
            if Key::of(&**change.object()) == node && matches!(change, client::Change::Added(_)) {
                on_node.0.add(on_node.1.clone());
            }
        });
        let (farewell, drain) = (self.clone(), context.drain());
        context.spawn("publish", async move {
            let publish = |_| async { self.publish().await };
            controller::run("publish", queue, 1, publish).await
        });
        context.spawn_draining("farewell", async move {
            drain.signaled().await;
            farewell.leave().await;
            Ok(())
        });
    }

    async fn publish(&self) -> anyhow::Result<Next> {
        let desired = self.site.service();
        let found = object::found(self.services.get(SERVICE).await)
            .with_context(|| format!("could not read the Service {NAMESPACE}/{SERVICE}"))?;
        if let Some(obstacle) = found.as_ref().and_then(|found| self.site.obstacle(found)) {
            tracing::warn!("{obstacle}");
            return Ok(Next::Wait);
        }
        settle(&self.services, found, &desired).await?;
        let node = self.nodes.get(&Key::cluster(&self.site.node));
        let uid = node.and_then(|node| node.metadata.uid.clone());
        for desired in self.site.slices(uid.as_deref()) {
            let name = desired["metadata"]["name"].as_str().unwrap_or_default();
            let found = object::found(self.slices.get(name).await)
                .with_context(|| format!("could not read the EndpointSlice {NAMESPACE}/{name}"))?;
            settle(&self.slices, found, &desired).await?;
        }
        Ok(Next::Wait)
    }

    /// Tells the proxies to prefer other servers where there are some, and to stay with this one where not.
    async fn leave(&self) {
        for slice in self.site.leaving() {
            let name = slice["metadata"]["name"].as_str().unwrap_or_default();
            let (params, patch) = (PatchParams::default(), Patch::Merge(&slice));
            let patched = tokio::time::timeout(FAREWELL, self.slices.patch(name, &params, &patch)).await;
            match patched {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::debug!("could not say goodbye in {name}: {error}"),
                Err(_) => tracing::debug!("nobody heard the goodbye in {name}"),
            }
        }
    }
}

/// Creates or mends an object so that it says all that `desired` says.
async fn settle<K>(api: &Api<K>, found: Option<K>, desired: &Value) -> anyhow::Result<()>
where
    K: Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned + std::fmt::Debug,
{
    let kind = K::kind(&());
    let name = desired["metadata"]["name"].as_str().unwrap_or_default();
    let found = found.map(serde_json::to_value).transpose()?.unwrap_or(json!(null));
    match step(&found, desired) {
        Step::Nothing => {}
        Step::Create => {
            let object = serde_json::from_value(desired.clone())?;
            api.create(&PostParams::default(), &object)
                .await
                .with_context(|| format!("could not create the {kind} {NAMESPACE}/{name}"))?;
            tracing::info!("created the {kind} {NAMESPACE}/{name}");
        }
        Step::Mend => {
            api.patch(name, &PatchParams::default(), &Patch::Merge(desired))
                .await
                .with_context(|| format!("could not mend the {kind} {NAMESPACE}/{name}"))?;
            tracing::info!("mended the {kind} {NAMESPACE}/{name}");
        }
    }
    Ok(())
}
