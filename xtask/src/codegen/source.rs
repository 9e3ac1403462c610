//! Facts read out of JSON and values written as Rust source.

use anyhow::{Context, Result};
use serde_json::Value;

/// The string at `key`, which must be there.
pub(super) fn text<'a>(row: &'a Value, key: &str) -> Result<&'a str> {
    row[key].as_str().with_context(|| format!("`{key}` is not a string in {row}"))
}

/// The string at `key`, or the empty string.
pub(super) fn text_or_empty<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap_or_default()
}

/// The boolean at `key`, false when absent.
pub(super) fn flag(row: &Value, key: &str) -> bool {
    row[key].as_bool().unwrap_or_default()
}

/// The rows at `key`, which must be there.
pub(super) fn rows<'a>(row: &'a Value, key: &str) -> Result<&'a [Value]> {
    row[key].as_array().map(Vec::as_slice).with_context(|| format!("`{key}` is not a list"))
}

/// The strings at `key` as a Rust slice expression; empty when absent.
pub(super) fn strings(row: &Value, key: &str) -> String {
    let items: Vec<String> = row[key]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|item| format!("{item:?}"))
        .collect();
    format!("&[{}]", items.join(", "))
}
