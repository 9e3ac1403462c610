//! How daemons speak to the API server: identity, shared caches, work queues, reconcilers and events.
//!
//! Built on kube-rs. A controller is a [`cache::Cache`] per kind it reads, a [`queue::Queue`] of keys that the
//! caches' changes feed, and a reconcile function that [`controller::run`] calls with a key and nothing else.
#![deny(missing_docs)]

pub mod cache;
pub mod controller;
pub mod event;
pub mod identity;
pub mod narrow;
pub mod object;
pub mod queue;
pub mod transport;

pub use cache::{Cache, Change};
pub use identity::connect;
pub use k8s_openapi;
pub use kube;
pub use object::Key;
pub use queue::{Next, Queue};
