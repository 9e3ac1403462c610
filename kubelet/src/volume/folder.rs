//! Folders and mounts under volumes.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;

use super::atomic::give;

/// Makes a folder for files, in memory where they must not reach a disk.
///
/// # Errors
/// Where the file system refuses.
pub fn prepare(path: &Path, memory: bool) -> io::Result<()> {
    fs::create_dir_all(path)?;
    if memory && !mounts_below(path)?.iter().any(|mount| mount == path) {
        rustix::mount::mount("tmpfs", path, "tmpfs", MountFlags::empty(), Some(c"mode=0755"))?;
    }
    Ok(())
}

/// Makes an empty folder that everybody may write to.
///
/// # Errors
/// Where the file system refuses.
pub fn scratch(path: &Path, memory: bool, limit: Option<i64>, group: Option<i64>) -> io::Result<()> {
    let mounted = || -> io::Result<bool> { Ok(mounts_below(path)?.iter().any(|mount| mount == path)) };
    if path.exists() && (!memory || mounted()?) {
        return Ok(());
    }
    fs::create_dir_all(path)?;
    if memory {
        let options = limit.map_or_else(String::new, |bytes| format!("size={bytes}"));
        let options = std::ffi::CString::new(options).map_err(io::Error::other)?;
        rustix::mount::mount("tmpfs", path, "tmpfs", MountFlags::empty(), Some(options.as_c_str()))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o777))?;
    group.map_or(Ok(()), |group| give(path, group, true))
}

/// Checks a path of the node against the type that a hostPath volume asks for, and makes it where that says so.
///
/// # Errors
/// In upstream's words.
pub fn check_host(path: &Path, kind: &str) -> Result<(), String> {
    let known = fs::metadata(path).ok();
    let place = path.display();
    let made = match (kind, &known) {
        ("DirectoryOrCreate", None) => fs::create_dir_all(path),
        ("FileOrCreate", None) => fs::File::create(path).map(drop),
        _ => Ok(()),
    };
    made.map_err(|error| format!("hostPath type check failed: could not create {place}: {error}"))?;
    let known = fs::metadata(path).ok();
    let is = |test: fn(&fs::FileType) -> bool| known.as_ref().is_some_and(|known| test(&known.file_type()));
    let (fits, what) = match kind {
        "" => (true, ""),
        "Directory" | "DirectoryOrCreate" => (is(fs::FileType::is_dir), "a directory"),
        "File" | "FileOrCreate" => (is(fs::FileType::is_file), "a file"),
        "Socket" => (is(FileTypeExt::is_socket), "a socket file"),
        "CharDevice" => (is(FileTypeExt::is_char_device), "a character device"),
        "BlockDevice" => (is(FileTypeExt::is_block_device), "a block device"),
        other => return Err(format!("hostPath type check failed: {other} is an invalid volume type")),
    };
    if fits { Ok(()) } else { Err(format!("hostPath type check failed: {place} is not {what}")) }
}

/// What is mounted at or below a folder, the innermost first.
///
/// # Errors
/// Where /proc cannot be read.
pub fn mounts_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let table = fs::read("/proc/self/mountinfo")?;
    let lines = table.split(|byte| *byte == b'\n');
    let places = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4)).map(unescaped);
    let mut out: Vec<PathBuf> = places.filter(|place| place.starts_with(folder)).collect();
    out.reverse();
    Ok(out)
}

/// Spaces and the like are written as `\040`.
fn unescaped(text: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, tail)) = rest.split_first() {
        let code = tail.get(..3).and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 8).ok());
        match (byte, code) {
            (b'\\', Some(code)) => {
                out.push(code);
                rest = &tail[3..];
            }
            (byte, _) => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
    std::ffi::OsString::from_vec(out).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_paths_are_what_they_claim() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        fs::write(&file, "").unwrap();
        let fresh = folder.path().join("a/b");
        let cases = [
            (folder.path(), "Directory", true),
            (folder.path(), "File", false),
            (&file, "File", true),
            (&file, "Socket", false),
            (&fresh, "Directory", false),
            (&fresh, "DirectoryOrCreate", true),
            (&fresh, "", true),
        ];
        for (path, kind, fits) in cases {
            assert_eq!(check_host(path, kind).is_ok(), fits, "{kind} {}", path.display());
        }
    }

    #[test]
    fn mount_points_are_unescaped() {
        assert_eq!(unescaped(b"/a\\040b"), PathBuf::from("/a b"));
    }
}
