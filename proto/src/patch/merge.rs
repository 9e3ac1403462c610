//! JSON Merge Patch, RFC 7386.

use serde_json::{Map, Value};

use super::{Error, kind_name};

/// Merges a patch into an object: null removes, an object merges, all else replaces.
pub fn merge(object: &Value, patch: &Value) -> Result<Value, Error> {
    let patch = match patch {
        Value::Object(patch) => patch,
        Value::Null => return Err(Error::Format("Invalid JSON Patch")),
        other => {
            let kind = kind_name(other);
            let text =
                format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}");
            return Err(Error::Decode(text));
        }
    };
    let mut merged = object.as_object().cloned().unwrap_or_default();
    apply(&mut merged, patch);
    Ok(Value::Object(merged))
}

fn apply(object: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (key, value) in patch {
        match (object.get_mut(key), value) {
            (_, Value::Null) => {
                object.remove(key);
            }
            (Some(Value::Object(inner)), Value::Object(value)) => apply(inner, value),
            // Upstream takes a list or a scalar as it is where an object was.
            (Some(before @ Value::Object(_)), value) => *before = value.clone(),
            (_, value) => {
                let mut value = value.clone();
                drop_nulls(&mut value);
                object.insert(key.clone(), value);
            }
        }
    }
}

/// Removes the keys that are null; in a list nulls stay.
pub(super) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
