//! Keeps the logs of containers from filling the disk: a file that has grown large is set aside and a new one begun.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use proto::cri::v1::ContainerState;

use crate::agent::Agent;

/// How often files are looked at (upstream's figure); only while there are pods.
const PERIOD: Duration = Duration::from_secs(10);
/// How large a file may grow (upstream's figure).
const LARGEST: u64 = 10 << 20;
/// Files kept of one run, the growing one among them (upstream's figure).
const KEPT: usize = 5;

/// Looks at the logs of what runs, for ever.
///
/// # Errors
/// None; the type fits what spawns it.
pub async fn run(agent: Arc<Agent>) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(PERIOD).await;
        if agent.bells.is_empty() || !any_large(&agent.layout.logs) {
            continue;
        }
        if let Err(error) = rotate_all(&agent).await {
            tracing::warn!("could not rotate logs: {error:#}");
        }
    }
}

/// The growing logs below a folder of pods: `<pod>/<container>/<n>.log`.
fn growing(logs: &Path) -> impl Iterator<Item = PathBuf> {
    let below =
        |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = below(logs.to_owned()).flat_map(below).flat_map(below);
    files.filter(|file| file.extension().is_some_and(|extension| extension == "log"))
}

fn is_large(file: &Path) -> bool {
    file.metadata().is_ok_and(|data| data.len() > LARGEST)
}

fn any_large(logs: &Path) -> bool {
    growing(logs).any(|file| is_large(&file))
}

async fn rotate_all(agent: &Agent) -> anyhow::Result<()> {
    for container in agent.runtime.containers(None).await? {
        if container.state != ContainerState::ContainerRunning as i32 {
            continue;
        }
        let status = agent.runtime.container_status(&container.id).await?.status.unwrap_or_default();
        let file = PathBuf::from(status.log_path);
        if !is_large(&file) {
            continue;
        }
        let aside = set_aside(&file)?;
        if let Err(failure) = agent.runtime.reopen_log(&container.id).await {
            // The runtime goes on with the file it has: give it its name back.
            std::fs::rename(&aside, &file)?;
            anyhow::bail!("the runtime did not reopen {}: {failure}", file.display());
        }
    }
    Ok(())
}

/// Renames a log after the moment, and removes the oldest of those renamed before.
fn set_aside(file: &Path) -> io::Result<PathBuf> {
    let stamp = Timestamp::now().strftime("%Y%m%d-%H%M%S");
    let aside = PathBuf::from(format!("{}.{stamp}", file.display()));
    std::fs::rename(file, &aside)?;
    let mut old = rotated(file);
    old.sort();
    // The one that grows counts as well.
    let surplus = (old.len() + 1).saturating_sub(KEPT);
    for old in old.into_iter().take(surplus) {
        std::fs::remove_file(old)?;
    }
    Ok(aside)
}

/// The files that were set aside from this one.
pub fn rotated(file: &Path) -> Vec<PathBuf> {
    let prefix = file.file_name().map(|name| format!("{}.", name.to_string_lossy())).unwrap_or_default();
    let siblings =
        file.parent().and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    let ours = siblings.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
    ours.map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("d_web_u/c");
        std::fs::create_dir_all(&run).unwrap();
        let log = run.join("0.log");
        for day in 1..=5 {
            std::fs::write(run.join(format!("0.log.2026010{day}-000000")), "").unwrap();
        }
        std::fs::write(&log, "").unwrap();
        assert!(!any_large(folder.path()));
        std::fs::File::options().write(true).open(&log).unwrap().set_len(LARGEST + 1).unwrap();
        assert!(any_large(folder.path()));
        let aside = set_aside(&log).unwrap();
        let mut left = rotated(&log);
        left.sort();
        assert_eq!(left.len(), KEPT - 1);
        assert_eq!(left.last(), Some(&aside));
        assert!(!log.exists());
    }
}
