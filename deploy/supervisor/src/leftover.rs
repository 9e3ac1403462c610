//! Processes that an earlier supervisor left behind, and how their successors are rid of them.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::certificate::{PUBLIC, read, write};
use crate::sys;

/// How long a process that was left behind may take to finish; it has been asked by the kernel before.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which boot of the machine this is: ids of processes mean nothing in another.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// Where in the text after the name of a process its start time is: proc(5), field 22, counted from field 3.
const START_TIME: usize = 19;

/// Notes which process a component is.
pub(crate) fn note(file: &Path, pid: u32) -> anyhow::Result<()> {
    write(file, &identity(pid).unwrap_or_default(), PUBLIC)
}

/// Stops the process that is noted, if it still runs.
pub(crate) async fn stop(file: &Path) -> anyhow::Result<()> {
    let Some(noted) = read(file)? else { return Ok(()) };
    let pid = noted.split(' ').next().and_then(|pid| pid.parse::<u32>().ok());
    // Opened before it is looked at: from then on the id cannot pass to another process unseen.
    let handle = pid
        .and_then(|pid| Pid::from_raw(pid.cast_signed()))
        .and_then(|pid| pidfd_open(pid, PidfdFlags::NONBLOCK).ok());
    if let (Some(handle), Some(pid)) = (handle, pid)
        && identity(pid).as_deref() == Some(noted.as_str())
    {
        tracing::info!(pid, "stopping what an earlier run left behind ({})", file.display());
        end(handle).await.with_context(|| format!("could not stop process {pid} of an earlier run"))?;
    }
    std::fs::remove_file(file).with_context(|| format!("could not remove {}", file.display()))
}

async fn end(handle: OwnedFd) -> anyhow::Result<()> {
    let handle = sys::readable(handle).context("could not watch it")?;
    for signal in [Signal::TERM, Signal::KILL] {
        // It may be gone by now, which the descriptor tells as well.
        pidfd_send_signal(&handle, signal).unwrap_or(());
        if let Ok(gone) = tokio::time::timeout(PATIENCE, handle.readable()).await {
            return gone.map(drop).context("could not wait for it");
        }
    }
    anyhow::bail!("it does not even die of SIGKILL")
}

/// Says of a process which one it is: its id, when it started, and in which boot.
fn identity(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before the last parenthesis may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let started = rest.split(' ').nth(START_TIME)?;
    let boot = std::fs::read_to_string(BOOT).ok()?;
    Some(format!("{pid} {started} {}", boot.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_noted_process_is_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let mut child =
            tokio::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = child.id().unwrap();
        write(&file, &format!("{pid} 1 another-boot"), PUBLIC).unwrap();
        stop(&file).await.unwrap();
        assert!(child.try_wait().unwrap().is_none(), "a note of another process has no effect");
        assert!(!file.exists());
        note(&file, pid).unwrap();
        stop(&file).await.unwrap();
        let status = child.wait().await.unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
        stop(&file).await.unwrap();
    }
}
