//! A part of a volume as a mount of its own, which no link inside the volume can lead astray.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::mount::mount_bind;

use super::folder::mounts_below;

/// The mode of folders that a subPath makes (upstream's figure).
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o750);

/// Mounts `inner` of a volume at `target`, making a folder where there is nothing, and returns `target`.
///
/// # Errors
/// Where the path leads out of the volume, or the kernel refuses.
pub fn bind(volume: &Path, inner: &str, target: &Path) -> io::Result<PathBuf> {
    let inner = Path::new(inner);
    if inner.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(io::Error::other(format!("{} leads out of the volume", inner.display())));
    }
    if mounts_below(target)?.iter().any(|mount| mount == target) {
        rustix::mount::unmount(target, rustix::mount::UnmountFlags::DETACH)?;
    }
    let found = open(volume, inner)?;
    // Through the descriptor: what was checked is what is mounted.
    let source = PathBuf::from(format!("/proc/self/fd/{}", found.as_raw_fd()));
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    if fs::metadata(&source)?.is_dir() {
        fs::create_dir_all(target)?;
    } else if !target.exists() {
        fs::File::create(target)?;
    }
    mount_bind(&source, target)?;
    Ok(target.to_owned())
}

/// Opens a path below a folder, making folders as needed; links are followed as long as they stay below.
fn open(volume: &Path, inner: &Path) -> io::Result<OwnedFd> {
    let how = OFlags::PATH | OFlags::CLOEXEC;
    let stay = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let root = rustix::fs::open(volume, how, Mode::empty())?;
    match openat2(&root, inner, how, Mode::empty(), stay) {
        Ok(found) => return Ok(found),
        Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let mut at = root;
    for part in inner.components().filter(|part| matches!(part, Component::Normal(_))) {
        let part: &Path = part.as_ref();
        at = match openat2(&at, part, how, Mode::empty(), stay) {
            Err(rustix::io::Errno::NOENT) => {
                mkdirat(&at, part, FOLDER_MODE)?;
                openat2(&at, part, how, Mode::empty(), stay)?
            }
            found => found?,
        };
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_out() {
        let volume = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::create_dir(volume.path().join("in")).unwrap();
        std::os::unix::fs::symlink(outside.path(), volume.path().join("out")).unwrap();
        std::os::unix::fs::symlink("in", volume.path().join("stays")).unwrap();
        for (inner, fine) in
            [("in", true), ("stays", true), ("new/deep", true), ("out", false), ("stays/../..", false)]
        {
            assert_eq!(open(volume.path(), Path::new(inner)).is_ok(), fine, "{inner}");
        }
        assert!(volume.path().join("new/deep").is_dir());
    }
}
