//! What end-to-end tests are made of: scripts of commands with what they print, and a runner that shares one cluster.

pub mod caller;
pub mod runner;
pub mod script;
pub mod stage;
