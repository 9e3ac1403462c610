//! The pod network daemon and its CNI plugins.

fn main() {}
