//! The datastore daemon: etcd v3 over SQLite.

fn main() {}
