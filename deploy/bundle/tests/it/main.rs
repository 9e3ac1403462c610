//! The supervisor with the real daemons, on loopback: how a server starts, survives, refuses and stops.
#![expect(clippy::unwrap_used, reason = "a test stops where it fails, in its helpers too")]

mod calling;
mod node;
mod refusal;
mod server;
