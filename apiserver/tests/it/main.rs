//! The API's behaviour over HTTP, on a store in memory.
#![expect(clippy::unwrap_used, reason = "the lint exempts tests, and all of this binary is tests")]

mod access;
mod bootstrap;
mod discovery;
mod golden;
mod identity;
mod objects;
mod reading;
mod streams;
mod subject;
mod subresources;
mod supervisor;
mod watching;
