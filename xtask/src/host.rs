//! A test host: namespaces of its own for network, mounts, processes, cgroups and name, with one service kept running.
//!
//! Everything a host runs is in its cgroup and dies with its first process; its mounts go with its mount namespace.
//! So nothing has to be remembered to remove it, and nothing is left where removing was cut short.

use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cgroup::Pid;
use crate::patience::until;
use crate::site::{Site, host_name};
use crate::{cgroup, lan};

/// What the host's first process carries out.
const INIT: &str = include_str!("host/init.sh");

/// How long a host may take until its first process has made its mounts.
const BOOT: Duration = Duration::from_secs(10);

/// Which network a host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// A namespace of its own on the site's LAN.
    Lan,
    /// The machine's.
    Machine,
}

/// One test host, running or not.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its name, which is also its node's.
    pub name: String,
    /// Its address on the LAN.
    pub address: Ipv4Addr,
    /// Where its data, its log and its exits are.
    pub folder: PathBuf,
    /// Its cgroup, from the root of each hierarchy.
    pub cgroup: String,
    namespace: String,
    number: u8,
    network: Network,
}

impl Host {
    /// The host of a site with this number, from 1; whether it runs is another matter.
    pub fn new(site: &Site, number: u8, network: Network) -> Self {
        let name = host_name(number);
        Self {
            address: site.host_address(number),
            folder: site.folder.join(&name),
            cgroup: format!("{}/{name}", site.prefix),
            namespace: site.namespace(&name),
            name,
            number,
            network,
        }
    }

    /// Stops it as a power cut does: everything it runs dies at once, only its files stay.
    ///
    /// # Errors
    /// Where the kernel refuses to remove what it had.
    pub fn stop(&self, site: &Site) -> Result<()> {
        cgroup::remove(&self.cgroup)?;
        if self.network == Network::Lan { lan::leave(site, &self.name) } else { Ok(()) }
    }

    /// Starts it, or starts it again, with a command that is run again whenever it ends; returns when its mounts are made.
    ///
    /// # Errors
    /// Where the kernel refuses a namespace, a link, a cgroup or a mount; the message has the reason.
    pub fn start(&self, site: &Site, service: &[String]) -> Result<()> {
        self.stop(site)?;
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("could not make {}", self.folder.display()))?;
        for stale in ["starts", "exits", "boot.log"] {
            drop(std::fs::remove_file(self.folder.join(stale)));
        }
        if self.network == Network::Lan {
            lan::join(site, &self.name, self.number)?;
        }
        let mut child =
            self.launcher(&cgroup::make(&self.cgroup)?, service)?.spawn().context("could not run sh")?;
        let begun = self.folder.join("starts");
        until(&format!("{} starts", self.name), BOOT, || {
            if begun.exists() {
                return Ok(Some(()));
            }
            if child.try_wait()?.is_some() {
                let log = std::fs::read_to_string(self.folder.join("boot.log")).unwrap_or_default();
                bail!("{} did not start: {}", self.name, log.trim());
            }
            Ok(None)
        })
    }

    /// A shell that enters the cgroups, then the namespaces, then becomes the host's first process.
    fn launcher(&self, doors: &[PathBuf], service: &[String]) -> Result<Command> {
        const ENTER: &str =
            r#"doors=$1; shift; for door in $doors; do echo $$ > "$door" || exit 1; done; exec "$@""#;
        let doors: Vec<_> = doors.iter().map(|door| door.display().to_string()).collect();
        let log = std::fs::File::create(self.folder.join("boot.log"))
            .with_context(|| format!("could not write {}", self.folder.join("boot.log").display()))?;
        let mut command = Command::new("sh");
        command.args(["-c", ENTER, "enter", &doors.join(" ")]);
        if self.network == Network::Lan {
            command.args(["nsenter", &format!("--net={}", lan::file(&self.namespace))]);
        }
        command.args(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--cgroup", "--uts", "--ipc"]);
        command.args(["sh", "-c", INIT, "init"]).arg(&self.folder).arg(&self.name).args(service);
        // Neither the terminal's signals nor its closing are for the host.
        command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }

    /// Its first process, if it runs: the one that is number 1 in a process namespace right below ours.
    pub fn init(&self) -> Option<Pid> {
        self.processes().into_iter().find(|pid| {
            let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()));
            status.is_ok_and(|status| inner_numbers(&status).as_deref() == Some(&[1]))
        })
    }

    /// Its own processes, without those of pods.
    pub fn processes(&self) -> Vec<Pid> {
        cgroup::own_processes(&self.cgroup)
    }

    /// Its daemons by name, in no order: `server` and `agent` are the supervisor, `containerd` is itself.
    pub fn daemons(&self) -> Vec<(String, Pid)> {
        let name = |pid: &Pid| {
            let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
            daemon_name(&String::from_utf8_lossy(&line))
        };
        self.processes().into_iter().filter_map(|pid| Some((name(&pid)?, pid))).collect()
    }

    /// A command that runs inside.
    ///
    /// # Errors
    /// Where the host does not run.
    pub fn command(&self, program: &str) -> Result<Command> {
        let init = self.init().with_context(|| format!("{} does not run", self.name))?;
        let mut command = Command::new("nsenter");
        command.args(["--target", &init.as_raw_nonzero().to_string()]);
        command.args(["--mount", "--net", "--pid", "--cgroup", "--uts", "--ipc", "--wd=/", program]);
        Ok(command)
    }

    /// The statuses with which its service has ended so far.
    pub fn exits(&self) -> Vec<i32> {
        let text = std::fs::read_to_string(self.folder.join("exits")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// The last lines of what its service wrote.
    pub fn tail(&self, lines: usize) -> String {
        let text = std::fs::read_to_string(self.folder.join("service.log")).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

/// Which daemon a command line is, its words ending with NUL; none where it is somebody else's.
fn daemon_name(line: &str) -> Option<String> {
    let mut words = line.split('\0');
    let program = words.next()?.rsplit('/').next()?;
    match program.strip_prefix("isopod") {
        Some("" | "-bundle") => words.next().map(str::to_owned),
        Some(component) => component.strip_prefix('-').map(str::to_owned),
        None => (program == "containerd").then(|| program.to_owned()),
    }
}

/// The numbers that a process has in the namespaces below ours, outermost first.
fn inner_numbers(status: &str) -> Option<Vec<u32>> {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().skip(1).map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn names_of_daemons() {
        let cases = [
            ("/r/target/up/isopod\0server\0--token\0x\0", Some("server")),
            ("isopod-kubelet\0--kubeconfig=k\0", Some("kubelet")),
            ("/r/isopod-bundle\0dns\0", Some("dns")),
            ("containerd\0-c\0f\0", Some("containerd")),
            ("/usr/bin/containerd-shim-runc-v2\0-id\0x\0", None),
            ("sh\0-c\0", None),
            ("", None),
        ];
        for (line, expected) in cases {
            assert_eq!(daemon_name(line).as_deref(), expected, "{line:?}");
        }
    }

    #[test]
    fn numbers_in_inner_namespaces() {
        let cases: &[(&str, Option<&[u32]>)] = &[
            ("Name:\tsh\nNSpid:\t4711\t1\n", Some(&[1])),
            ("NSpid:\t4711\n", Some(&[])),
            ("NSpid:\t4711\t25\t1\n", Some(&[25, 1])),
            ("Name:\tsh\n", None),
        ];
        for (status, expected) in cases {
            assert_eq!(inner_numbers(status).as_deref(), *expected, "{status}");
        }
    }
}
