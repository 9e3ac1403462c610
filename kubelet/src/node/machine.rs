//! What can be read of the machine: its size, its names, how full it is.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use client::k8s_openapi::api::core::v1::NodeSystemInfo;
use client::k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::threshold::{Left, Signal, Threshold};

/// What the node is short of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pressure {
    pub memory: bool,
    pub disk: bool,
}

/// A line of /proc/meminfo, in KiB.
fn memory(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What the machine has.
///
/// # Errors
/// Where /proc or the file system cannot be read.
pub fn capacity(root: &Path, pods: u32) -> io::Result<BTreeMap<String, Quantity>> {
    let processors =
        fs::read_to_string("/proc/cpuinfo")?.lines().filter(|line| line.starts_with("processor")).count();
    let disk = rustix::fs::statvfs(root)?;
    let memory = memory("MemTotal").ok_or_else(|| io::Error::other("no MemTotal in /proc/meminfo"))?;
    let amounts = [
        ("cpu", processors.max(1).to_string()),
        ("ephemeral-storage", format!("{}Ki", disk.f_blocks * disk.f_frsize / 1024)),
        ("hugepages-1Gi", "0".to_owned()),
        ("hugepages-2Mi", "0".to_owned()),
        ("memory", format!("{memory}Ki")),
        ("pods", pods.to_string()),
    ];
    Ok(amounts.map(|(name, amount)| (name.to_owned(), Quantity(amount))).into())
}

/// What the machine is short of now, by these thresholds.
pub fn pressure(root: &Path, thresholds: &[Threshold]) -> Pressure {
    let crossed = |signal, free, whole| {
        thresholds.iter().any(|threshold| threshold.is_crossed(signal, Left { free, whole }))
    };
    let memory = memory("MemAvailable")
        .zip(memory("MemTotal"))
        .is_some_and(|(free, whole)| crossed(Signal::Memory, free << 10, whole << 10));
    let disk = rustix::fs::statvfs(root).is_ok_and(|disk| {
        crossed(Signal::Disk, disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize)
            // A file system that makes inodes as they are needed reports none.
            || (disk.f_files > 0 && crossed(Signal::Inodes, disk.f_favail, disk.f_files))
    });
    Pressure { memory, disk }
}

/// The architecture as Go names it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// The names of the machine and of what runs on it.
pub fn info(runtime_version: String) -> NodeSystemInfo {
    let first_line = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("Linux");
    let machine = first_line("/etc/machine-id");
    let system = first_line("/sys/class/dmi/id/product_uuid");
    NodeSystemInfo {
        architecture: architecture().to_owned(),
        boot_id: first_line("/proc/sys/kernel/random/boot_id"),
        container_runtime_version: runtime_version,
        kernel_version: rustix::system::uname().release().to_string_lossy().into_owned(),
        kubelet_version: daemon::VERSION.to_owned(),
        // Upstream reports none any more: the kubelet cannot know.
        kube_proxy_version: String::new(),
        operating_system: "linux".to_owned(),
        os_image: pretty.trim_matches('"').to_owned(),
        system_uuid: if system.is_empty() { machine.clone() } else { system },
        machine_id: machine,
        swap: None,
    }
}
