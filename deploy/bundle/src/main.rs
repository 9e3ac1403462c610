//! Every daemon in one executable.

fn main() {}
