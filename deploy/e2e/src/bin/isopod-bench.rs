//! `cargo xtask bench`: the figures of an executable, by default of the one that cargo has built beside this.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use xtask::bundle;
use xtask::report::say;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let repo = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .context("deploy/e2e lies in the repository")?;
    let own = std::env::current_exe().context("could not tell which executable this is")?;
    let beside = own.with_file_name(bundle::NAME);
    let executable = std::env::args().nth(1).map_or(beside, PathBuf::from);
    e2e::bench::run(repo, &executable)
}
