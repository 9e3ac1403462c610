//! The DNS daemon against a real API server, asked over real sockets.
#![expect(clippy::unwrap_used, reason = "a test stops where it fails, in its helpers too")]

mod cluster;
mod forward;
mod subject;
