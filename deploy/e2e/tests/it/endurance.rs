//! SIGKILL for each daemon in turn, and for all at once, under requests; and a power cut: everything comes back.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use e2e::caller::{Caller, Miss};
use e2e::stage::Stage;
use xtask::cgroup::{self, Pid};
use xtask::host::Host;
use xtask::patience::until;
use xtask::web;

use crate::ingress::HOST;

/// How long a daemon may take to come back in a debug build: starts, backoff, readiness.
const RETURN: Duration = Duration::from_secs(60);

/// What makes a pod the same pod: its name, address, node and the restarts of its containers.
const PODS: &str = concat!(
    r#"jsonpath={range .items[*]}{.metadata.uid} {.metadata.name} {.status.podIP} {.spec.nodeName} "#,
    r#"{.status.containerStatuses[*].restartCount}{"\n"}{end}"#
);

pub(crate) fn each(stage: &Stage) -> Result<()> {
    let before = pods(stage)?;
    let service = services(stage);
    let ingress = ingresses(stage);
    let mut spells = Vec::new();
    for host in &stage.cluster.hosts {
        for (daemon, pid) in host.daemons() {
            let begun = SystemTime::now();
            cgroup::kill(&[pid]);
            returned(stage, host, &daemon, pid)
                .with_context(|| format!("{daemon} of {} was killed", host.name))?;
            let culprit = format!("{daemon} of {}", host.name);
            spells.push(Spell { culprit, begun, ended: SystemTime::now() });
        }
    }
    let mut complaints = Vec::new();
    for caller in service {
        complain(&mut complaints, caller, &spells, |_| false);
    }
    for caller in ingress {
        // What the killed ingress itself carried, or would have, is lost; the supervisor's daemons go with it.
        complain(&mut complaints, caller, &spells, |culprit| {
            ["ingress ", "server ", "agent "].iter().any(|name| culprit.starts_with(name))
        });
    }
    ensure!(complaints.is_empty(), "requests were lost:\n{}", complaints.join("\n"));
    same(&before, &pods(stage)?)
}

pub(crate) fn all(stage: &Stage) -> Result<()> {
    let before = pods(stage)?;
    let objects = objects(stage)?;
    let service = services(stage);
    let killed: Vec<(&Host, Vec<(String, Pid)>)> =
        stage.cluster.hosts.iter().map(|host| (host, host.daemons())).collect();
    let begun = SystemTime::now();
    let spell = Spell { culprit: "everything".to_owned(), begun, ended: begun + RETURN };
    let pids: Vec<Pid> = killed.iter().flat_map(|(_, daemons)| daemons.iter().map(|(_, pid)| *pid)).collect();
    cgroup::kill(&pids);
    for (host, daemons) in &killed {
        for (daemon, pid) in daemons {
            returned(stage, host, daemon, *pid).context("everything was killed at once")?;
        }
    }
    let mut complaints = Vec::new();
    for caller in service {
        complain(&mut complaints, caller, std::slice::from_ref(&spell), |_| false);
    }
    ensure!(complaints.is_empty(), "requests were lost:\n{}", complaints.join("\n"));
    same(&objects, &self::objects(stage)?)?;
    same(&before, &pods(stage)?)
}

/// Both machines lose power and come back: what was acknowledged is there, and the demo serves again.
pub(crate) fn power(stage: &Stage) -> Result<()> {
    let before = objects(stage)?;
    for host in &stage.cluster.hosts {
        host.stop(&stage.cluster.site)?;
    }
    for host in &stage.cluster.hosts {
        stage.cluster.start(host)?;
    }
    until("the API server is ready", RETURN, || {
        Ok(stage.kubectl().try_run(&["get", "--raw", "/readyz"]).is_ok().then_some(()))
    })?;
    serving(stage)?;
    stage.kubectl().run(&["-n", "demo", "rollout", "status", "deployment/web", "--timeout=60s"])?;
    same(&before, &objects(stage)?)
}

