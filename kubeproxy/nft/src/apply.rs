//! Hands transactions to the kernel through the `nft` program.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::diff::Transaction;

/// Why a transaction was not carried out. Nothing of it is in the kernel then.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// There is no such program.
    #[error("the program {} is missing; install the package nftables", program.display())]
    Missing {
        /// What was looked for.
        program: PathBuf,
    },
    /// The program could not be run or spoken to.
    #[error("could not run {}", program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// nft or the kernel refused a command.
    #[error("nft refused {line:?}: {words}")]
    Refused {
        /// The first command it did not like; empty where nft named none.
        line: String,
        /// What nft said about it.
        words: String,
    },
}

/// The `nft` program.
#[derive(Debug, Clone)]
pub struct Nft {
    program: PathBuf,
    arguments: Vec<String>,
}

impl Default for Nft {
    fn default() -> Self {
        Self { program: "nft".into(), arguments: Vec::new() }
    }
}

impl Nft {
    /// `nft` in another network namespace, named by its path.
    pub fn inside(namespace: &str) -> Self {
        let arguments = vec![format!("--net={namespace}"), "nft".to_owned()];
        Self { program: "nsenter".into(), arguments }
    }

    /// Carries out a transaction; an empty one costs nothing.
    ///
    /// # Errors
    /// Where `nft` is missing or refuses it; then nothing of it was done.
    pub async fn apply(&self, transaction: &Transaction) -> Result<(), ApplyError> {
        self.run(transaction, &["-f", "-"]).await
    }

    /// Asks nft and the kernel whether they could carry out a transaction, and does nothing.
    ///
    /// # Errors
    /// As [`Nft::apply`].
    pub async fn check(&self, transaction: &Transaction) -> Result<(), ApplyError> {
        self.run(transaction, &["-c", "-f", "-"]).await
    }

    async fn run(&self, transaction: &Transaction, options: &[&str]) -> Result<(), ApplyError> {
        if transaction.is_empty() {
            return Ok(());
        }
        let failed = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => ApplyError::Missing { program: self.program.clone() },
            _ => ApplyError::Run { program: self.program.clone(), source },
        };
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .args(options)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let text = transaction.text();
        let stdin = child.stdin.take();
        let feed = async {
            if let Some(mut stdin) = stdin {
                // nft stops reading where it dies; its own words say why better than our broken pipe.
                drop(stdin.write_all(text.as_bytes()).await);
                drop(stdin.shutdown().await);
            }
        };
        let (output, ()) = tokio::join!(child.wait_with_output(), feed);
        let output = output.map_err(failed)?;
        if output.status.success() {
            return Ok(());
        }
        Err(refusal(transaction, &String::from_utf8_lossy(&output.stderr)))
    }
}

/// What nft wrote, as `/dev/stdin:LINE:FROM-TO: Error: words`, with the command it is about.
fn refusal(transaction: &Transaction, stderr: &str) -> ApplyError {
    let first = stderr.lines().find(|line| line.contains("Error:")).or_else(|| stderr.lines().next());
    let first = first.unwrap_or("it gave no reason");
    let words = first.split_once("Error:").map_or(first, |(_, words)| words).trim().to_owned();
    let number = first.split(':').nth(1).and_then(|number| number.parse().ok());
    let line = number.and_then(|number| transaction.line(number)).unwrap_or_default().to_owned();
    ApplyError::Refused { line, words }
}

#[cfg(test)]
mod tests;
