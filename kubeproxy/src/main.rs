//! The service proxy daemon.

fn main() {}
