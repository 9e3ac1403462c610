//! Where pods come from.

pub mod file;
pub mod mirror;
