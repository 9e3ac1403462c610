//! The multi-call executable: every daemon and the supervisor in one file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The name of the executable that the package `bundle` builds.
pub const NAME: &str = "isopod-bundle";

/// How it is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Quickly.
    Debug,
    /// To be used.
    Release,
}

/// Builds it, with cargo's own progress on the terminal, and returns where it is.
///
/// # Errors
/// Where it does not build.
pub fn build(repo: &Path, profile: Profile) -> Result<PathBuf> {
    let mut command = Command::new("cargo");
    command.args(["build", "--quiet", "--package", "bundle"]).current_dir(repo);
    if profile == Profile::Release {
        command.arg("--release");
    }
    let status = command.stdout(Stdio::null()).status().context("could not run cargo")?;
    if !status.success() {
        bail!("the daemons do not build, see above");
    }
    Ok(place(repo, profile))
}

/// Where cargo puts it.
pub fn place(repo: &Path, profile: Profile) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repo.join("target"), PathBuf::from);
    let folder = match profile {
        Profile::Debug => "debug",
        Profile::Release => "release",
    };
    target.join(folder).join(NAME)
}

/// Puts the executable where hosts run it from, so that a later build does not change it under them.
///
/// Returns where it is now, and whether another one was there before.
///
/// # Errors
/// Where it cannot be read or written.
pub fn install(built: &Path, folder: &Path) -> Result<(PathBuf, bool)> {
    let place = folder.join("isopod");
    fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))?;
    let read = |path: &Path| fs::read(path).with_context(|| format!("could not read {}", path.display()));
    let fresh = !place.exists() || read(&place)? != read(built)?;
    if fresh {
        // Under another name first: what runs cannot be written to.
        let unfinished = place.with_extension("part");
        fs::copy(built, &unfinished)
            .and_then(|_| fs::rename(&unfinished, &place))
            .with_context(|| format!("could not write {}", place.display()))?;
    }
    Ok((place, fresh))
}
