//! Gives every namespace its ServiceAccount `default`.

use anyhow::Context as _;
use client::k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use client::kube::api::PostParams;
use client::kube::runtime::watcher;
use client::kube::{Api, Client};
use client::object::status_code;
use client::{Cache, Key, Next, Queue};

use crate::namespace::is_open;
use crate::scene::{Scene, wake_self};
use crate::table::Reconciler;

const NAME: &str = "default";

struct State {
    client: Client,
    namespaces: Cache<Namespace>,
    accounts: Cache<ServiceAccount>,
}

pub(crate) fn build(scene: &Scene) -> anyhow::Result<Option<Reconciler>> {
    let namespaces = scene.caches.of::<Namespace>();
    let only = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    let accounts = scene.caches.selected::<ServiceAccount>(only);
    let queue = Queue::default();
    wake_self(&namespaces, &queue);
    let woken = queue.clone();
    accounts.subscribe(move |change| {
        woken.add(Key::cluster(change.object().metadata.namespace.as_deref().unwrap_or_default()));
    });
    let state = State { client: scene.client.clone(), namespaces, accounts };
    Ok(Some(Reconciler::new(queue, state, |state, key| async move { state.reconcile(&key).await })))
}

impl State {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let wanted = self.namespaces.get(key).is_some_and(|namespace| is_open(&namespace));
        if !wanted || self.accounts.get(&Key::new(&key.name, NAME)).is_some() {
            return Ok(Next::Wait);
        }
        let account = ServiceAccount {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                namespace: Some(key.name.to_string()),
                ..ObjectMeta::default()
            },
            ..ServiceAccount::default()
        };
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &key.name);
        match api.create(&PostParams::default(), &account).await {
            // Somebody was faster, or the namespace is going or gone.
            Err(error) if !matches!(status_code(&error), Some(403 | 404 | 409)) => {
                Err(error).context("could not create the ServiceAccount default")
            }
            _ => Ok(Next::Wait),
        }
    }
}
