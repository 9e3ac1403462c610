//! Values as Go prints them in errors.

use std::fmt::Write;

use serde_json::Value;

/// A value as Go's `%v` prints it, as in `map[a:1 b:[x y]]`.
pub fn shown(value: &Value) -> String {
    let mut out = String::new();
    show(&mut out, value);
    out
}

fn show(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("<nil>"),
        Value::String(text) => out.push_str(text),
        Value::Array(list) => {
            out.push('[');
            for (at, item) in list.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { " " });
                show(out, item);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push_str("map[");
            // Go prints a map by key; ours may remember the order of insertion.
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            for (at, (key, item)) in entries.into_iter().enumerate() {
                // Writing into a text does not fail.
                let _infallible = write!(out, "{}{key}:", if at == 0 { "" } else { " " });
                show(out, item);
            }
            out.push(']');
        }
        other => {
            let _infallible = write!(out, "{other}");
        }
    }
}
