//! The multi-call executable: every daemon and the supervisor in one file.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

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

/// Builds it and returns where it is; tells how far it is by the crates that are done.
///
/// # Errors
/// Where it does not build; cargo has said why.
pub fn build(repo: &Path, profile: Profile, tell: impl Fn(&str)) -> Result<PathBuf> {
    let mut command = Command::new("cargo");
    command.args(["build", "--quiet", "--package", "bundle", "--message-format", "json-render-diagnostics"]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    let child = command.current_dir(repo).stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = child.context("could not run cargo")?;
    let messages = child.stdout.take().context("cargo's output was asked for")?;
    let mut done = 0_u32;
    for line in BufReader::new(messages).lines() {
        let message: Value = serde_json::from_str(&line.context("could not read cargo's output")?)
            .context("cargo does not speak JSON")?;
        if message["reason"] == "compiler-artifact" {
            done += 1;
            tell(&format!("{done} crates, {}", message["target"]["name"].as_str().unwrap_or_default()));
        }
    }
    if !child.wait().context("could not wait for cargo")?.success() {
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
