//! What a developer runs: up, down, test, tidy, bench.

fn main() {}
