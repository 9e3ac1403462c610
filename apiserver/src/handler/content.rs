//! Bodies of requests as objects.

use proto::kind::{Kind, split_api_version};
use serde_json::Value;

use crate::fault::Fault;
use crate::negotiation::content_type;
use crate::request::Call;

/// What bodies may be written in.
const ACCEPTED: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// The object in a request's body, whatever its kind.
///
/// # Errors
/// 415 where the format is unknown, 400 where it cannot be read.
pub(super) fn any(call: &Call) -> Result<Value, Fault> {
    match content_type(&call.parts.headers).as_str() {
        "application/json" => serde_json::from_slice(&call.body)
            .map_err(|error| unreadable(&json_complaint(&call.body, &error))),
        "application/yaml" => {
            serde_saphyr::from_slice(&call.body).map_err(|error| unreadable(&format!("yaml: {error}")))
        }
        _ => Err(Fault::unsupported_media_type(ACCEPTED)),
    }
}

fn unreadable(why: &str) -> Fault {
    Fault::bad_request(format!("couldn't get version/kind; json parse error: {why}"))
}

/// What is wrong with a text that is no JSON, as near to upstream's words as the parser allows.
fn json_complaint(body: &[u8], error: &serde_json::Error) -> String {
    match error.classify() {
        serde_json::error::Category::Eof => "unexpected end of JSON input".to_owned(),
        _ => {
            let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
            match first {
                Some(byte) if !matches!(byte, b'{' | b'[' | b'"') => {
                    format!("invalid character '{}' looking for beginning of value", *byte as char)
                }
                _ => error.to_string(),
            }
        }
    }
}

/// The object in a request's body, which must be of this kind and version where it says what it is.
///
/// # Errors
/// Those of [`any`], and 400 where it is something else.
pub fn decode(call: &Call, kind: &Kind) -> Result<Value, Fault> {
    let mut object = any(call)?;
    check_type(&mut object, kind, call)?;
    Ok(object)
}

fn check_type(object: &mut Value, kind: &Kind, call: &Call) -> Result<(), Fault> {
    let Some(map) = object.as_object_mut() else {
        return Err(unreadable("json: cannot unmarshal into Go value of type struct"));
    };
    let text = |map: &serde_json::Map<String, Value>, key: &str| {
        map.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let (version, name) = (text(map, "apiVersion"), text(map, "kind"));
    let expected = kind.api_version();
    if version.is_empty() {
        map.insert("apiVersion".to_owned(), expected.clone().into());
    }
    if name.is_empty() {
        map.insert("kind".to_owned(), kind.kind.into());
    }
    let fits_version = version.is_empty() || version == expected;
    let fits_kind = name.is_empty() || name == kind.kind;
    if fits_version && fits_kind {
        return Ok(());
    }
    let (group, number) = split_api_version(&version).unwrap_or(("", &version));
    let known = proto::kind::find_kind(group, number, &name).is_some();
    if !known {
        return Err(Fault::bad_request(format!(
            "no kind {name:?} is registered for version {version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
        )));
    }
    if !fits_version {
        return Err(Fault::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({expected})"
        )));
    }
    Err(Fault::bad_request(format!(
        "{} in version {:?} cannot be handled as a {}: converting ({}) to ({}): unknown conversion",
        name, number, kind.kind, name, call.info.resource
    )))
}
