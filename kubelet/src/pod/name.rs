//! The labels, annotations and paths by which a pod's things are found again, as upstream names them.

use std::path::{Path, PathBuf};

use client::k8s_openapi::api::core::v1::Pod;

use super::{name, namespace, uid};

pub const POD_NAME: &str = "io.kubernetes.pod.name";
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub const POD_UID: &str = "io.kubernetes.pod.uid";
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
pub const CONTAINER_HASH: &str = "io.kubernetes.container.hash";
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
pub const MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
pub const MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
pub const POD_GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";

/// Where the kubelet keeps a pod's things.
#[derive(Debug, Clone)]
pub struct Layout {
    pub root: PathBuf,
    pub logs: PathBuf,
}

impl Layout {
    /// `<root>/pods`: a folder a pod.
    pub fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }

    /// `<root>/pods/<uid>`.
    pub fn pod(&self, uid: &str) -> PathBuf {
        self.pods().join(uid)
    }

    /// `<root>/pods/<uid>/etc-hosts`.
    pub fn hosts(&self, uid: &str) -> PathBuf {
        self.pod(uid).join("etc-hosts")
    }

    /// `<root>/pods/<uid>/containers/<container>`: the termination messages of its runs.
    pub fn container(&self, uid: &str, container: &str) -> PathBuf {
        self.pod(uid).join("containers").join(container)
    }

    /// `<root>/pods/<uid>/volumes/kubernetes.io~<plugin>/<volume>`.
    pub fn volume(&self, uid: &str, plugin: &str, volume: &str) -> PathBuf {
        self.pod(uid).join("volumes").join(format!("kubernetes.io~{plugin}")).join(volume)
    }

    /// `<logs>/<namespace>_<name>_<uid>`.
    pub fn pod_logs(&self, pod: &Pod) -> PathBuf {
        self.logs.join(format!("{}_{}_{}", namespace(pod), name(pod), uid(pod)))
    }
}

/// `<container>/<attempt>.log`, below the pod's log folder.
pub fn log_path(container: &str, attempt: u32) -> String {
    format!("{container}/{attempt}.log")
}

/// The number of the next run as far as the log files left by earlier runs tell.
pub fn attempt_from_logs(folder: &Path) -> u32 {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let runs = files.filter_map(|file| file.file_name().to_str()?.split('.').next()?.parse::<u32>().ok());
    runs.max().map_or(0, |last| last + 1)
}
