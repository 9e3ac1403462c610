//! The API's behaviour over HTTP, on a store in memory.

mod objects;
mod reading;
mod subject;
mod watching;
