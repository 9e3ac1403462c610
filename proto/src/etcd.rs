//! etcd v3: the messages of its store, watches, leases and maintenance, with gRPC clients and servers.
//!
//! A server's methods answer `UNIMPLEMENTED` until they are written. Byte strings are [`bytes::Bytes`] and share the
//! buffer they were read into: who keeps one for long keeps that whole buffer, and copies it if that matters.

/// Users and roles.
#[rustfmt::skip]
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::too_many_lines, clippy::allow_attributes_without_reason, reason = "generated")]
pub mod authpb;
/// Requests, answers and services.
#[rustfmt::skip]
#[allow(missing_docs, missing_debug_implementations, unreachable_pub, unused_qualifications, clippy::all, clippy::too_many_lines, clippy::allow_attributes_without_reason, reason = "generated")]
pub mod etcdserverpb;
/// Keys with values, and events.
#[rustfmt::skip]
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::too_many_lines, clippy::allow_attributes_without_reason, reason = "generated")]
pub mod mvccpb;
