//! Where a daemon's words go: structured log lines on standard error, help on standard output.

use std::io::Write;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Starts the process's log on standard error.
///
/// `verbosity` is Kubernetes' `--v`: 0 to 3 logs information, 4 and 5 debugging, 6 and more everything.
pub fn start(verbosity: u8) {
    let level = match verbosity {
        0..=3 => LevelFilter::INFO,
        4..=5 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    // The Kubernetes client logs each failed try as an error by itself; whoever made the call knows whether it is one.
    let filter =
        Targets::new().with_default(level).with_target("kube_client::client::builder", LevelFilter::OFF);
    // Fails only where a log is running already (several daemons in one test process), which is fine.
    drop(
        tracing_subscriber::registry()
            .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false))
            .with(filter)
            .try_init(),
    );
}

/// Prints a line for the person at the terminal to standard output.
pub fn say(text: &str) {
    // A closed pipe is the reader's choice, not our error.
    drop(writeln!(std::io::stdout(), "{text}"));
}

/// Prints a line for the person at the terminal to standard error.
pub fn complain(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}
