//! A cluster on test hosts: node1 is the server, the others join it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::host::{Host, Network};
use crate::image;
use crate::kubectl::Kubectl;
use crate::patience::until;
use crate::report::Step;
use crate::site::Site;
use crate::{cgroup, lan};

/// What nodes join with.
const TOKEN: &str = "join-the-test-hosts";

/// How long a debug build on a busy machine may take to serve, and then to be ready.
const PATIENCE: Duration = Duration::from_secs(120);

/// A site with its hosts and the way to its API.
#[derive(Debug)]
pub struct Cluster {
    /// Its names and its place.
    pub site: Site,
    /// Its hosts, the server first.
    pub hosts: Vec<Host>,
    /// Talks to its API as the administrator.
    pub kubectl: Kubectl,
    executable: PathBuf,
    network: Network,
}

impl Cluster {
    /// A cluster of so many hosts that run this executable; nothing is made yet.
    pub fn new(site: Site, nodes: u8, network: Network, executable: PathBuf, kubectl: PathBuf) -> Self {
        let hosts = (1..=nodes).map(|number| Host::new(&site, number, network)).collect();
        let kubectl = Kubectl::new(kubectl, site.folder.join("kubeconfig.yaml"));
        Self { site, hosts, kubectl, executable, network }
    }

    /// Removes what is left of an earlier one, files apart, and makes the LAN and the folders.
    ///
    /// # Errors
    /// Where the kernel or a program refuses.
    pub fn prepare(&self) -> Result<()> {
        clear(&self.site)?;
        let marker = self.site.folder.join("host-network");
        if self.is_on_machine() {
            // What `down` must know, also where this goes no further.
            fs::write(&marker, "").with_context(|| format!("could not write {}", marker.display()))?;
        } else {
            lan::make(&self.site)?;
        }
        for host in &self.hosts {
            image::write(&host.folder.join("data/agent/images/isopod-test.tar"))?;
            fs::write(host.folder.join("resolv.conf"), "# Nobody on this network resolves other names.\n")?;
        }
        Ok(())
    }

    /// Starts a host's service.
    ///
    /// # Errors
    /// Where the host does not come up.
    pub fn start(&self, host: &Host) -> Result<()> {
        host.start(&self.site, &self.service(host))
    }

    /// The command line of a host's service.
    pub fn service(&self, host: &Host) -> Vec<String> {
        let executable = self.executable.display().to_string();
        let path = |name: &str| host.folder.join(name).display().to_string();
        let mut words = vec![executable];
        if host.name == self.hosts[0].name {
            words.extend(["server", "--write-kubeconfig", &path("admin.yaml")].map(str::to_owned));
        } else {
            words.extend(["agent", "--server", &self.server_url()].map(str::to_owned));
        }
        words.extend(["--token", TOKEN, "--resolv-conf", &path("resolv.conf")].map(str::to_owned));
        if self.network == Network::Lan {
            let address = host.address.to_string();
            words.extend(["--node-ip", &address, "--flannel-iface", "eth0"].map(str::to_owned));
        }
        words
    }

    /// Whether the nodes are on the machine's own network.
    pub fn is_on_machine(&self) -> bool {
        self.network == Network::Machine
    }

    /// Where the machine reaches the API.
    pub fn server_url(&self) -> String {
        match self.network {
            Network::Lan => format!("https://{}:6443", self.hosts[0].address),
            Network::Machine => "https://127.0.0.1:6443".to_owned(),
        }
    }

    /// The address of the node with this index on the LAN.
    pub fn address(&self, index: usize) -> String {
        self.hosts[index].address.to_string()
    }

    /// The address that the server's node gives itself; it took the machine's where it is on the machine's network.
    ///
    /// # Errors
    /// Where the API does not tell.
    pub fn server_address(&self) -> Result<String> {
        let address = r#"jsonpath={.status.addresses[?(@.type=="InternalIP")].address}"#;
        self.kubectl.run(&["get", "node", &self.hosts[0].name, "-o", address])
    }

    /// Waits until the API server says that it is ready, and leaves the administrator's kubeconfig in its place.
    ///
    /// # Errors
    /// Where it is not in time, or the server gives up; the message has its last words.
    pub fn await_api(&self, step: &Step) -> Result<()> {
        let written = self.hosts[0].folder.join("admin.yaml");
        self.watched(step, "the API server is ready", || {
            if !written.exists() {
                return Ok(None);
            }
            self.publish()?;
            Ok(self
                .kubectl
                .try_run(&["get", "--raw", "/readyz"])
                .is_ok_and(|answer| answer == "ok")
                .then_some(()))
        })
    }

