//! The node agent daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    kubelet::main(std::env::args().skip(1).collect())
}
