//! Gives every namespace the ConfigMap `kube-root-ca.crt`, by which pods trust the API server.

use std::collections::BTreeMap;

use anyhow::Context as _;
use client::k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use client::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use client::kube::api::PostParams;
use client::kube::runtime::watcher;
use client::kube::{Api, Client};
use client::object::status_code;
use client::{Cache, Key, Next, Queue};

use crate::namespace::is_open;
use crate::scene::{Scene, wake_self};
use crate::table::Reconciler;

const NAME: &str = "kube-root-ca.crt";
const FIELD: &str = "ca.crt";
const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the \
     internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of \
     Kubernetes clusters.",
);

struct State {
    client: Client,
    namespaces: Cache<Namespace>,
    maps: Cache<ConfigMap>,
    bundle: String,
}

pub(crate) fn build(scene: &Scene) -> anyhow::Result<Option<Reconciler>> {
    let Some(path) = &scene.settings.root_ca else { return Ok(None) };
    let bundle = std::fs::read_to_string(path)
        .with_context(|| format!("--root-ca-file: could not read {}", path.display()))?;
    let namespaces = scene.caches.of::<Namespace>();
    let only = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    let maps = scene.caches.selected::<ConfigMap>(only);
    let queue = Queue::default();
    wake_self(&namespaces, &queue);
    let woken = queue.clone();
    maps.subscribe(move |change| {
        woken.add(Key::cluster(change.object().metadata.namespace.as_deref().unwrap_or_default()));
    });
    let state = State { client: scene.client.clone(), namespaces, maps, bundle };
    Ok(Some(Reconciler::new(queue, state, |state, key| async move { state.reconcile(&key).await })))
}

impl State {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        if !self.namespaces.get(key).is_some_and(|namespace| is_open(&namespace)) {
            return Ok(Next::Wait);
        }
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &key.name);
        let data = BTreeMap::from([(FIELD.to_owned(), self.bundle.clone())]);
        let (name, text) = DESCRIPTION;
        let written = match self.maps.get(&Key::new(&key.name, NAME)) {
            Some(map) => {
                let described = crate::pod::annotation(&map.metadata, name) == Some(text);
                if map.data.as_ref() == Some(&data) && described {
                    return Ok(Next::Wait);
                }
                let mut map = ConfigMap::clone(&map);
                map.data = Some(data);
                map.metadata.annotations.get_or_insert_default().insert(name.to_owned(), text.to_owned());
                api.replace(NAME, &PostParams::default(), &map).await
            }
            None => {
                let metadata = ObjectMeta {
                    name: Some(NAME.to_owned()),
                    namespace: Some(key.name.to_string()),
                    annotations: Some(BTreeMap::from([(name.to_owned(), text.to_owned())])),
                    ..ObjectMeta::default()
                };
                let map = ConfigMap { metadata, data: Some(data), ..ConfigMap::default() };
                api.create(&PostParams::default(), &map).await
            }
        };
        match written {
            // Somebody was faster, or the namespace is going or gone.
            Err(error) if !matches!(status_code(&error), Some(403 | 404 | 409)) => {
                Err(error).with_context(|| format!("could not write the ConfigMap {NAME}"))
            }
            _ => Ok(Next::Wait),
        }
    }
}
