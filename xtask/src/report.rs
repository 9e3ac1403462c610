//! What a long command tells: one line a step, with its duration.

use std::io::{IsTerminal, Write};
use std::time::{Duration, SystemTime};

use anyhow::Result;

/// Prints one line; a closed pipe is the reader's choice.
pub fn say(line: &str) {
    drop(writeln!(std::io::stdout(), "{line}"));
}

/// A step that is under way.
#[derive(Debug)]
pub struct Step {
    name: String,
    begun: SystemTime,
    /// Whether somebody watches: then the line tells how it goes on.
    live: bool,
}

impl Step {
    /// Begins a step.
    pub fn begin(name: &str) -> Self {
        let live = std::io::stdout().is_terminal();
        let step = Self { name: name.to_owned(), begun: SystemTime::now(), live };
        step.progress("");
        step
    }

    /// Says how far it is, on the same line.
    pub fn progress(&self, how: &str) {
        if self.live {
            let mut out = std::io::stdout();
            drop(write!(out, "\r\x1b[K   ... {:<28} {:>7}  {how}", self.name, seconds(self.elapsed())));
            drop(out.flush());
        }
    }

    /// How long it has taken so far.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed().unwrap_or(Duration::ZERO)
    }

    /// Closes the line: what came of it.
    pub fn end(self, outcome: &str) -> Duration {
        let took = self.elapsed();
        let erase = if self.live { "\r\x1b[K" } else { "" };
        say(&format!("{erase}== {:<32} {:>7}  {outcome}", self.name, seconds(took)));
        took
    }
}

/// Does one thing as a step of its own; the work says what came of it.
///
/// # Errors
/// Those of the work; the line tells that it failed.
pub fn step<T>(name: &str, work: impl FnOnce(&Step) -> Result<(T, String)>) -> Result<T> {
    let step = Step::begin(name);
    match work(&step) {
        Ok((value, outcome)) => {
            step.end(&outcome);
            Ok(value)
        }
        Err(error) => {
            step.end("FAILED");
            Err(error)
        }
    }
}

/// A duration in seconds, with one digit.
pub fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
