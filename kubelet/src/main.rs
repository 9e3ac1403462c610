//! The node agent daemon.

fn main() {}