/// Waits until another process is the daemon, the API answers, the nodes are ready and the demo
/// is served.
fn returned(stage: &Stage, host: &Host, daemon: &str, old: Pid) -> Result<()> {
    until("it runs again", RETURN, || {
        Ok(host.daemons().iter().any(|(name, pid)| name == daemon && *pid != old).then_some(()))
    })?;
    until("the API server is ready", RETURN, || {
        Ok(stage.kubectl().try_run(&["get", "--raw", "/readyz"]).is_ok().then_some(()))
    })?;
    stage.kubectl().run(&["wait", "--for=condition=Ready", "node", "--all", "--timeout=60s"])?;
    // A supervisor is back before the daemons that went with it are.
    serving(stage)
}

/// Waits until the demo answers by node port and ingress of every node.
fn serving(stage: &Stage) -> Result<()> {
    for (index, host) in stage.cluster.hosts.iter().enumerate() {
        for port in [30080, 80] {
            let address = format!("{}:{port}", stage.cluster.address(index));
            until(&format!("the demo answers at port {port} of {}", host.name), RETURN, || {
                Ok(web::get(&address, HOST, "/").ok().filter(|answer| answer.status == 200).map(drop))
            })?;
        }
    }
    Ok(())
}

/// Those who call the service: by the node port of each node.
fn services(stage: &Stage) -> Vec<Caller> {
    callers(stage, "the node port", 30080)
}

/// Those who call through the ingress of each node.
fn ingresses(stage: &Stage) -> Vec<Caller> {
    callers(stage, "the ingress", 80)
}

fn callers(stage: &Stage, what: &str, port: u16) -> Vec<Caller> {
    let hosts = stage.cluster.hosts.iter().enumerate();
    hosts
        .map(|(index, host)| {
            let address = format!("{}:{port}", stage.cluster.address(index));
            Caller::start(&format!("{what} of {}", host.name), &address, HOST)
        })
        .collect()
}

/// What was killed, from when until it was back.
struct Spell {
    culprit: String,
    begun: SystemTime,
    ended: SystemTime,
}

/// Stops a caller and notes what it missed, but for what the culprits excused account for.
fn complain(complaints: &mut Vec<String>, caller: Caller, spells: &[Spell], excused: fn(&str) -> bool) {
    let name = caller.name.clone();
    let tally = caller.stop();
    if tally.answered == 0 {
        complaints.push(format!("{name} never answered"));
    }
    // One line for all that a culprit accounts for, with the first reason.
    let mut lost: BTreeMap<&str, (usize, String)> = BTreeMap::new();
    for Miss { begun, ended, why } in tally.missed {
        let during = spells.iter().find(|spell| begun <= spell.ended && ended >= spell.begun);
        let culprit = during.map_or("nothing", |spell| spell.culprit.as_str());
        if !excused(culprit) {
            lost.entry(culprit).or_insert((0, why)).0 += 1;
        }
    }
    complaints.extend(lost.into_iter().map(|(culprit, (count, why))| {
        format!("{name}: {count} of {} while {culprit} was killed: {why}", tally.answered + count)
    }));
}

/// The pods there are, with what must not change about them.
fn pods(stage: &Stage) -> Result<String> {
    stage.kubectl().run(&["get", "pods", "-A", "--sort-by=.metadata.uid", "-o", PODS])
}

/// The objects that users made, and those that stay as long as the cluster.
fn objects(stage: &Stage) -> Result<String> {
    let kinds =
        "namespaces,configmaps,secrets,serviceaccounts,services,deployments,replicasets,ingresses,pods";
    let columns = r#"jsonpath={range .items[*]}{.kind} {.metadata.namespace} {.metadata.name} {.metadata.uid}{"\n"}{end}"#;
    stage.kubectl().run(&["get", kinds, "-A", "-o", columns])
}

fn same(before: &str, after: &str) -> Result<()> {
    if before != after {
        bail!("before:\n{before}\nafter:\n{after}");
    }
    Ok(())
}
