//! What the host can do: facts that decide how things are started, and lacks that are named before anything is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::plan::{Program, Scene, Unit};
use crate::process::Launcher;

/// What was found out about the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host {
    /// Whether processes can be protected from the kernel's out-of-memory killer.
    pub may_protect: bool,
}

/// The capability that protecting takes: CAP_SYS_RESOURCE, as capabilities(7) counts.
const RESOURCE: u32 = 24;

/// Looks at the host.
pub(crate) fn look() -> Host {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    Host { may_protect: capable(&status, RESOURCE) }
}

fn capable(status: &str, capability: u32) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|set| set >> capability & 1 == 1)
}

/// The address that packets to a server leave under, or those to far away.
pub(crate) fn towards(server: &http::Uri) -> Option<IpAddr> {
    let host = server.host()?.trim_matches(['[', ']']);
    let server = host.parse::<IpAddr>().ok().and_then(|address| leaving(SocketAddr::new(address, 9)));
    server.or_else(outward)
}

/// The address that packets to far away leave under.
pub(crate) fn outward() -> Option<IpAddr> {
    /// An address of the documentation (RFC 5737), behind whatever default route there is.
    const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    leaving(SocketAddr::new(FAR, 9))
}

/// The address that packets to another leave under. Nothing is sent: the kernel only looks up the route.
fn leaving(far: SocketAddr) -> Option<IpAddr> {
    let any = match far {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(far).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// The programs of Debian's packages that a node calls: the program, its package, and who calls it.
const PROGRAMS: &[(&str, &str, &str)] = &[
    ("containerd", "containerd", "containerd"),
    ("ctr", "containerd", "containerd"),
    ("runc", "runc", "containerd"),
    ("nft", "nftables", "kubeproxy"),
    ("nft", "nftables", "flannel"),
    ("conntrack", "conntrack", "kubeproxy"),
];

/// What the kernel must have: a path that is there where it has it, or else a module that brings it, and who needs it.
const FEATURES: &[(&str, &str, &str)] =
    &[("/proc/sys/net/bridge/bridge-nf-call-iptables", "br_netfilter", "kubeproxy")];

/// Sees to it that what the units need of the host is there.
///
/// # Errors
/// All lacks, one sentence each.
pub(crate) fn check(scene: &Scene, units: &[Unit], launcher: &Launcher) -> anyhow::Result<()> {
    let runs = |name: &str| units.iter().any(|unit| unit.name == name);
    let mut lacks = Vec::new();
    for (program, package, caller) in PROGRAMS {
        if runs(caller) && find(program).is_none() {
            lacks.push(format!("{caller} needs the program {program}; install the package {package}"));
        }
    }
    for unit in units {
        let file = launcher.file(unit.program);
        if matches!(unit.program, Program::Component(_)) && !file.exists() {
            lacks.push(format!("the program {} is missing; install it beside isopod", file.display()));
        }
    }
    if runs("containerd") && scene.node.snapshotter == "overlayfs" && !has_filesystem("overlay") {
        lacks.push(
            "the kernel has no overlay file system; load it (modprobe overlay), or give --snapshotter=native"
                .to_owned(),
        );
    }
    for (path, module, caller) in FEATURES {
        if runs(caller) && !Path::new(path).exists() && !load(module) {
            // Pods on one node reach each other through a Service only with it.
            tracing::warn!("{caller} wants {path}; load the kernel module {module} (modprobe {module})");
        }
    }
    lacks.extend(ports(units));
    if lacks.is_empty() { Ok(()) } else { anyhow::bail!("{}", lacks.join("\n")) }
}

/// A port that a unit listens on.
struct Port {
    unit: &'static str,
    /// The flags of the unit that give the address and the port.
    flags: (&'static str, &'static str),
    /// The port where no flag gives another.
    usual: u16,
    /// The flag of ours that gives another.
    mend: &'static str,
}

const PORTS: &[Port] = &[
    Port {
        unit: "apiserver",
        flags: ("--bind-address=", "--secure-port="),
        usual: 6443,
        mend: "--https-listen-port",
    },
    Port { unit: "kubelet", flags: ("--address=", "--port="), usual: 10250, mend: "--kubelet-arg port=" },
    Port { unit: "dns", flags: ("--bind-address=", "--port="), usual: 10053, mend: "--dns-arg port=" },
    Port {
        unit: "ingress",
        flags: ("--bind-address=", "--http-port="),
        usual: 80,
        mend: "--ingress-arg http-port=, or --disable ingress",
    },
    Port {
        unit: "ingress",
        flags: ("--bind-address=", "--https-port="),
        usual: 443,
        mend: "--ingress-arg https-port=, or --disable ingress",
    },
];

/// The ports that are taken already.
fn ports(units: &[Unit]) -> Vec<String> {
    let mut lacks = Vec::new();
    for port in PORTS {
        let Some(unit) = units.iter().find(|unit| unit.name == port.unit) else { continue };
        let address = flag(unit, port.flags.0).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let address = SocketAddr::new(address, flag(unit, port.flags.1).unwrap_or(port.usual));
        if let Err(error) = std::net::TcpListener::bind(address) {
            let (unit, mend) = (port.unit, port.mend);
            lacks.push(format!("{unit} cannot listen on {address}: {error}; stop what does, or give {mend}"));
        }
    }
    lacks
}

/// The value of a flag of a unit.
fn flag<T: std::str::FromStr>(unit: &Unit, prefix: &str) -> Option<T> {
    unit.arguments.iter().rev().find_map(|word| word.strip_prefix(prefix)).and_then(|text| text.parse().ok())
}

/// Where a program is on the path.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn has_filesystem(name: &str) -> bool {
    let there = || std::fs::read_to_string("/proc/filesystems").is_ok_and(|text| lists(&text, name));
    there() || (load(name) && there())
}

fn lists(filesystems: &str, name: &str) -> bool {
    filesystems.lines().any(|line| line.split_whitespace().last() == Some(name))
}

/// Tries to load a kernel module, as K3s does at start.
fn load(module: &str) -> bool {
    let status = std::process::Command::new("modprobe").args(["-q", module]).status();
    status.is_ok_and(|status| status.success())
}

/// The resolver's configuration for pods: none of the host's where that leads to the host itself only.
pub(crate) fn resolver() -> anyhow::Result<Option<PathBuf>> {
    /// Where systemd-resolved keeps the true one beside the one that leads to itself.
    const BEHIND: &str = "/run/systemd/resolve/resolv.conf";
    let text = std::fs::read_to_string("/etc/resolv.conf").or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(String::new()),
        _ => Err(error),
    });
    let text = text.context("could not read /etc/resolv.conf")?;
    Ok((is_loopback(&text) && Path::new(BEHIND).exists()).then(|| BEHIND.into()))
}

fn is_loopback(text: &str) -> bool {
    let mut servers =
        text.lines().filter_map(|line| line.trim().strip_prefix("nameserver")).map(str::trim).peekable();
    servers.peek().is_some()
        && servers.all(|server| server.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities() {
        let cases = [("CapEff:\t000001fffeffffff", false), ("CapEff:\t000001ffffffffff", true), ("", false)];
        for (status, expected) in cases {
            assert_eq!(capable(status, RESOURCE), expected, "{status}");
        }
    }

    #[test]
    fn file_systems() {
        assert!(lists("nodev\tsysfs\n\text4\nnodev\toverlay\n", "overlay"));
        assert!(!lists("nodev\toverlayish\n", "overlay"));
    }

    #[test]
    fn resolvers_that_lead_to_the_host_itself() {
        let cases = [
            ("nameserver 127.0.0.53\noptions edns0", true),
            ("nameserver 127.0.0.53\nnameserver 10.0.0.1", false),
            ("nameserver 10.0.0.1", false),
            ("", false),
        ];
        for (text, expected) in cases {
            assert_eq!(is_loopback(text), expected, "{text}");
        }
    }
}
