//! The cluster DNS daemon.

fn main() {}
