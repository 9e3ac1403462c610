//! The cluster DNS daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    dns::main(std::env::args().skip(1).collect())
}
