//! `cargo xtask up`: one node (or more) with the demo, left running; `cargo xtask down`: every trace removed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cluster::{Cluster, clear};
use crate::host::Network;
use crate::program::run;
use crate::report::{Step, say, seconds, step};
use crate::site::Site;
use crate::{bundle, cgroup, kubectl, package, web};

/// What the demo consists of.
pub const DEMO: &str = include_str!("demo.yaml");

/// Where the demo answers on every node.
pub const DEMO_PORT: u16 = 30080;

/// The host by which the demo's Ingress is reached.
pub const DEMO_HOST: &str = "web.demo.example";

/// More hosts than this do not fit the LAN's plan of addresses, nor the machine.
const MOST_NODES: u8 = 9;

/// What `up` is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    nodes: u8,
    network: Network,
    /// What to run; a release build of this tree where absent.
    executable: Option<PathBuf>,
}

impl Options {
    /// Reads the command line.
    ///
    /// # Errors
    /// Naming the word that is not understood.
    pub fn parse(words: &[String]) -> Result<Self> {
        let mut options = Self { nodes: 1, network: Network::Lan, executable: None };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--host" => options.network = Network::Machine,
                "--nodes" => {
                    let count = words.next().and_then(|count| count.parse().ok());
                    let fits = count.filter(|count| (1..=MOST_NODES).contains(count));
                    options.nodes =
                        fits.with_context(|| format!("--nodes: give a number from 1 to {MOST_NODES}"))?;
                }
                "--executable" => {
                    let path = words.next().context("--executable: name the multi-call executable to run")?;
                    options.executable = Some(path.into());
                }
                other => bail!("{other}: up knows --nodes N, --host and --executable PATH only"),
            }
        }
        if options.network == Network::Machine && options.nodes > 1 {
            bail!("--host: the machine's own network takes one node; leave --nodes out");
        }
        Ok(options)
    }
}

/// Brings the cluster and the demo up, or finds them up, and says how to use them.
///
/// # Errors
/// Where a step fails; what is there stays, so that it can be looked at.
pub fn up(repo: &Path, options: &Options) -> Result<()> {
    let whole = Step::begin("up");
    let site = Site::up(repo);
    step("packages", |_| package::install_missing().map(|added| ((), added)))?;
    let kubectl = step("kubectl", |_| {
        let found = kubectl::find(&repo.join("target"))?;
        let shown = found.display().to_string();
        Ok((found, shown))
    })?;
    let built = match &options.executable {
        Some(path) => path.clone(),
        None => step("build (release)", |step| {
            let built = bundle::build(repo, bundle::Profile::Release, |how| step.progress(how))?;
            let size = fs::metadata(&built).map_or(0, |meta| meta.len());
            Ok((built, format!("one executable, {} MiB", size >> 20)))
        })?,
    };
    let (executable, fresh) = bundle::install(&built, &site.folder)?;
    let cluster = Cluster::new(site, options.nodes, options.network, executable, kubectl);
    if fresh || !runs(&cluster) {
        step("hosts", |_| cluster.prepare().map(|()| ((), names(&cluster))))?;
        step("server starts", |_| cluster.start(&cluster.hosts[0]).map(|()| ((), cluster.server_url())))?;
    }
    step("API server ready", |step| cluster.await_api(step).map(|()| ((), String::new())))?;
    for host in cluster.hosts.iter().skip(1).filter(|host| host.init().is_none()) {
        step(&format!("{} joins", host.name), |_| {
            cluster.start(host).map(|()| ((), host.address.to_string()))
        })?;
    }
    step("nodes ready", |step| cluster.await_nodes(step).map(|()| ((), names(&cluster))))?;
    deploy(&cluster)?;
    show(&cluster)?;
    let took = whole.elapsed();
    say(&format!("It runs, after {}. `cargo xtask down` removes every trace of it.", seconds(took)));
    Ok(())
}

