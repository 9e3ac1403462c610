//! What a developer runs: up, down, bench, test, tidy, codegen.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use xtask::report::{say, step};
use xtask::{bundle, package, up};

mod codegen;
mod tests;
mod tidy;

/// The commands, for whoever asks for another one.
const COMMANDS: &str = "up, down, bench, test, tidy, codegen";

fn main() -> ExitCode {
    match dispatch() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("xtask: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Carries out the command named; `false` says that it has told of a failure itself.
fn dispatch() -> Result<bool> {
    let mut words = std::env::args().skip(1);
    let repo = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the repository")?;
    match words.next().as_deref() {
        Some("up") => {
            let words: Vec<String> = words.collect();
            up::up(repo, &up::Options::parse(&words)?).map(|()| true)
        }
        Some("down") => up::down(repo).map(|()| true),
        Some("bench") => bench(repo, words.collect()).map(|()| true),
        Some("test") => Ok(tests::run(repo)),
        Some("tidy") => tidy::run(repo).map(|()| true),
        Some("codegen") => {
            let facts = words
                .next()
                .context("usage: cargo xtask codegen FACTS (the folder with api-kinds-1.36.json)")?;
            codegen::run(Path::new(&facts), repo).map(|()| true)
        }
        #[cfg(feature = "wire")]
        Some("codegen-wire") => {
            let usage =
                "usage: cargo xtask codegen-wire ETCD (etcd-client's folder proto) CRI (cri-api's api.proto)";
            let (etcd, cri) = (words.next().context(usage)?, words.next().context(usage)?);
            codegen::wire::run(Path::new(&etcd), Path::new(&cri), repo).map(|()| true)
        }
        Some(word) => bail!("there is no command {word}; there are: {COMMANDS}"),
        None => bail!("name a command: {COMMANDS}"),
    }
}

/// Builds in release and measures, which is a program of its own: it speaks TLS and takes long to build.
fn bench(repo: &Path, words: Vec<String>) -> Result<()> {
    package::install_missing()?;
    step("build (release)", |step| {
        let built = bundle::build(repo, bundle::Profile::Release, |how| step.progress(how))?;
        Ok(((), built.display().to_string()))
    })?;
    let cargo = ["run", "--quiet", "--release", "--package", "e2e", "--bin", "isopod-bench", "--"];
    let status = Command::new("cargo").args(cargo).args(words).current_dir(repo).status();
    ensure!(status.context("could not run cargo")?.success(), "the figures are not complete, see above");
    Ok(())
}
