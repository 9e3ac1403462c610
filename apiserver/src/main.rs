//! The API server daemon.

fn main() {}
