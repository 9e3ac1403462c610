//! A server node with nothing to do: what it holds in memory, computes and writes.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use xtask::cgroup::Pid;
use xtask::cluster::Cluster;
use xtask::patience::until;
use xtask::program;

use super::start::SETTLE;
use super::{Figure, mebibytes, told};

/// How long idleness is looked at.
const MINUTE: Duration = Duration::from_secs(60);

/// What a system call that makes data durable is called.
const DURABLE: &str = "fsync,fdatasync,syncfs,sync_file_range,msync";

pub(super) fn measure(cluster: &Cluster) -> Result<Vec<Figure>> {
    pass(SETTLE);
    let host = &cluster.hosts[0];
    let mut figures = told("idle memory", || {
        let mut by_daemon: BTreeMap<String, u64> = BTreeMap::new();
        for (daemon, pid) in host.daemons() {
            *by_daemon.entry(daemon).or_default() += pss(pid)?;
        }
        let sum: u64 = by_daemon.values().sum();
        let ours: u64 =
            by_daemon.iter().filter(|(name, _)| *name != "containerd").map(|(_, bytes)| bytes).sum();
        let mut figures = vec![
            Figure::new("PSS of all daemons", mebibytes(sum), "MiB").target(64.0),
            Figure::new("PSS of our own daemons", mebibytes(ours), "MiB"),
        ];
        figures.extend(
            by_daemon
                .iter()
                .map(|(name, bytes)| Figure::new(format!("PSS of {name}"), mebibytes(*bytes), "MiB")),
        );
        Ok(figures)
    })?;
    figures.extend(told("idle CPU and writes", || {
        let processes: Vec<Pid> = host.daemons().into_iter().map(|(_, pid)| pid).collect();
        let (ticks, written) = (total(&processes, ticks)?, total(&processes, written)?);
        pass(MINUTE);
        let (ticks, written) =
            (total(&processes, self::ticks)? - ticks, total(&processes, self::written)? - written);
        let per_second: f64 =
            program::run("getconf", &["CLK_TCK"])?.trim().parse().context("ticks have a rate")?;
        let share = f64::from(u32::try_from(ticks)?) / per_second / MINUTE.as_secs_f64() * 100.0;
        Ok(vec![
            Figure::new("idle CPU over 60 s", share, "%").target(0.3),
            Figure::new("written in an idle minute", mebibytes(written) * 1024.0, "KiB"),
        ])
    })?);
    figures.extend(told("idle syncs", || {
        let calls = syncs(&host.daemons())?;
        Ok(vec![Figure::new("syncs in an idle minute", f64::from(calls), "calls").target(1.0)])
    })?);
    Ok(figures)
}

/// Counts the calls of all daemons for a minute.
fn syncs(daemons: &[(String, Pid)]) -> Result<u32> {
    let mut command = Command::new("timeout");
    command.args(["--signal=INT", &MINUTE.as_secs().to_string(), "strace", "-f", "-q", "-e", DURABLE]);
    for (_, pid) in daemons {
        command.args(["-p", &pid.as_raw_nonzero().to_string()]);
    }
    let output = program::output(&mut command)?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(!text.contains("Operation not permitted"), "strace may not look at the daemons: {text}");
    // An interrupted call is told of twice, once as unfinished.
    let calls =
        text.lines().filter(|line| line.contains("sync") && line.contains('(') && !line.contains("resumed"));
    u32::try_from(calls.count()).context("few enough to count")
}

fn total(processes: &[Pid], of: fn(Pid) -> Result<u64>) -> Result<u64> {
    processes.iter().map(|pid| of(*pid)).sum()
}

/// The process's share of memory, what is shared divided among its sharers. Bytes.
fn pss(pid: Pid) -> Result<u64> {
    Ok(field(pid, "smaps_rollup", "Pss:")? * 1024)
}

/// What it sent towards the disk. Bytes.
fn written(pid: Pid) -> Result<u64> {
    field(pid, "io", "write_bytes:")
}

fn field(pid: Pid, file: &str, name: &str) -> Result<u64> {
    let text = read(pid, file)?;
    let value =
        text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    value.with_context(|| format!("{file} has no {name}"))
}

/// The CPU time it took, in ticks of the kernel's clock.
fn ticks(pid: Pid) -> Result<u64> {
    let text = read(pid, "stat")?;
    // The name may have spaces and ends with the last parenthesis; utime and stime are the 14th and 15th fields.
    let rest = text.rsplit(')').next().unwrap_or_default();
    let numbers = rest.split_whitespace().skip(11).take(2).map(|word| word.parse::<u64>());
    numbers.sum::<Result<u64, _>>().context("stat has times")
}

fn read(pid: Pid, file: &str) -> Result<String> {
    let path = format!("/proc/{}/{file}", pid.as_raw_nonzero());
    fs::read_to_string(&path).with_context(|| format!("could not read {path}; has the daemon ended?"))
}

/// Lets time pass: idleness cannot be waited for otherwise.
fn pass(time: Duration) {
    let begun = SystemTime::now();
    let over = || Ok((begun.elapsed().unwrap_or(time) >= time).then_some(()));
    drop(until("time passes", time * 2, over));
}
