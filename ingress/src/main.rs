//! The ingress daemon.

fn main() {}
