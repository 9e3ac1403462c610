//! What end-to-end tests and the benchmark are made of: scripts, a runner that shares one cluster, callers, figures.

pub mod bench;
pub mod caller;
pub mod runner;
pub mod script;
pub mod session;
pub mod stage;
