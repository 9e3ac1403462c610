//! Static pods: manifests in a folder, watched with inotify.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use client::k8s_openapi::api::core::v1::{Pod, Toleration};
use client::{Key, Queue};
use futures::StreamExt;
use inotify::{Inotify, WatchMask};
use parking_lot::RwLock;

use crate::pod::{HASH, SOURCE, fnv};

/// A manifest larger than this is a mistake, not a pod (etcd would not take it either).
const LARGEST_MANIFEST: u64 = 1 << 20;
/// The most names that one read of the watch brings.
const EVENT_BUFFER: usize = 4096;

/// The pods of the folder, by uid. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Manifests {
    pods: Arc<RwLock<BTreeMap<String, Arc<Pod>>>>,
    names: Queue<Key>,
}

impl Manifests {
    pub fn get(&self, uid: &str) -> Option<Arc<Pod>> {
        self.pods.read().get(uid).cloned()
    }

    pub fn list(&self) -> Vec<Arc<Pod>> {
        self.pods.read().values().cloned().collect()
    }

    /// The names of static pods that came, changed or went.
    pub fn names(&self) -> Queue<Key> {
        self.names.clone()
    }

    /// Reads the folder anew and puts the uids of what changed into the queue.
    pub fn reload(&self, folder: &Path, node: &str, queue: &Queue<Arc<str>>) {
        let fresh = read(folder, node);
        let old = std::mem::replace(&mut *self.pods.write(), fresh);
        let new = self.pods.read();
        let changed = old
            .keys()
            .filter(|uid| !new.contains_key(*uid))
            .chain(new.keys().filter(|uid| !old.contains_key(*uid)));
        for uid in changed {
            if let Some(pod) = new.get(uid).or_else(|| old.get(uid)) {
                self.names.add(Key::of(&**pod));
            }
            queue.add(uid.as_str().into());
        }
    }
}

/// Follows the folder for ever.
///
/// # Errors
/// Where the folder cannot be watched.
pub async fn follow(
    manifests: Manifests,
    folder: PathBuf,
    node: String,
    queue: Queue<Arc<str>>,
) -> anyhow::Result<()> {
    let said = || format!("could not watch {} (--pod-manifest-path)", folder.display());
    std::fs::create_dir_all(&folder).with_context(said)?;
    let inotify = Inotify::init().with_context(said)?;
    let mask = WatchMask::CLOSE_WRITE | WatchMask::MOVED_FROM | WatchMask::MOVED_TO | WatchMask::DELETE;
    inotify.watches().add(&folder, mask).with_context(said)?;
    // What changed between the first reading and the watch.
    manifests.reload(&folder, &node, &queue);
    let mut events = inotify.into_event_stream(vec![0; EVENT_BUFFER]).with_context(said)?;
    while let Some(event) = events.next().await {
        event.with_context(said)?;
        manifests.reload(&folder, &node, &queue);
    }
    anyhow::bail!("the watch on {} ended", folder.display())
}

fn read(folder: &Path, node: &str) -> BTreeMap<String, Arc<Pod>> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut out = BTreeMap::new();
    for entry in entries {
        let path = entry.path();
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        let fits = entry.metadata().is_ok_and(|data| data.is_file() && data.len() <= LARGEST_MANIFEST);
        if hidden || !fits {
            continue;
        }
        let parsed =
            std::fs::read(&path).map_err(anyhow::Error::from).and_then(|bytes| parse(&bytes, &path, node));
        match parsed {
            Ok(pod) => {
                out.insert(pod.metadata.uid.clone().unwrap_or_default(), Arc::new(pod));
            }
            Err(error) => tracing::warn!("{} is not a pod: {error:#}", path.display()),
        }
    }
    out
}

/// A manifest as the pod that this node runs.
///
/// # Errors
/// Where it is not a pod.
pub fn parse(bytes: &[u8], path: &Path, node: &str) -> anyhow::Result<Pod> {
    let value: serde_json::Value = serde_saphyr::from_slice(bytes).context("could not parse the manifest")?;
    let kind = value.get("kind").and_then(serde_json::Value::as_str).unwrap_or_default();
    anyhow::ensure!(kind == "Pod", "its kind is {kind:?}, not \"Pod\"");
    let mut pod: Pod = serde_json::from_value(value).context("could not read the manifest as a Pod")?;
    let mut seed = bytes.to_vec();
    seed.extend(node.as_bytes());
    seed.extend(path.as_os_str().as_encoded_bytes());
    let uid: String = (0_u8..4)
        .map(|round| {
            seed.push(round);
            format!("{:08x}", fnv(&seed))
        })
        .collect();
    let meta = &mut pod.metadata;
    let name = meta.name.clone().filter(|name| !name.is_empty()).context("metadata.name is required")?;
    meta.name = Some(format!("{name}-{node}"));
    meta.namespace.get_or_insert_with(|| "default".to_owned());
    meta.uid = Some(uid.clone());
    let annotations = meta.annotations.get_or_insert_default();
    annotations.insert(HASH.to_owned(), uid);
    annotations.insert(SOURCE.to_owned(), "file".to_owned());
    let spec = pod.spec.get_or_insert_default();
    anyhow::ensure!(!spec.containers.is_empty(), "spec.containers is required");
    spec.node_name = Some(node.to_owned());
    // A static pod belongs to its node whatever its taints.
    let always = Toleration {
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        ..Toleration::default()
    };
    spec.tolerations.get_or_insert_default().push(always);
    Ok(pod)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_become_pods_of_this_node() {
        let path = Path::new("/m/web.yaml");
        let text = "kind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: c, image: x}]}\n";
        let pod = parse(text.as_bytes(), path, "n").unwrap();
        assert_eq!(
            (pod.metadata.name.as_deref(), pod.metadata.namespace.as_deref()),
            (Some("web-n"), Some("default"))
        );
        let same = parse(text.as_bytes(), path, "n").unwrap();
        let other = parse(text.replace('x', "z").as_bytes(), path, "n").unwrap();
        assert_eq!(pod.metadata.uid, same.metadata.uid);
        assert_ne!(pod.metadata.uid, other.metadata.uid);
        for bad in [
            "kind: Service",
            "kind: Pod\nmetadata: {}",
            "kind: Pod\nmetadata: {name: a}\nspec: {containers: []}",
            "{",
        ] {
            assert!(parse(bad.as_bytes(), path, "n").is_err(), "{bad}");
        }
    }
}
