//! The service proxy daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    kubeproxy::main(std::env::args().skip(1).collect())
}
