//! `isopod images`: hands the archives of the air-gap folder to containerd, each once for as long as it is the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::UNIX_EPOCH;

use anyhow::Context as _;

use crate::certificate::{PUBLIC, read, write};

/// What archives are called.
const KINDS: &[&str] = &[".tar", ".tar.gz", ".tgz", ".tar.zst"];

/// Which archives were handed over, and what was known of them then.
type Known = BTreeMap<String, String>;

/// What the command is told: four words.
struct Task {
    socket: PathBuf,
    folder: PathBuf,
    snapshotter: String,
    known: PathBuf,
}

/// The command line of the import.
pub(crate) fn arguments(socket: &Path, folder: &Path, snapshotter: &str, known: &Path) -> Vec<String> {
    let path = |path: &Path| path.display().to_string();
    vec!["images".to_owned(), path(socket), path(folder), snapshotter.to_owned(), path(known)]
}

/// Runs the command.
pub(crate) fn main(words: Vec<String>, _: crate::Programs) -> ExitCode {
    let [socket, folder, snapshotter, known] = words.as_slice() else {
        daemon::log::complain(
            "isopod images: name the containerd's socket, the folder, the snapshotter and the list",
        );
        return ExitCode::from(crate::USAGE);
    };
    daemon::log::start(0);
    let task = Task {
        socket: socket.into(),
        folder: folder.into(),
        snapshotter: snapshotter.clone(),
        known: known.into(),
    };
    match task.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            daemon::log::complain(&format!("isopod images: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

impl Task {
    fn run(&self) -> anyhow::Result<()> {
        let known: Known = match read(&self.known)? {
            // A list that cannot be read is one of nothing: all are handed over again.
            Some(text) => serde_json::from_str(&text).unwrap_or_default(),
            None => Known::new(),
        };
        let mut now = Known::new();
        for (name, version) in self.archives()? {
            // An archive that cannot be imported keeps nothing from starting but the pods that want its images.
            if known.get(&name) == Some(&version) || self.import(&name) {
                now.insert(name, version);
            }
        }
        let text = serde_json::to_string(&now).context("could not write the list of images")?;
        write(&self.known, &text, PUBLIC)
    }

    fn archives(&self) -> anyhow::Result<Known> {
        let place = || format!("could not read {}", self.folder.display());
        let mut archives = Known::new();
        for entry in std::fs::read_dir(&self.folder).with_context(place)? {
            let entry = entry.with_context(place)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !KINDS.iter().any(|kind| name.ends_with(kind)) {
                continue;
            }
            let file = std::fs::metadata(entry.path()).with_context(place)?;
            let changed = file.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            archives.insert(name, format!("{} {}", file.len(), changed.unwrap_or_default().as_nanos()));
        }
        Ok(archives)
    }

    fn import(&self, name: &str) -> bool {
        let status = Command::new("ctr")
            .arg("--address")
            .arg(&self.socket)
            .args(["--namespace", "k8s.io", "images", "import", "--snapshotter", &self.snapshotter])
            .arg(self.folder.join(name))
            .status();
        match status {
            Ok(status) if status.success() => {
                tracing::info!("imported the images of {name}");
                true
            }
            Ok(status) => {
                tracing::error!("could not import {name}: ctr {}", crate::process::ending(status));
                false
            }
            Err(error) => {
                tracing::error!("could not import {name}: could not run ctr: {error}");
                false
            }
        }
    }
}
