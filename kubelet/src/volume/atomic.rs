//! Replaces the files of a folder all at once: readers see the old ones or the new ones, never a mixture.
//!
//! The files are in a folder of their own, `..data` is a link to it, and what users see are links through `..data`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use super::content::Content;

/// The link that is swung from the old files to the new ones.
const DATA: &str = "..data";
/// Its successor, until the swing.
const NEXT: &str = "..data_tmp";

/// Makes `folder` hold exactly `content`; does nothing where it does already.
///
/// # Errors
/// Where the file system refuses.
pub fn write(folder: &Path, content: &Content, group: Option<i64>) -> io::Result<()> {
    let old = fs::read_link(folder.join(DATA)).ok();
    let tops: BTreeSet<OsString> = content
        .keys()
        .filter_map(|path| Path::new(path).components().next())
        .map(|top| top.as_os_str().to_owned())
        .collect();
    if let Some(old) = &old
        && holds(&folder.join(old), content)
    {
        return link(folder, &tops);
    }
    let stamp = jiff::Timestamp::now().strftime("..%Y_%m_%d_%H_%M_%S.%f").to_string();
    let fresh = folder.join(&stamp);
    fs::create_dir(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
    for (path, file) in content {
        let place = fresh.join(path);
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&place, &file.bytes)?;
        fs::set_permissions(&place, fs::Permissions::from_mode(file.mode))?;
        if let Some(owner) = file.owner {
            chown(&place, Some(owner), None)?;
        }
    }
    if let Some(group) = group {
        give(&fresh, group, false)?;
        give_one(folder, group, false)?;
    }
    let next = folder.join(NEXT);
    drop(fs::remove_file(&next));
    symlink(&stamp, &next)?;
    fs::rename(&next, folder.join(DATA))?;
    link(folder, &tops)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let dated = name.to_string_lossy().starts_with("..") && name != DATA && *name != *stamp;
        if dated && entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Whether a folder holds exactly these files.
fn holds(folder: &Path, content: &Content) -> bool {
    let same = |(path, file): (&String, &super::content::File)| {
        let place = folder.join(path);
        fs::read(&place).is_ok_and(|bytes| bytes == file.bytes)
    };
    count(folder) == content.len() && content.iter().all(same)
}

fn count(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
}

/// Makes what users see: a link for each first part of a path, and no others.
fn link(folder: &Path, tops: &BTreeSet<OsString>) -> io::Result<()> {
    for top in tops {
        match symlink(Path::new(DATA).join(top), folder.join(top)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if !name.to_string_lossy().starts_with("..") && !tops.contains(&name) {
            fs::remove_file(folder.join(name))?;
        }
    }
    Ok(())
}

/// Gives a tree to a group, as fsGroup asks: readable, and writable where that makes sense.
///
/// # Errors
/// Where the file system refuses.
pub fn give(tree: &Path, group: i64, writable: bool) -> io::Result<()> {
    give_one(tree, group, writable)?;
    for entry in fs::read_dir(tree)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            give(&entry.path(), group, writable)?;
        } else {
            give_one(&entry.path(), group, writable)?;
        }
    }
    Ok(())
}

fn give_one(path: &Path, group: i64, writable: bool) -> io::Result<()> {
    let known = fs::symlink_metadata(path)?;
    let group = u32::try_from(group).map_err(|_| io::Error::other("fsGroup is out of range"))?;
    std::os::unix::fs::lchown(path, None, Some(group))?;
    if known.file_type().is_symlink() {
        return Ok(());
    }
    let mut mode = known.permissions().mode() | if writable { 0o660 } else { 0o440 };
    if known.is_dir() {
        mode |= 0o2110;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::super::content::File;
    use super::*;

    #[test]
    fn files_change_all_at_once_and_old_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let content = |files: &[(&str, &str)]| -> Content {
            files
                .iter()
                .map(|(name, text)| {
                    ((*name).to_owned(), File { bytes: text.as_bytes().to_vec(), mode: 0o640, owner: None })
                })
                .collect()
        };
        let seen = || {
            let mut names: Vec<String> = fs::read_dir(path)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.retain(|name| !name.starts_with(".."));
            names.sort();
            names
        };
        write(path, &content(&[("a", "1"), ("d/b", "2")]), None).unwrap();
        assert_eq!(
            (seen(), fs::read_to_string(path.join("d/b")).unwrap()),
            (vec!["a".into(), "d".into()], "2".into())
        );
        let before = fs::read_link(path.join(DATA)).unwrap();
        write(path, &content(&[("a", "1"), ("d/b", "2")]), None).unwrap();
        assert_eq!(fs::read_link(path.join(DATA)).unwrap(), before, "the same content is left alone");
        write(path, &content(&[("a", "3")]), None).unwrap();
        assert_eq!((seen(), fs::read_to_string(path.join("a")).unwrap()), (vec!["a".into()], "3".into()));
        assert!(!path.join(before).exists());
    }
}
