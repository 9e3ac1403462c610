//! Fills what an object leaves out: a path names the places, a table names the values.

use serde_json::{Map, Value};

/// A value that a table of defaults can hold.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fill {
    Bool(bool),
    Int(i64),
    Str(&'static str),
    Object,
}

/// A path and what stands there when the object says nothing.
///
/// `a.b` goes into `b` of `a` if there is an `a`; `a+.b` makes `a` first; `a[].b` goes into each element of `a`.
pub(crate) type Default = (&'static str, Fill);

impl From<Fill> for Value {
    fn from(fill: Fill) -> Self {
        match fill {
            Fill::Bool(value) => value.into(),
            Fill::Int(value) => value.into(),
            Fill::Str(value) => value.into(),
            Fill::Object => Map::new().into(),
        }
    }
}

/// Applies a table in its order.
pub(crate) fn apply(root: &mut Value, table: &[Default]) {
    for (path, fill) in table {
        each_parent(root, path, &mut |parent, key| put(parent, key, (*fill).into()));
    }
}

/// Calls `act` with each value that `path` names and that is there.
pub(crate) fn each(root: &mut Value, path: &str, act: &mut dyn FnMut(&mut Value)) {
    match path.split_once('.') {
        Some((head, rest)) => step(root, head, &mut |value| each(value, rest, act)),
        None => step(root, path, act),
    }
}

/// Sets a member unless it has a value already.
pub(crate) fn put(parent: &mut Value, key: &str, value: Value) {
    if let Value::Object(map) = parent
        && is_absent(map.get(key))
    {
        map.insert(key.to_owned(), value);
    }
}

/// The member, made an empty object where it is missing.
pub(crate) fn child<'a>(parent: &'a mut Value, key: &str) -> &'a mut Value {
    if !parent.is_object() {
        *parent = Map::new().into();
    }
    let slot = &mut parent[key];
    if slot.is_null() {
        *slot = Map::new().into();
    }
    slot
}

/// Whether a member counts as left out.
pub(crate) fn is_absent(value: Option<&Value>) -> bool {
    value.is_none_or(|value| value.is_null() || value.as_str() == Some(""))
}

/// The text at a dotted path, empty where there is none.
pub(crate) fn text<'a>(root: &'a Value, path: &str) -> &'a str {
    find(root, path).and_then(Value::as_str).unwrap_or_default()
}

/// The whole number at a dotted path.
pub(crate) fn int(root: &Value, path: &str) -> Option<i64> {
    find(root, path).and_then(Value::as_i64)
}

/// The flag at a dotted path, false where there is none.
pub(crate) fn flag(root: &Value, path: &str) -> bool {
    find(root, path).and_then(Value::as_bool).unwrap_or_default()
}

/// The elements at a dotted path, none where there is no list.
pub(crate) fn list<'a>(root: &'a Value, path: &str) -> &'a [Value] {
    find(root, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The value at a dotted path, unless it is null.
pub(crate) fn find<'a>(root: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(root, |value, key| value.get(key)).filter(|value| !value.is_null())
}

fn each_parent(root: &mut Value, path: &str, act: &mut dyn FnMut(&mut Value, &str)) {
    match path.split_once('.') {
        Some((head, rest)) => step(root, head, &mut |value| each_parent(value, rest, act)),
        None if root.is_object() => act(root, path),
        None => {}
    }
}

fn step(value: &mut Value, head: &str, act: &mut dyn FnMut(&mut Value)) {
    if let Some(name) = head.strip_suffix("[]") {
        if let Some(Value::Array(items)) = value.get_mut(name) {
            items.iter_mut().for_each(act);
        }
    } else if let Some(name) = head.strip_suffix('+') {
        act(child(value, name));
    } else if let Some(inner) = value.get_mut(head).filter(|inner| !inner.is_null()) {
        act(inner);
    }
}
