//! The API server: Kubernetes' API over a store with etcd's semantics.
//!
//! A request passes `serve` (TLS, HTTP), `request` (what it asks for), `authn`, `authz`, then either a `route`, or the
//! generic registry: `kind` (behaviour), `admission`, `subresource`, the store. Reads and watches are answered from
//! `cache`, which holds each object once, as encoded bytes.

pub mod admission;
pub mod authn;
pub mod authz;
pub mod cache;
pub mod config;
pub mod fault;
pub mod field;
pub mod kind;
pub mod print;
pub mod request;
pub mod route;
pub mod server;
pub mod subresource;
