//! The cgroups of test hosts, in every hierarchy there is (v1, hybrid or v2): whatever a host runs is below its own.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
pub use rustix::process::Pid;
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Where cgroups are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// Makes the cgroup in each hierarchy and returns the files that take a process in.
///
/// # Errors
/// Where the kernel refuses, for instance without root.
pub fn make(path: &str) -> Result<Vec<PathBuf>> {
    let mut doors = Vec::new();
    for hierarchy in hierarchies(Path::new(MOUNT)) {
        let mut folder = hierarchy.clone();
        for part in path.split('/') {
            let parent = folder.clone();
            folder.push(part);
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("could not make the cgroup {}", folder.display()))?;
            inherit_cpus(&parent, &folder)?;
        }
        doors.push(folder.join("cgroup.procs"));
    }
    Ok(doors)
}

/// A new cpuset of v1 has no CPUs and takes no process before it has.
fn inherit_cpus(parent: &Path, child: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let (from, to) = (parent.join(file), child.join(file));
        let Ok(value) = std::fs::read_to_string(&from) else { continue };
        if std::fs::read_to_string(&to).is_ok_and(|old| old.trim().is_empty()) && !value.trim().is_empty() {
            std::fs::write(&to, value).with_context(|| format!("could not write {}", to.display()))?;
        }
    }
    Ok(())
}

/// Every process in the cgroup and below it.
pub fn processes(path: &str) -> Vec<Pid> {
    let mut found = Vec::new();
    for hierarchy in hierarchies(Path::new(MOUNT)) {
        walk(&hierarchy.join(path), &mut |folder| found.extend(members(folder)));
    }
    found.sort_by_key(|pid| pid.as_raw_nonzero());
    found.dedup();
    found
}

/// The processes in the cgroup itself, without those below: a host's own, without its pods'.
pub fn own_processes(path: &str) -> Vec<Pid> {
    let mut found: Vec<Pid> =
        hierarchies(Path::new(MOUNT)).iter().flat_map(|hierarchy| members(&hierarchy.join(path))).collect();
    found.sort_by_key(|pid| pid.as_raw_nonzero());
    found.dedup();
    found
}

/// Kills whatever is in the cgroup and below it, waits until it is gone, and removes the cgroups.
///
/// Returns how many processes there were.
///
/// # Errors
/// Where a cgroup cannot be removed.
pub fn remove(path: &str) -> Result<usize> {
    let mut killed = 0;
    loop {
        let found = processes(path);
        if found.is_empty() {
            break;
        }
        killed += found.len();
        kill(&found);
    }
    for hierarchy in hierarchies(Path::new(MOUNT)) {
        let mut folders = Vec::new();
        walk(&hierarchy.join(path), &mut |folder| folders.push(folder.to_owned()));
        // The walk goes downwards and the kernel removes only what is empty.
        for folder in folders.iter().rev() {
            std::fs::remove_dir(folder)
                .with_context(|| format!("could not remove the cgroup {}", folder.display()))?;
        }
    }
    Ok(killed)
}

/// Kills processes and waits until each is gone.
pub fn kill(processes: &[Pid]) {
    // Held by file descriptors: a number may be somebody else's by the time it is signalled.
    let held: Vec<_> =
        processes.iter().filter_map(|pid| pidfd_open(*pid, PidfdFlags::empty()).ok()).collect();
    for process in &held {
        // One that has gone by itself is what is wanted.
        pidfd_send_signal(process, Signal::KILL).ok();
    }
    for process in &held {
        let mut ends = [rustix::event::PollFd::new(process, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut ends, None).ok();
    }
}

fn members(folder: &Path) -> Vec<Pid> {
    let text = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).filter_map(Pid::from_raw).collect()
}

/// Visits a folder and all below it, the outer before the inner.
fn walk(folder: &Path, visit: &mut impl FnMut(&Path)) {
    if !folder.is_dir() {
        return;
    }
    visit(folder);
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        walk(&entry.path(), visit);
    }
}

/// The unified hierarchy, or each of the others beside it.
fn hierarchies(mount: &Path) -> Vec<PathBuf> {
    if mount.join("cgroup.controllers").exists() {
        return vec![mount.to_owned()];
    }
    let folders = std::fs::read_dir(mount).into_iter().flatten().flatten();
    // Names such as `cpu` may be links to `cpu,cpuacct`: once is enough.
    let real = folders.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    real.map(|entry| entry.path()).filter(|folder| folder.join("cgroup.procs").exists()).collect()
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn a_cgroup_goes_with_what_runs_in_it() {
        let name = format!("isopod-check-{}", std::process::id());
        let doors = make(&format!("{name}/inner")).unwrap();
        assert!(!doors.is_empty());
        let mut child = std::process::Command::new("sleep").arg("infinity").spawn().unwrap();
        for door in &doors {
            std::fs::write(door, child.id().to_string()).unwrap();
        }
        assert_eq!(processes(&name).len(), 1);
        assert!(own_processes(&name).is_empty());
        // A zombie has left its cgroups; it is reaped below.
        assert_eq!(remove(&name).unwrap(), 1);
        assert!(!child.wait().unwrap().success());
        assert!(!doors[0].exists());
        assert_eq!(remove(&name).unwrap(), 0);
    }
}
