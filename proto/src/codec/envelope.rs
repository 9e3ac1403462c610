//! The envelope `runtime.Unknown` around a stored or sent message, and the frames of a watch.

use super::Error;
use super::read_proto::{Fields, Wire};
use super::write_proto::Reverse;

/// What an envelope begins with.
pub const MAGIC: [u8; 4] = *b"k8s\0";

/// What an envelope holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The `apiVersion` of the object.
    pub api_version: &'a str,
    /// The kind of the object.
    pub kind: &'a str,
    /// The message.
    pub raw: &'a [u8],
    /// How the message is compressed; empty when it is not.
    pub content_encoding: &'a str,
    /// What the message is; empty for protobuf.
    pub content_type: &'a str,
}

/// Puts a message into an envelope.
pub fn wrap(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut out = Reverse::with_capacity(raw.len() + api_version.len() + kind.len() + 32);
    out.bytes(4, b"");
    out.bytes(3, b"");
    out.bytes(2, raw);
    out.nested(1, |out| {
        out.bytes(2, kind.as_bytes());
        out.bytes(1, api_version.as_bytes());
    });
    out.raw(&MAGIC);
    out.finish()
}

/// Takes a message out of its envelope.
pub fn unwrap(bytes: &[u8]) -> Result<Envelope<'_>, Error> {
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| Error::Wire("an envelope's text is not UTF-8"));
    let body = bytes.strip_prefix(&MAGIC).ok_or(Error::Wire("the bytes do not begin with k8s\\0"))?;
    let mut found = Envelope { api_version: "", kind: "", raw: &[], content_encoding: "", content_type: "" };
    for field in Fields::of(body) {
        match field? {
            (1, Wire::Bytes(meta)) => {
                for field in Fields::of(meta) {
                    match field? {
                        (1, Wire::Bytes(bytes)) => found.api_version = text(bytes)?,
                        (2, Wire::Bytes(bytes)) => found.kind = text(bytes)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => found.raw = bytes,
            (3, Wire::Bytes(bytes)) => found.content_encoding = text(bytes)?,
            (4, Wire::Bytes(bytes)) => found.content_type = text(bytes)?,
            _ => {}
        }
    }
    Ok(found)
}

/// The message of a watch's event about an object in its envelope; as upstream, it has no envelope itself.
pub fn watch_event(kind: &str, object: &[u8]) -> Vec<u8> {
    let mut out = Reverse::with_capacity(object.len() + kind.len() + 16);
    out.nested(2, |out| out.bytes(1, object));
    out.bytes(1, kind.as_bytes());
    out.finish()
}

/// A message as a part of a protobuf stream: behind its length in four bytes.
pub fn frame(message: &[u8]) -> Vec<u8> {
    // A message of 4 GiB would not have fitted the request it came from.
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), message].concat()
}
