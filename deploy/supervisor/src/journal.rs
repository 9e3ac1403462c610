//! One log file for each component, which it writes itself; files that have grown are put aside.
//!
//! A component holds its file open for appending, so that it can write also when the supervisor is gone. What has
//! grown is therefore copied aside and cut to nothing rather than renamed.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use futures::StreamExt as _;
use inotify::{Inotify, WatchMask};

/// A log longer than this is put aside: two of them of each of a dozen components fit on any disk. Bytes.
const LONGEST: u64 = 8 << 20;

/// Room for the names of some files that changed at once. Bytes.
const EVENTS: usize = 4096;

/// The log of a component, to append to.
pub(crate) fn open(path: &Path) -> anyhow::Result<File> {
    let place = || format!("could not open the log {}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(place)?;
    }
    File::options().append(true).create(true).open(path).with_context(place)
}

/// Puts aside whatever grows too long in this folder, for as long as it is awaited.
pub(crate) async fn keep(folder: PathBuf) -> anyhow::Result<()> {
    let place = || format!("could not watch the logs in {}", folder.display());
    std::fs::create_dir_all(&folder).with_context(place)?;
    let inotify = Inotify::init().context("could not watch the logs")?;
    inotify.watches().add(&folder, WatchMask::MODIFY).with_context(place)?;
    let mut events = inotify.into_event_stream([0; EVENTS]).context("could not watch the logs")?;
    while let Some(event) = events.next().await {
        let Some(name) = event.context("could not watch the logs")?.name else { continue };
        let path = folder.join(name);
        if path.extension().is_some_and(|kind| kind == "log")
            && let Err(error) = trim(&path, LONGEST)
        {
            tracing::warn!("{error:#}");
        }
    }
    Ok(())
}

/// Puts a file aside where it is longer than this.
fn trim(path: &Path, longest: u64) -> anyhow::Result<()> {
    let Ok(length) = std::fs::metadata(path).map(|file| file.len()) else { return Ok(()) };
    if length <= longest {
        return Ok(());
    }
    let place = || format!("could not put the log {} aside", path.display());
    std::fs::copy(path, path.with_extension("log.1")).with_context(place)?;
    File::options().write(true).open(path).and_then(|file| file.set_len(0)).with_context(place)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_log_that_has_grown_is_put_aside_under_its_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let mut log = open(&path).unwrap();
        log.write_all(b"12345").unwrap();
        trim(&path, 5).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"12345");
        log.write_all(b"6").unwrap();
        trim(&path, 5).unwrap();
        log.write_all(b"7").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"7");
        assert_eq!(std::fs::read(folder.path().join("a.log.1")).unwrap(), b"123456");
    }
}
