//! Runs tests in turn on one subject and tells of them as Rust's own test runner does, so that both are counted alike.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Result, anyhow};

/// A test: what it is called and what it does to the subject.
pub struct Test<S> {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub run: fn(&S) -> Result<()>,
}

impl<S> std::fmt::Debug for Test<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Test").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What the command line asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// To be told the names only.
    pub list: bool,
    /// To leave the subject running and to take one that was left.
    pub keep: bool,
    /// Fewer hosts than the tests are made for, to try a part of them.
    pub nodes: Option<u8>,
    exact: bool,
    parts: Vec<String>,
}

impl Wish {
    /// Reads a command line; what Rust's own runner knows beyond this changes nothing here.
    pub fn parse(words: impl Iterator<Item = String>) -> Self {
        let mut wish = Self::default();
        for word in words {
            match word.as_str() {
                "--list" => wish.list = true,
                "--keep" => wish.keep = true,
                "--one" => wish.nodes = Some(1),
                "--exact" => wish.exact = true,
                other if other.starts_with('-') => {}
                _ => wish.parts.push(word),
            }
        }
        wish
    }

    /// Whether a test of this name is wanted.
    pub fn wants(&self, name: &str) -> bool {
        let fits = |part: &String| if self.exact { name == part } else { name.contains(part.as_str()) };
        self.parts.is_empty() || self.parts.iter().any(fits)
    }
}

/// Names the tests.
pub fn list<S>(tests: &[Test<S>], out: &mut impl Write) {
    for test in tests {
        say(out, &format!("{}: test", test.name));
    }
}

/// Runs the tests that are wanted on the subject that `start` makes; making it counts as one of them.
///
/// Returns the subject, if there is one, and the names of the tests that failed.
pub fn run<S>(
    out: &mut impl Write,
    tests: &[Test<S>],
    wish: &Wish,
    start: impl FnOnce() -> Result<S>,
) -> (Option<S>, Vec<&'static str>) {
    const START: &str = "the_cluster_starts";
    let wanted: Vec<&Test<S>> = tests.iter().filter(|test| wish.wants(test.name)).collect();
    say(out, &format!("\nrunning {} tests", wanted.len() + 1));
    let begun = SystemTime::now();
    let mut failed = Vec::new();
    let subject = tell(out, START, start);
    match &subject {
        None => failed.extend([START].into_iter().chain(wanted.iter().map(|test| test.name))),
        Some(subject) => failed.extend(
            wanted
                .iter()
                .filter(|test| tell(out, test.name, || (test.run)(subject)).is_none())
                .map(|test| test.name),
        ),
    }
    let passed = wanted.len() + 1 - failed.len();
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    let took = begun.elapsed().unwrap_or_default().as_secs_f64();
    say(
        out,
        &format!(
            "\ntest result: {verdict}. {passed} passed; {} failed; 0 ignored; 0 measured; {} filtered out; finished in {took:.2}s\n",
            failed.len(),
            tests.len() - wanted.len(),
        ),
    );
    (subject, failed)
}

/// The exit code that Rust's own runner has.
pub fn exit(failed: &[&str]) -> ExitCode {
    const FAILED: u8 = 101;
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

/// Prints one line; a closed pipe is the reader's choice.
fn say(out: &mut impl Write, line: &str) {
    drop(writeln!(out, "{line}"));
}

/// Does one thing and prints the line about it; a panic is a failure like another.
fn tell<T>(out: &mut impl Write, name: &str, work: impl FnOnce() -> Result<T>) -> Option<T> {
    let begun = SystemTime::now();
    let result =
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(anyhow!("it panicked, see above")));
    let took = begun.elapsed().unwrap_or_default().as_secs_f64();
    match result {
        Ok(value) => {
            say(out, &format!("test {name} ... ok ({took:.1}s)"));
            Some(value)
        }
        Err(error) => {
            say(out, &format!("test {name} ... FAILED ({took:.1}s)\n---- {name} ----\n{error:#}\n----"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted() {
        let wish = |line: &str| Wish::parse(line.split_whitespace().map(str::to_owned));
        assert!(wish("").wants("any"));
        assert!(wish("dns --nocapture").wants("cluster_dns"));
        assert!(!wish("dns --exact").wants("cluster_dns"));
        assert!(wish("--list").list && wish("--keep").keep);
    }

    #[test]
    fn failures_are_named() {
        let tests: &[Test<u8>] = &[
            Test { name: "holds", run: |_| Ok(()) },
            Test { name: "fails", run: |subject| Err(anyhow!("{subject}")) },
        ];
        assert_eq!(run(&mut Vec::new(), tests, &Wish::default(), || Ok(7)), (Some(7), vec!["fails"]));
        let (subject, failed) = run(&mut Vec::new(), tests, &Wish::default(), || Err(anyhow!("no")));
        assert_eq!((subject, failed), (None, vec!["the_cluster_starts", "holds", "fails"]));
    }
}
