//! The test hosts that a developer's cluster, the end-to-end tests and the benchmark run on.
//!
//! A [`site::Site`] names everything; a [`lan`] and [`host::Host`]s are made from those names and found again by
//! them; a [`cluster::Cluster`] runs the daemons on hosts.

pub mod bundle;
pub mod cgroup;
pub mod cluster;
pub mod host;
pub mod image;
pub mod kubectl;
pub mod lan;
pub mod package;
pub mod patience;
pub mod program;
pub mod report;
pub mod site;
pub mod up;
pub mod web;
