//! Debian's packages that the project needs: what is missing is installed, each by name, once.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// What building and testing need beyond Rust itself, and why.
pub const NEEDED: &[(&str, &str)] = &[
    ("gcc", "SQLite and ring are partly C"),
    ("libc6-dev", "the C library's headers for them"),
    ("protobuf-compiler", "etcd-client's build script runs protoc"),
    ("libprotobuf-dev", "the well-known types protoc includes"),
    ("iproute2", "tests make network namespaces"),
    ("nftables", "the service proxy, the pod network and the CNI plugins apply rules"),
    ("conntrack", "the service proxy forgets stale UDP flows"),
    ("dnsutils", "the cluster DNS is asked with dig"),
    ("busybox-static", "the image that test pods run"),
    ("containerd", "the container runtime the kubelet is tested on"),
    ("runc", "what containerd runs containers with"),
    ("etcd-server", "the store ours is compared with"),
    ("etcd-client", "etcdctl, which must work against ours"),
    ("strace", "the benchmark counts what the datastore writes"),
    ("openssl", "certificates in tests of other programs"),
];

/// Installs what is missing and says which those were.
///
/// # Errors
/// Where the package manager fails; the message names the packages.
pub fn install_missing() -> Result<String> {
    let missing: Vec<&str> =
        NEEDED.iter().map(|(name, _)| *name).filter(|name| !is_installed(name)).collect();
    if missing.is_empty() {
        return Ok("all there".to_owned());
    }
    install(&missing)?;
    Ok(format!("installed {}", missing.join(" ")))
}

/// Installs packages by name.
///
/// # Errors
/// Where the package manager fails; the message names the packages.
pub fn install(missing: &[&str]) -> Result<()> {
    let named = missing.join(" ");
    for words in [vec!["update", "-q"], [&["install", "-qy", "--no-install-recommends"], missing].concat()] {
        let status = Command::new("apt-get")
            .args(&words)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null())
            .status()
            .context("could not run apt-get; this needs Debian 12 and root")?;
        if !status.success() && words[0] == "install" {
            bail!("apt-get could not install {named}; install them by hand and run this again");
        }
    }
    Ok(())
}

fn is_installed(name: &str) -> bool {
    Command::new("dpkg-query")
        .args(["-W", "-f=${db:Status-Status}", name])
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|output| output.stdout == b"installed")
}
