//! Objects that are asked and not stored: how a question is read and its answer written.

use proto::kind::{Kind, find_kind};
use serde_json::Value;

use crate::fault::Fault;
use crate::negotiation;
use crate::object;
use crate::present;
use crate::request::{Call, Response};

/// The object of a request that asks something of this kind.
///
/// # Errors
/// Where the request does not create, or its body is something else.
pub(crate) fn read(call: &Call, kind: &Kind) -> Result<Value, Fault> {
    if call.info.verb != "create" || call.info.parts.len() > 1 && call.info.subresource.is_empty() {
        return Err(Fault::method_not_allowed());
    }
    crate::handler::decode(call, kind)
}

/// The kind that a request's resource is asked with.
///
/// # Errors
/// Where there is no such kind.
pub(crate) fn kind(group: &str, kind: &str) -> Result<&'static Kind, Fault> {
    find_kind(group, "v1", kind).ok_or_else(Fault::no_such_path)
}

/// The object with its answer.
///
/// # Errors
/// Where the caller reads no format that is written here.
pub(crate) fn answer(call: &Call, kind: &Kind, object: &Value) -> Result<Response, Fault> {
    let pretty = call.info.param("pretty").is_some_and(|pretty| pretty == "true" || pretty == "1");
    let format = negotiation::accept(&call.parts.headers, pretty, false)?;
    present::document(format, 201, object::encode(kind, object)?)
}
