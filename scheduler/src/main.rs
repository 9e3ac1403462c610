//! The scheduler daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    scheduler::main(std::env::args().skip(1).collect())
}
