//! How a process is born, gets ready, reports, drains and dies; every daemon is `main(NAME, args, run)`.
//!
//! A daemon's library exposes `run(Settings, Context)`. This crate parses its command line against a table of
//! [`flag::Flag`]s, starts the log, turns signals into a [`drain::Drain`], tells the supervisor when the last
//! [`ready::Gate`] is dropped (the `sd_notify` protocol) and serves `/livez`, `/readyz` and `/metrics`.
#![deny(missing_docs)]

use std::future::Future;
use std::process::ExitCode;

pub mod admin;
pub mod context;
pub mod drain;
pub mod flag;
pub mod log;
pub mod ready;

pub use context::Context;
pub use flag::{Args, Arity, Flag, Settings};

/// Exit status for a mistake on the command line or in a file it names, as sysexits(3) has it.
const USAGE: u8 = 64;

/// How many worker threads a daemon's runtime has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// Everything on the main thread: the least memory.
    One,
    /// As many workers as there are cores, four at most.
    Cores,
}

/// The version every daemon reports: the Kubernetes version served, with our own as build metadata.
pub const VERSION: &str = concat!("v1.36.2+isopod", env!("CARGO_PKG_VERSION_MAJOR"));

/// Runs one daemon from its command line (without the program's name) to its exit code.
///
/// Mistakes in flags are reported together, one sentence each, with exit code 64; a failure of `run` is printed
/// with its whole chain of causes and exits 1.
pub fn main<S, F, Fut>(name: &'static str, threads: Threads, args: Vec<String>, run: F) -> ExitCode
where
    S: Settings,
    F: FnOnce(S, Context) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    if args.iter().any(|a| a == "--help" || a == "-h") {
        log::say(&flag::help(name, S::FLAGS));
        return ExitCode::SUCCESS;
    }
    if args.iter().any(|a| a == "--version") {
        log::say(&format!("isopod-{name} {VERSION}"));
        return ExitCode::SUCCESS;
    }
    let (settings, verbosity, warnings) = match flag::parse::<S>(&args) {
        Ok(parsed) => parsed,
        Err(mistakes) => {
            for mistake in mistakes {
                log::complain(&format!("isopod-{name}: {mistake}"));
            }
            return ExitCode::from(USAGE);
        }
    };
    log::start(verbosity);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    // One TLS provider for the process; a second call (another daemon in the same test) changes nothing.
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = match runtime(threads) {
        Ok(runtime) => runtime,
        Err(error) => {
            log::complain(&format!("isopod-{name}: could not start the runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        tracing::info!(version = VERSION, args = ?flag::loggable(&args), "isopod-{name} started");
        let (context, trigger) = Context::new(name);
        context.drain_on_signals(trigger);
        let result = Box::pin(run(settings, context.clone())).await;
        context.wind_down().await;
        result
    });
    // Blocking threads (a DNS look-up, a slow disk) must not hold the process after its work is done.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::complain(&format!("isopod-{name}: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn runtime(threads: Threads) -> std::io::Result<tokio::runtime::Runtime> {
    /// More workers than this only add stacks and allocator arenas on the machines we are made for.
    const MOST_WORKERS: usize = 4;
    match threads {
        Threads::One => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        Threads::Cores => {
            let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(cores.clamp(1, MOST_WORKERS))
                .enable_all()
                .build()
        }
    }
}
