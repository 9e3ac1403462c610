//! Where pods are in the tree of cgroups: below `kubepods`, by quality of service.

use std::path::{Path, PathBuf};

use crate::quantity::Qos;
use crate::runtime::sandbox::Surroundings;

/// Where cgroups are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// The cgroup of a pod as CRI names it; none where the runtime places pods.
pub fn parent(around: &Surroundings, qos: Qos, uid: &str) -> Option<String> {
    let root = around.cgroup_root.as_deref()?.trim_end_matches('/');
    let class = match qos {
        Qos::Guaranteed => None,
        Qos::Burstable => Some("burstable"),
        Qos::BestEffort => Some("besteffort"),
    };
    if around.systemd_cgroups {
        let class = class.map_or_else(|| "kubepods".to_owned(), |class| format!("kubepods-{class}"));
        return Some(format!("{class}-pod{}.slice", uid.replace('-', "_")));
    }
    let class = class.map_or_else(String::new, |class| format!("/{class}"));
    Some(format!("{root}/kubepods{class}/pod{uid}"))
}

/// Removes what is left of a pod's cgroup in every hierarchy, v1 or v2. The runtime has removed the containers' own.
pub fn remove(around: &Surroundings, qos: Qos, uid: &str) {
    if around.systemd_cgroups {
        return;
    }
    let Some(parent) = parent(around, qos, uid) else { return };
    let parent = parent.trim_start_matches('/');
    for hierarchy in hierarchies(Path::new(MOUNT)) {
        let folder = hierarchy.join(parent);
        if folder.is_dir() {
            remove_tree(&folder);
        }
    }
}

/// The unified hierarchy, and each of the others beside it.
fn hierarchies(mount: &Path) -> Vec<PathBuf> {
    if mount.join("cgroup.controllers").exists() {
        return vec![mount.to_owned()];
    }
    let folders = std::fs::read_dir(mount).into_iter().flatten().flatten();
    // Names such as `cpu` are links to `cpu,cpuacct`: once is enough.
    folders
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// A cgroup goes by rmdir alone, the innermost first; one that is still in use stays and is tried again with its pod.
fn remove_tree(folder: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_tree(&entry.path());
    }
    if let Err(error) = std::fs::remove_dir(folder) {
        tracing::debug!(cgroup = %folder.display(), "could not remove a cgroup: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let cases = [
            ("/", false, Qos::Guaranteed, "/kubepods/podu-1"),
            ("/isopod", false, Qos::BestEffort, "/isopod/kubepods/besteffort/podu-1"),
            ("/", true, Qos::Burstable, "kubepods-burstable-podu_1.slice"),
        ];
        for (root, systemd_cgroups, qos, expected) in cases {
            let around = Surroundings {
                cgroup_root: Some(root.to_owned()),
                systemd_cgroups,
                ..Surroundings::default()
            };
            assert_eq!(parent(&around, qos, "u-1").as_deref(), Some(expected));
        }
    }
}
