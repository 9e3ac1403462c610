//! The pod network daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    flannel::main(std::env::args().skip(1).collect())
}
