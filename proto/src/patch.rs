//! The three ways to patch an object: a list of operations, a merge, and a merge that knows the fields.

mod json;
mod merge;
mod shown;
mod strategic;
#[cfg(test)]
mod tests;

pub use json::{MAX_COPIED_BYTES, MAX_OPERATIONS, json};
pub use merge::merge;
pub use shown::shown;
pub use strategic::strategic;

use serde_json::Value;

/// The deepest nesting a patched object may have: what the codecs read, and what the stack bears.
pub const MAX_DEPTH: usize = crate::codec::MAX_DEPTH;

/// Why a patch was refused, in upstream's words, and whose answer that is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is no patch of its kind: 400, and for a list of operations and a merge behind `error decoding patch: `.
    #[error("{0}")]
    Decode(String),
    /// It has too many operations: 413.
    #[error("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {0}")]
    TooManyOperations(usize),
    /// An operation does not apply, or a list is in a list: 422, the text among the causes.
    #[error("{0}")]
    Operation(String),
    /// A directive of a strategic merge has another form, or a merge is null: 400.
    #[error("{0}")]
    Format(&'static str),
    /// A strategic merge does not fit the object or its fields: 500, as upstream answers it.
    #[error("{0}")]
    Merge(String),
}

/// Parses a patch's bytes.
pub fn parse(bytes: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::Decode(crate::codec::syntax(bytes).unwrap_or_else(|| error.to_string())))
}

/// What a value is in Go, as errors about decoding name it.
fn kind_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// How deeply objects and lists nest in a value.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or_default(),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}