    /// Leaves the kubeconfig that the server wrote for itself in its place, with the address that the machine uses.
    ///
    /// # Errors
    /// Where it cannot be read or written.
    pub fn publish(&self) -> Result<()> {
        let written = self.hosts[0].folder.join("admin.yaml");
        let text =
            fs::read_to_string(&written).with_context(|| format!("could not read {}", written.display()))?;
        let path = self.kubectl.kubeconfig();
        let text = text.replace("https://127.0.0.1:6443", &self.server_url());
        fs::write(path, text).with_context(|| format!("could not write {}", path.display()))
    }

    /// Waits until all nodes are ready.
    ///
    /// # Errors
    /// Where they are not in time.
    pub fn await_nodes(&self, step: &Step) -> Result<()> {
        let ready = r#"jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{" "}{end}"#;
        self.watched(step, "the nodes are ready", || {
            let states = self.kubectl.try_run(&["get", "nodes", "-o", ready]).unwrap_or_default();
            let count = states.split_whitespace().filter(|state| *state == "True").count();
            step.progress(&format!("{count} of {} ready", self.hosts.len()));
            Ok((count == self.hosts.len()).then_some(()))
        })
    }

    /// Waits for something, unless a host's service gives up meanwhile.
    ///
    /// # Errors
    /// Those of the look, and when the time is over; the message has the last words of the services.
    pub fn watched<T>(
        &self,
        step: &Step,
        what: &str,
        mut look: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        /// More ends than this before it ever got ready are no accident.
        const TRIES: usize = 5;
        let waited = until(what, PATIENCE, || {
            step.progress("");
            for host in &self.hosts {
                let exits = host.exits();
                if exits.last() == Some(&64) || exits.len() > TRIES {
                    bail!("isopod on {} ends again and again (statuses {exits:?})", host.name);
                }
            }
            look()
        });
        waited.with_context(|| self.hosts.iter().map(last_words).collect::<String>())
    }

    /// Copies what every component of every host logged into a folder.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn collect_logs(&self, folder: &Path) -> Result<()> {
        for host in &self.hosts {
            let target = folder.join(&host.name);
            fs::create_dir_all(&target).with_context(|| format!("could not make {}", target.display()))?;
            let logs = fs::read_dir(host.folder.join("data/log")).into_iter().flatten().flatten();
            let logs = logs.map(|entry| entry.path()).chain([host.folder.join("service.log")]);
            for log in logs.filter(|log| log.is_file()) {
                if let Some(name) = log.file_name() {
                    fs::copy(&log, target.join(name))
                        .with_context(|| format!("could not copy {}", log.display()))?;
                }
            }
        }
        Ok(())
    }
}

fn last_words(host: &Host) -> String {
    /// Enough for a chain of causes, and still one screen.
    const LINES: usize = 12;
    format!("{} said last ({}):\n{}\n", host.name, host.folder.join("data/log").display(), host.tail(LINES))
}

/// Removes everything of a site but its files; returns what went.
///
/// # Errors
/// Where something cannot be removed.
pub fn clear(site: &Site) -> Result<Vec<String>> {
    let mut gone = Vec::new();
    let killed = cgroup::remove(site.prefix)?;
    if killed > 0 {
        gone.push(format!("{killed} processes"));
    }
    let strays = processes_in(&lan::namespaces(site));
    if !strays.is_empty() {
        cgroup::kill(&strays);
        gone.push(format!("{} processes in its namespaces", strays.len()));
    }
    gone.extend(lan::remove(site)?);
    gone.extend(unmount(&site.folder)?);
    Ok(gone)
}

/// The processes that live in one of these network namespaces.
fn processes_in(namespaces: &[String]) -> Vec<rustix::process::Pid> {
    use std::os::linux::fs::MetadataExt as _;
    let id = |path: &Path| fs::metadata(path).ok().map(|meta| (meta.st_dev(), meta.st_ino()));
    let ours: Vec<_> = namespaces.iter().filter_map(|name| id(Path::new(&lan::file(name)))).collect();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let inside =
        entries.filter(|entry| id(&entry.path().join("ns/net")).is_some_and(|net| ours.contains(&net)));
    let numbers = inside.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter_map(rustix::process::Pid::from_raw).collect()
}

/// Mounts below the folder that got into our own mount namespace; the hosts' went with theirs.
fn unmount(folder: &Path) -> Result<Vec<String>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("could not read the mounts")?;
    let mut places: Vec<&str> = table.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    places.retain(|place| Path::new(place).starts_with(folder));
    for place in places.iter().rev() {
        crate::program::run("umount", &["--lazy", place])?;
    }
    Ok(places.iter().map(|place| format!("mount {place}")).collect())
}
