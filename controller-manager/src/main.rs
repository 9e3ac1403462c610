//! The controller manager daemon.

fn main() {}
