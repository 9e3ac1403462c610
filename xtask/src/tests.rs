//! `cargo xtask test`: packages, format, tidiness, lints and every test, closed by one line of counts.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use xtask::package;
use xtask::report::say;

use crate::tidy;

/// How many things held and how many did not.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
}

/// Runs everything; the last line printed is `N passed, N failed`.
///
/// Returns whether nothing failed.
pub(crate) fn run(repo: &Path) -> bool {
    let mut counts = Counts::default();
    step(&mut counts, "packages", || package::install_missing().map(|_| Counts { passed: 1, failed: 0 }));
    step(&mut counts, "format", || cargo(repo, &["fmt", "--all", "--check"]));
    step(&mut counts, "tidy", || tidy::run(repo).map(|()| Counts { passed: 1, failed: 0 }));
    step(&mut counts, "lints", || {
        cargo(repo, &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])
    });
    step(&mut counts, "tests", || cargo_tests(repo));
    say(&format!("{} passed, {} failed", counts.passed, counts.failed));
    counts.failed == 0
}

fn step(total: &mut Counts, name: &str, work: impl FnOnce() -> Result<Counts>) {
    let begun = std::time::SystemTime::now();
    let counts = work().unwrap_or_else(|error| {
        say(&format!("{name}: {error:#}"));
        Counts { passed: 0, failed: 1 }
    });
    total.passed += counts.passed;
    total.failed += counts.failed;
    let took = begun.elapsed().unwrap_or(Duration::ZERO);
    let verdict = if counts.failed == 0 { "ok" } else { "FAILED" };
    say(&format!("== {name}: {verdict} ({:.1} s)", took.as_secs_f64()));
}

fn cargo(repo: &Path, words: &[&str]) -> Result<Counts> {
    let status =
        Command::new("cargo").args(words).current_dir(repo).status().context("could not run cargo")?;
    if !status.success() {
        bail!("cargo {} found something, see above", words.join(" "));
    }
    Ok(Counts { passed: 1, failed: 0 })
}

fn cargo_tests(repo: &Path) -> Result<Counts> {
    let mut child = Command::new("cargo")
        .args(["test", "--workspace", "--no-fail-fast"])
        .current_dir(repo)
        .stdout(Stdio::piped())
        .spawn()
        .context("could not run cargo test")?;
    let output = child.stdout.take().context("cargo's output was asked for")?;
    let mut counts = Counts::default();
    for line in BufReader::new(output).lines() {
        let line = line.context("could not read cargo's output")?;
        if let Some(more) = summary(&line) {
            counts.passed += more.passed;
            counts.failed += more.failed;
        }
        say(&line);
    }
    let status = child.wait().context("could not wait for cargo test")?;
    if !status.success() && counts.failed == 0 {
        // A crate that does not build, or a test binary that died, has no summary of its own.
        counts.failed = 1;
    }
    Ok(counts)
}

/// The counts in the line that closes one test binary's run.
fn summary(line: &str) -> Option<Counts> {
    let rest = line.strip_prefix("test result: ")?;
    let count = |what: &str| {
        let before = rest.split(what).next()?;
        before.split_whitespace().last()?.parse().ok()
    };
    Some(Counts { passed: count(" passed;")?, failed: count(" failed;")? })
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn the_closing_line_of_a_test_binary() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.31s";
        assert_eq!(summary(line), Some(Counts { passed: 12, failed: 3 }));
        assert_eq!(summary("test a::b ... ok"), None);
    }
}