/// Stops everything and removes it.
///
/// # Errors
/// Where something cannot be removed; what could be is gone.
pub fn down(repo: &Path) -> Result<()> {
    let site = Site::up(repo);
    step("down", |_| {
        let on_machine = site.folder.join("host-network").exists();
        let mut gone = clear(&site)?;
        if on_machine {
            gone.extend(clean_machine(&site)?);
        }
        if site.folder.exists() {
            fs::remove_dir_all(&site.folder)
                .with_context(|| format!("could not remove {}", site.folder.display()))?;
            gone.push(format!("{}", site.folder.display()));
        }
        let gone = if gone.is_empty() { "nothing was there".to_owned() } else { gone.join(", ") };
        Ok(((), gone))
    })
}

/// On the machine's own network the daemons' links, routes and rules do not go with a namespace.
fn clean_machine(site: &Site) -> Result<Vec<String>> {
    let executable = site.folder.join("isopod").display().to_string();
    let mut gone = Vec::new();
    for daemon in ["kubeproxy", "flannel"] {
        run(&executable, &[daemon, "--cleanup"])?;
        gone.push(format!("the rules of {daemon}"));
    }
    Ok(gone)
}

/// Whether the server's host is up, on the network that is asked for.
fn runs(cluster: &Cluster) -> bool {
    let marker = cluster.site.folder.join("host-network");
    cluster.hosts[0].init().is_some() && marker.exists() == cluster.is_on_machine()
}

/// Applies the demo and waits until it answers through its node port and through its Ingress.
fn deploy(cluster: &Cluster) -> Result<()> {
    step("demo", |step| {
        step.progress("kubectl apply");
        cluster.kubectl.feed(&["apply", "-f", "-"], DEMO)?;
        step.progress("kubectl rollout status");
        cluster.kubectl.run(&["-n", "demo", "rollout", "status", "deployment/web", "--timeout=120s"])?;
        Ok(((), "3 pods".to_owned()))
    })?;
    let address = cluster.server_address()?;
    for (way, port, host) in [("node port", DEMO_PORT, address.as_str()), ("Ingress", 80, DEMO_HOST)] {
        step(&format!("demo answers by {way}"), |step| {
            let answer = cluster.watched(step, &format!("the demo answers by its {way}"), || {
                let answer = web::get(&format!("{address}:{port}"), host, "/");
                Ok(answer.ok().filter(|answer| answer.status == 200))
            })?;
            Ok(((), answer.body.trim().to_owned()))
        })?;
    }
    Ok(())
}

/// The table of what runs, and what to do with it.
fn show(cluster: &Cluster) -> Result<()> {
    say("");
    say(&cluster.kubectl.run(&["get", "nodes", "-o", "wide"])?);
    say(&cluster.kubectl.run(&["get", "pods,services,ingresses", "-A", "-o", "wide"])?);
    let count: usize = cluster.hosts.iter().map(|host| cgroup::processes(&host.cgroup).len()).sum();
    say(&format!(
        "{count} processes on {}; logs in {}/node1/data/log",
        names(cluster),
        cluster.site.folder.display()
    ));
    say(&format!("kubeconfig: {}", cluster.kubectl.kubeconfig().display()));
    say("");
    say(&format!("  export KUBECONFIG={}", cluster.kubectl.kubeconfig().display()));
    say("  kubectl -n demo get pods -o wide");
    say("  kubectl -n demo exec deploy/web -- wget -qO- http://web.demo");
    say(&format!("  busybox wget -qO- --header 'Host: {DEMO_HOST}' http://{}/", cluster.server_address()?));
    say("");
    Ok(())
}

fn names(cluster: &Cluster) -> String {
    cluster.hosts.iter().map(|host| host.name.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn command_lines() {
        let lan = |nodes| Some(Options { nodes, network: Network::Lan, executable: None });
        let cases: &[(&str, Option<Options>)] = &[
            ("", lan(1)),
            ("--nodes 2", lan(2)),
            ("--nodes 0", None),
            ("--nodes", None),
            ("--host", Some(Options { nodes: 1, network: Network::Machine, executable: None })),
            ("--host --nodes 2", None),
            ("--fast", None),
        ];
        for (line, expected) in cases {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            assert_eq!(Options::parse(&words).ok(), *expected, "{line}");
        }
    }
}
