//! The datastore daemon: etcd v3 over SQLite.

use std::process::ExitCode;

fn main() -> ExitCode {
    datastore::main(std::env::args().skip(1).collect())
}
