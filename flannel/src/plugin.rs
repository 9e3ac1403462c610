//! The CNI plugins: one program under the names of all of them.

use std::process::ExitCode;

fn main() -> ExitCode {
    flannel::cni::main(&std::env::args().collect::<Vec<_>>())
}
