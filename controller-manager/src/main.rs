//! The controller manager daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    controller_manager::main(std::env::args().skip(1).collect())
}
