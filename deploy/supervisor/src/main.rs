//! The supervisor as a program of its own; the daemons' programs lie beside it.

use std::process::ExitCode;

use supervisor::Programs;

fn main() -> ExitCode {
    supervisor::main(std::env::args().skip(1).collect(), Programs::Beside)
}
