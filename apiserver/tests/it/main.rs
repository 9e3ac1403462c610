//! The API's behaviour over HTTP, on stores of three kinds.
#![expect(clippy::unwrap_used, reason = "the lint exempts tests, and all of this binary is tests")]

mod access;
mod bootstrap;
mod discovery;
mod golden;
mod identity;
mod objects;
mod reading;
mod stores;
mod streams;
mod subject;
mod subresources;
mod supervisor;
mod watching;
