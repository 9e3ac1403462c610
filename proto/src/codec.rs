//! JSON and protobuf of every object of the API, by the table of fields.
//!
//! What is read is held as a tree of borrowed parts; what is written is byte for byte what Go's encoders write. Foreign
//! bytes are bounded by [`MAX_DEPTH`] and by their own length, and give an error, never a panic.

use std::borrow::Cow;

use crate::field::{self, Message, Shape};

mod envelope;
mod json;
mod read_json;
mod read_proto;
mod source;
mod tree;
mod write_json;
mod write_proto;

#[cfg(test)]
mod tests;

pub use envelope::{Envelope, MAGIC, frame, unwrap, watch_event, wrap};

/// The deepest nesting of objects and lists that is read: as deep as serde_json goes, and several times as deep as any
/// schema anybody wrote.
pub const MAX_DEPTH: usize = 128;

/// The most complaints about unknown and duplicate fields that are kept, as upstream keeps them.
const MAX_PROBLEMS: usize = 100;

/// Why bytes were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are no JSON; in Go's words.
    #[error("{0}")]
    Syntax(String),
    /// A value cannot be what its field holds; in Go's words.
    #[error("{0}")]
    Value(String),
    /// The bytes are no protobuf, or not of this message.
    #[error("proto: {0}")]
    Wire(&'static str),
    /// There is no such message in the table.
    #[error("no message {0}")]
    Unknown(String),
}

/// What was read, written again the way a round trip through Go writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Normal {
    /// Without unknown fields, in the order of declaration, zero values as Go writes or omits them.
    pub bytes: Vec<u8>,
    /// What strict validation complains of, as in `unknown field "spec.foo"`, in the order met.
    pub problems: Vec<String>,
}

/// Writes a JSON object as a protobuf message, without an envelope.
pub fn json_to_proto(message: &str, json: &[u8]) -> Result<Vec<u8>, Error> {
    let message = find(message)?;
    Ok(write_proto::message(message, &read_json::object(message, json)?.0))
}

/// Writes a protobuf message as JSON; `type_meta` is the `apiVersion` and `kind` that the envelope had.
pub fn proto_to_json(message: &str, proto: &[u8], type_meta: Option<(&str, &str)>) -> Result<Vec<u8>, Error> {
    let message = find(message)?;
    let mut object = read_proto::object(message, proto)?;
    if let Some((api_version, kind)) = type_meta {
        object.set_type(Cow::Borrowed(api_version), Cow::Borrowed(kind));
    }
    Ok(write_json::object(message, &object))
}

/// Reads a JSON object as Go would, and writes it as Go would.
pub fn normalize(message: &str, json: &[u8]) -> Result<Normal, Error> {
    let message = find(message)?;
    let (object, problems) = read_json::object(message, json)?;
    Ok(Normal { bytes: write_json::object(message, &object), problems })
}

/// [`normalize`] for a value that was parsed already; duplicates are lost on it.
pub fn normalize_value(
    message: &str,
    value: &serde_json::Value,
) -> Result<(serde_json::Value, Vec<String>), Error> {
    let Normal { bytes, problems } = write_value(message, value)?;
    let normal = serde_json::from_slice(&bytes).map_err(|error| Error::Syntax(error.to_string()))?;
    Ok((normal, problems))
}

/// Writes a value that was parsed already as Go would write it.
pub fn write_value(message: &str, value: &serde_json::Value) -> Result<Normal, Error> {
    let message = find(message)?;
    let (object, problems) = read_json::value(message, value)?;
    Ok(Normal { bytes: write_json::object(message, &object), problems })
}

/// [`encode`] for a value that was parsed already.
pub fn encode_value(message: &str, value: &serde_json::Value) -> Result<Vec<u8>, Error> {
    let message = find(message)?;
    let (object, _) = read_json::value(message, value)?;
    let (api_version, kind) = object.type_meta();
    Ok(wrap(api_version, kind, &write_proto::message(message, &object)))
}

/// Writes the JSON of a kind as protobuf in an envelope, as it is stored and sent.
pub fn encode(message: &str, json: &[u8]) -> Result<Vec<u8>, Error> {
    let message = find(message)?;
    let (object, _) = read_json::object(message, json)?;
    let (api_version, kind) = object.type_meta();
    Ok(wrap(api_version, kind, &write_proto::message(message, &object)))
}

/// Writes what is in an envelope as JSON; the message is found by the `apiVersion` and `kind` in it.
pub fn decode(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let Envelope { api_version, kind, raw, .. } = unwrap(bytes)?;
    let unknown = || Error::Unknown(format!("for {api_version}, Kind={kind}"));
    let (group, version) = crate::kind::split_api_version(api_version).ok_or_else(unknown)?;
    let message = field::of_kind(group, version, kind).ok_or_else(unknown)?;
    let mut object = read_proto::object(message, raw)?;
    object.set_type(Cow::Borrowed(api_version), Cow::Borrowed(kind));
    Ok(write_json::object(message, &object))
}

/// What is wrong with bytes that should be JSON, in Go's words; nothing if they are.
pub fn syntax(bytes: &[u8]) -> Option<String> {
    let mut reader = json::Reader::new(bytes);
    reader.skip().and_then(|()| reader.end()).err().map(|error| error.to_string())
}

fn find(name: &str) -> Result<&'static Message, Error> {
    let found = field::message(name).filter(|message| message.shape() == Shape::Plain);
    found.ok_or_else(|| Error::Unknown(name.to_owned()))
}
