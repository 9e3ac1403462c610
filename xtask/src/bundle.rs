//! The multi-call executable: every daemon and the supervisor in one file.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The name of the executable that the package `bundle` builds.
const NAME: &str = "isopod-bundle";

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
