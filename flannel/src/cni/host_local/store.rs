//! The folder of addresses that are given out, locked while one process works on it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::cni::fault::Fault;

/// Separates identity and interface in a file; upstream's choice.
const SEPARATOR: &str = "\r\n";

/// One network's folder. The lock goes with the value.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    _lock: File,
}

impl Store {
    /// Opens the folder, making it where needed, and waits until no other process works on it.
    pub(super) fn open(folder: &Path) -> Result<Self, Fault> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            Fault::io(format!("could not {what} {}: {error}", folder.display()))
        };
        std::fs::create_dir_all(folder).map_err(|error| failed("create", &error))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join("lock"))
            .map_err(|error| failed("open the lock in", &error))?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed("lock", &error))?;
        Ok(Self { folder: folder.to_owned(), _lock: lock })
    }

    /// Takes an address; false where somebody has it.
    pub(super) fn reserve(
        &self,
        ip: IpAddr,
        container: &str,
        interface: &str,
        set: usize,
    ) -> Result<bool, Fault> {
        let path = self.folder.join(ip.to_string());
        let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
            Err(error) => return Err(Fault::io(format!("could not create {}: {error}", path.display()))),
        };
        let written = write!(file, "{container}{SEPARATOR}{interface}");
        let noted = written.and_then(|()| std::fs::write(self.note(set), ip.to_string()));
        if let Err(error) = noted {
            // An empty file would keep the address for ever.
            drop(std::fs::remove_file(&path));
            return Err(Fault::io(format!("could not write {}: {error}", path.display())));
        }
        Ok(true)
    }

    /// The address that was given last.
    pub(super) fn last(&self, set: usize) -> Option<IpAddr> {
        std::fs::read_to_string(self.note(set)).ok()?.trim().parse().ok()
    }

    /// The addresses that a container has on an interface.
    pub(super) fn of(&self, container: &str, interface: &str) -> Result<Vec<IpAddr>, Fault> {
        let mut found = Vec::new();
        let failed =
            |error: std::io::Error| Fault::io(format!("could not list {}: {error}", self.folder.display()));
        for entry in std::fs::read_dir(&self.folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Some(ip) = entry.file_name().to_str().and_then(|name| name.parse::<IpAddr>().ok()) else {
                continue;
            };
            let Ok(content) = std::fs::read_to_string(entry.path()) else { continue };
            let (owner, on) = content.split_once('\n').unwrap_or((&content, interface));
            if owner.trim() == container && on.trim() == interface {
                found.push(ip);
            }
        }
        Ok(found)
    }

    /// Gives back what a container has on an interface; nothing is fine.
    pub(super) fn release(&self, container: &str, interface: &str) -> Result<(), Fault> {
        for ip in self.of(container, interface)? {
            let path = self.folder.join(ip.to_string());
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(Fault::io(format!("could not remove {}: {error}", path.display())));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn note(&self, set: usize) -> PathBuf {
        self.folder.join(format!("last_reserved_ip.{set}"))
    }
}
