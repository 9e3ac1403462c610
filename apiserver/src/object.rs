//! The little every object has in common, on JSON values: metadata read and written, times, the encoded form.

use bytes::Bytes;
use jiff::Timestamp;
use proto::codec;
use proto::kind::{Encoding, Kind};
use serde_json::{Map, Value};

use crate::fault::Fault;

/// The text of a metadata field, or nothing.
pub fn meta<'a>(object: &'a Value, field: &str) -> &'a str {
    object
        .get("metadata")
        .and_then(|metadata| metadata.get(field))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// A metadata field, if it is there and not null.
pub fn meta_value<'a>(object: &'a Value, field: &str) -> Option<&'a Value> {
    object.get("metadata").and_then(|metadata| metadata.get(field)).filter(|value| !value.is_null())
}

/// The metadata of an object, made if absent.
pub fn meta_mut(object: &mut Value) -> &mut Map<String, Value> {
    let object = as_map(object);
    as_map(object.entry("metadata").or_insert_with(|| Value::Object(Map::new())))
}

/// A value as an object; what is none becomes an empty one.
pub fn as_map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("made an object above"),
    }
}

/// Sets a metadata field, or removes it.
pub fn set_meta(object: &mut Value, field: &str, value: Option<Value>) {
    match value {
        Some(value) => meta_mut(object).insert(field.to_owned(), value),
        None => meta_mut(object).remove(field),
    };
}

/// The finalizers.
pub fn finalizers(object: &Value) -> Vec<String> {
    meta_value(object, "finalizers")
        .and_then(Value::as_array)
        .map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default()
}

/// A time as objects carry it: RFC 3339, whole seconds, UTC.
pub fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Now.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Encodes an object of a kind for the cache and for answers, as Go would: kind and version first, so that lists can
/// leave them out, fields in the order of declaration, zero values as Go writes or omits them.
///
/// # Errors
/// Where the object does not have its kind's shape.
pub fn encode(kind: &Kind, object: &Value) -> Result<Bytes, Fault> {
    let mut object = object.clone();
    set_type(&mut object, &kind.api_version(), kind.kind);
    let json = serde_json::to_vec(&object).map_err(Fault::internal)?;
    Ok(codec::normalize(kind.message, &json).map_err(Fault::internal)?.bytes.into())
}

/// The `apiVersion` and `kind` of a stored object, put in.
pub fn set_type(object: &mut Value, api_version: &str, kind: &str) {
    let map = as_map(object);
    map.insert("apiVersion".to_owned(), api_version.into());
    map.insert("kind".to_owned(), kind.into());
}

/// An object as it comes back from the store: protobuf does not tell an empty list from none.
///
/// # Errors
/// Where the object does not have its kind's shape.
pub fn as_stored(object: Value, kind: &Kind) -> Result<Value, Fault> {
    if kind.storage_encoding == Encoding::Json || !has_empty_list(&object) {
        return Ok(object);
    }
    let version = meta_value(&object, "resourceVersion").cloned();
    let json = codec::decode(&to_stored(&object, kind)?).map_err(Fault::internal)?;
    let mut stored = serde_json::from_slice(&json).map_err(Fault::internal)?;
    if version.is_some() {
        set_meta(&mut stored, "resourceVersion", version);
    }
    Ok(stored)
}

fn has_empty_list(value: &Value) -> bool {
    match value {
        Value::Array(list) => list.is_empty() || list.iter().any(has_empty_list),
        Value::Object(map) => map.values().any(has_empty_list),
        _ => false,
    }
}

/// An object as bytes for the store: without `resourceVersion`, which is the store's to know.
///
/// # Errors
/// Where the object does not have its kind's shape.
pub fn to_stored(object: &Value, kind: &Kind) -> Result<Bytes, Fault> {
    let mut object = object.clone();
    set_meta(&mut object, "resourceVersion", None);
    set_type(&mut object, &kind.api_version(), kind.kind);
    let json = serde_json::to_vec(&object).map_err(Fault::internal)?;
    Ok(match kind.storage_encoding {
        Encoding::Protobuf => codec::encode(kind.message, &json).map_err(Fault::internal)?.into(),
        Encoding::Json => codec::normalize(kind.message, &json).map_err(Fault::internal)?.bytes.into(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_encoded_object_begins_with_its_type() {
        for kind in proto::kind::KINDS.iter().filter(|kind| kind.stored) {
            let head = crate::resource::head(kind.kind, &kind.api_version());
            let encoded = encode(kind, &json!({"metadata": {"name": "a"}})).unwrap();
            assert!(encoded.starts_with(head.as_bytes()), "{encoded:?} does not begin with {head}");
        }
    }

    #[test]
    fn empty_lists_are_none_once_stored() {
        let kind = proto::kind::find("rbac.authorization.k8s.io", "v1", "roles").unwrap();
        let stored = as_stored(json!({"metadata": {"name": "a"}, "rules": []}), kind).unwrap();
        assert_eq!(stored["rules"], Value::Null);
    }

    #[test]
    fn times_have_whole_seconds() {
        assert_eq!(time(Timestamp::from_millisecond(1_500).unwrap()), "1970-01-01T00:00:01Z");
    }
}
