//! The API server daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    apiserver::main(std::env::args().skip(1).collect())
}
