//! JSON Patch, RFC 6902, with the liberties upstream takes: negative indices count from the end, and a replaced key
//! need not be there.

use serde_json::{Map, Value};

use super::{Error, MAX_DEPTH, depth, kind_name};

/// The most operations in one patch, as upstream bounds them.
pub const MAX_OPERATIONS: usize = 10_000;

/// The most bytes that one patch may copy, as upstream bounds them.
pub const MAX_COPIED_BYTES: usize = 3 << 20;

/// An error that ends with what kind of error it is.
fn failed(text: String, kind: &str) -> Error {
    Error::Operation(format!("{text}: {kind}"))
}

const MISSING: &str = "missing value";
const INVALID_INDEX: &str = "invalid index referenced";
const TEST_FAILED: &str = "test failed";

/// Applies the operations to an object, in order, all or none.
pub fn json(object: &Value, patch: &Value) -> Result<Value, Error> {
    let go_type = "[]handlers.jsonPatchOp";
    let unmarshal = |value: &Value, go_type: &str| {
        Error::Decode(format!("json: cannot unmarshal {} into Go value of type {go_type}", kind_name(value)))
    };
    let operations: &[Value] = match patch {
        Value::Array(operations) => operations,
        Value::Null => &[],
        other => return Err(unmarshal(other, go_type)),
    };
    if operations.len() > MAX_OPERATIONS {
        return Err(Error::TooManyOperations(operations.len()));
    }
    let mut state = State { object: object.clone(), copied: 0 };
    for operation in operations {
        let operation = operation.as_object().ok_or_else(|| unmarshal(operation, "handlers.jsonPatchOp"))?;
        state.apply(operation)?;
    }
    Ok(state.object)
}

struct State {
    object: Value,
    copied: usize,
}

impl State {
    fn apply(&mut self, operation: &Map<String, Value>) -> Result<(), Error> {
        let name = operation.get("op").and_then(Value::as_str).unwrap_or("unknown");
        let text = |key: &str| operation.get(key).and_then(Value::as_str);
        let path = || {
            text("path").ok_or_else(|| {
                let missing = "operation missing path field: missing value";
                // Upstream drops the inner text for these three.
                let inner = if matches!(name, "add" | "remove" | "copy") { MISSING } else { missing };
                Error::Operation(format!("{name} operation failed to decode path: {inner}"))
            })
        };
        let from = || {
            let missing = || format!("{name} operation failed to decode from: operation, missing from field");
            text("from").ok_or_else(|| failed(missing(), MISSING))
        };
        let value = operation.get("value").unwrap_or(&Value::Null);
        match name {
            "add" => {
                let path = path()?;
                self.add(
                    path,
                    value.clone(),
                    |path| format!("add operation does not apply: doc is missing path: \"{path}\""),
                    |path| format!("error in add for path: '{path}'"),
                )
            }
            "remove" => self.remove(path()?),
            "replace" => self.replace(path()?, value),
            "move" => {
                let from = from()?;
                let missing = || {
                    failed(
                        format!("move operation does not apply: doc is missing from path: {from}"),
                        MISSING,
                    )
                };
                let (parent, key) = parent(&mut self.object, from).ok_or_else(missing)?;
                let moved = remove(parent, &key)
                    .map_err(|error| inside(format!("error in move for path: '{key}'"), &error))?;
                self.add(
                    path()?,
                    moved,
                    |path| format!("move operation does not apply: doc is missing destination path: {path}"),
                    |path| format!("error in move for path: '{path}'"),
                )
            }
            "test" => self.test(path()?, value),
            "copy" => {
                let from = from()?;
                let copied = self.copied(from)?;
                self.add(
                    path()?,
                    copied,
                    |path| format!("copy operation does not apply: doc is missing destination path: {path}"),
                    |_| "error while adding value during copy".to_owned(),
                )
            }
            other => Err(Error::Operation(format!("Unexpected kind: {other}"))),
        }
    }

    fn add(
        &mut self,
        path: &str,
        value: Value,
        missing: impl FnOnce(&str) -> String,
        wrong: impl FnOnce(&str) -> String,
    ) -> Result<(), Error> {
        bounded(path, &value)?;
        let Some((parent, key)) = parent(&mut self.object, path) else {
            return Err(failed(missing(path), MISSING));
        };
        match parent {
            Value::Array(list) => {
                let at = insertion(&key, list.len()).map_err(|error| inside(wrong(path), &error))?;
                list.insert(at, value);
            }
            Value::Object(map) => {
                map.insert(key, value);
            }
            _ => return Err(failed(missing(path), MISSING)),
        }
        Ok(())
    }

    fn remove(&mut self, path: &str) -> Result<(), Error> {
        let missing =
            || failed(format!("remove operation does not apply: doc is missing path: \"{path}\""), MISSING);
        let (parent, key) = parent(&mut self.object, path).ok_or_else(missing)?;
        let removed = remove(parent, &key);
        removed.map(drop).map_err(|error| inside(format!("error in remove for path: '{path}'"), &error))
    }

