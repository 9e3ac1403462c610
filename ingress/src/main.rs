//! The Ingress daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    ingress::main(std::env::args().skip(1).collect())
}