    /// What a copy takes, counted against what may be copied.
    fn copied(&mut self, from: &str) -> Result<Value, Error> {
        let missing =
            || failed(format!("copy operation does not apply: doc is missing from path: {from}"), MISSING);
        let (parent, key) = parent(&mut self.object, from).ok_or_else(missing)?;
        let found =
            get(parent, &key).map_err(|error| inside(format!("error in copy for from: '{from}'"), &error))?;
        let copy = found.cloned().unwrap_or_default();
        self.copied += copy.to_string().len();
        if self.copied > MAX_COPIED_BYTES {
            let size = format!("increase of copy is {}, exceeding the limit {MAX_COPIED_BYTES}", self.copied);
            return Err(Error::Operation(format!(
                "Unable to complete the copy, the accumulated size {size}"
            )));
        }
        Ok(copy)
    }

    fn replace(&mut self, path: &str, value: &Value) -> Result<(), Error> {
        bounded(path, value)?;
        if path.is_empty() {
            if !(value.is_object() || value.is_array()) {
                return Err(Error::Operation("replace operation value must be object or array".to_owned()));
            }
            self.object = value.clone();
            return Ok(());
        }
        let missing = |what: &str| {
            failed(format!("replace operation does not apply: doc is missing {what}: {path}"), MISSING)
        };
        let (parent, key) = parent(&mut self.object, path).ok_or_else(|| missing("path"))?;
        get(parent, &key).map_err(|_| missing("key"))?;
        match parent {
            Value::Object(map) => {
                map.insert(key, value.clone());
            }
            Value::Array(list) => {
                let number = key.parse().map_err(|_| missing("key"))?;
                let at = index(number, list.len()).map_err(|_| missing("key"))?;
                list[at] = value.clone();
            }
            _ => return Err(missing("path")),
        }
        Ok(())
    }

    fn test(&mut self, path: &str, value: &Value) -> Result<(), Error> {
        let unequal = || failed(format!("testing value {path} failed"), TEST_FAILED);
        if path.is_empty() {
            return if self.object == *value { Ok(()) } else { Err(unequal()) };
        }
        let missing = || failed(format!("test operation does not apply: is missing path: {path}"), MISSING);
        let (parent, key) = parent(&mut self.object, path).ok_or_else(missing)?;
        let found =
            get(parent, &key).map_err(|error| inside(format!("error in test for path: '{path}'"), &error))?;
        if found.unwrap_or(&Value::Null) == value { Ok(()) } else { Err(unequal()) }
    }
}

/// The value that holds what a path ends with, and the last part of the path.
fn parent<'v>(object: &'v mut Value, path: &str) -> Option<(&'v mut Value, String)> {
    let (front, last) = path.rsplit_once('/')?;
    let mut at = object;
    for part in front.split('/').skip(1) {
        let key = decoded(part);
        at = match at {
            Value::Object(map) => map.get_mut(&key)?,
            Value::Array(list) => {
                let place = index(key.parse().ok()?, list.len()).ok()?;
                list.get_mut(place)?
            }
            _ => return None,
        };
    }
    (at.is_object() || at.is_array()).then(|| (at, decoded(last)))
}

fn decoded(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

/// What is at a key; nothing there is no error in an object.
fn get<'v>(parent: &'v Value, key: &str) -> Result<Option<&'v Value>, String> {
    match parent {
        Value::Object(map) => Ok(map.get(key)),
        Value::Array(list) => {
            let number = key.parse().map_err(|_| not_a_number(key))?;
            Ok(list.get(index(number, list.len())?))
        }
        _ => Ok(None),
    }
}

fn remove(parent: &mut Value, key: &str) -> Result<Value, String> {
    match parent {
        Value::Object(map) => {
            map.remove(key).ok_or_else(|| format!("Unable to remove nonexistent key: {key}: {MISSING}"))
        }
        Value::Array(list) => {
            let number = key.parse().map_err(|_| not_a_number(key))?;
            let at = index(number, list.len())?;
            Ok(list.remove(at))
        }
        _ => Err(MISSING.to_owned()),
    }
}

/// The place an index means among `length`; a negative one counts from the end.
fn index(number: i64, length: usize) -> Result<usize, String> {
    let size = i64::try_from(length).unwrap_or(i64::MAX);
    let at = if number < 0 { number.saturating_add(size) } else { number };
    match usize::try_from(at) {
        Ok(at) if at < length => Ok(at),
        _ => Err(format!("Unable to access invalid index: {number}: {INVALID_INDEX}")),
    }
}

/// The place where a list of that length takes what is added at a key.
fn insertion(key: &str, length: usize) -> Result<usize, String> {
    if key == "-" {
        return Ok(length);
    }
    let number = key
        .parse()
        .map_err(|_| format!("value was not a proper array index: '{key}': {}", not_a_number(key)))?;
    index(number, length + 1)
}

fn inside(outer: String, inner: &str) -> Error {
    Error::Operation(format!("{outer}: {inner}"))
}

fn not_a_number(key: &str) -> String {
    format!("strconv.Atoi: parsing {key:?}: invalid syntax")
}

/// That a value put at a path does not nest too deeply: copying a part into itself doubles the nesting each time.
fn bounded(path: &str, value: &Value) -> Result<(), Error> {
    if path.split('/').count() + depth(value) > MAX_DEPTH {
        return Err(Error::Operation(format!("the patched object would nest deeper than {MAX_DEPTH}")));
    }
    Ok(())
}
