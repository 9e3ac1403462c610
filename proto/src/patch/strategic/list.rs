//! Lists in a strategic merge: merged by key or by value, then put in order.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    DIRECTIVE, Error, Known, Object, bad_directive, merge as merge_objects, same_type, without_directives,
};
use crate::patch::shown;

/// Merges two lists; `deletes` says that the patch lists the values to be deleted.
pub(super) fn merge(
    before: Vec<Value>,
    patch: Vec<Value>,
    known: Known,
    deletes: bool,
) -> Result<Vec<Value>, Error> {
    if before.is_empty() && patch.is_empty() {
        return Ok(before);
    }
    let key = known.field.merge_key();
    if !of_objects(&[&before, &patch])? {
        if deletes {
            let deleted = places(&patch, "");
            return Ok(before
                .into_iter()
                .filter(|item| !deleted.contains_key(&identity(item, "")))
                .collect());
        }
        let both = before.iter().chain(&patch);
        let mut seen = BTreeSet::new();
        let merged = both.filter(|item| seen.insert(identity(item, ""))).cloned().collect();
        return ordered(merged, &patch, &before, "");
    }
    if key.is_empty() {
        return Err(Error::Merge("cannot merge lists without merge key for struct".to_owned()));
    }
    let (before, patch) = directives(before, patch, key)?;
    let mut merged = before.clone();
    let mut found = places(&merged, key);
    for item in &patch {
        let Value::Object(item) = item else { continue };
        let value = item.get(key).ok_or_else(|| no_key(item, key))?;
        match found.get(&value.to_string()) {
            Some(at) => {
                let object = merged[*at].as_object().cloned().unwrap_or_default();
                merged[*at] = Value::Object(merge_objects(object, item.clone(), known.inner)?);
            }
            None => {
                found.insert(value.to_string(), merged.len());
                merged.push(Value::Object(item.clone()));
            }
        }
    }
    ordered(merged, &patch, &before, key)
}

/// What tells an item from the others: the value at its key, or itself where there is no key.
fn identity(item: &Value, key: &str) -> String {
    if key.is_empty() { item.to_string() } else { item.get(key).map(Value::to_string).unwrap_or_default() }
}

/// Where each item is, the first of those that are the same.
fn places(list: &[Value], key: &str) -> BTreeMap<String, usize> {
    let mut places = BTreeMap::new();
    for (at, item) in list.iter().enumerate() {
        places.entry(identity(item, key)).or_insert(at);
    }
    places
}

/// Merges a list and its changes, and orders the outcome; nothing if there is neither.
pub(super) fn in_order(
    before: Option<Vec<Value>>,
    changes: Option<Vec<Value>>,
    order: Vec<Value>,
    known: Known,
) -> Result<Option<Vec<Value>>, Error> {
    let key = known.field.merge_key();
    check_order(changes.as_deref().unwrap_or_default(), &order, key)?;
    let (server, items) = (before.clone().unwrap_or_default(), changes.clone().unwrap_or_default());
    let merged = match (before, changes) {
        (None, None) => return Ok(None),
        (Some(before), None) => before,
        (None, Some(changes)) => changes.into_iter().filter_map(without_directives).collect(),
        (Some(before), Some(changes)) => known.list(before, changes, false)?,
    };
    of_objects(&[&server, &items])?;
    ordered(merged, &order, &server, key).map(Some)
}

/// Takes the items with directives out of the patch and follows them.
fn directives(
    mut before: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), Error> {
    let (mut plain, mut replaces, mut deleted) = (Vec::new(), false, BTreeSet::new());
    for item in patch {
        let Value::Object(object) = &item else { continue };
        match object.get(DIRECTIVE) {
            None => plain.push(item),
            Some(directive) => match directive.as_str() {
                Some("delete") => {
                    object.get(key).ok_or_else(|| no_key(object, key))?;
                    deleted.insert(identity(&item, key));
                }
                Some("replace") => replaces = true,
                Some("merge") => {
                    return Err(Error::Merge(
                        "merging lists cannot yet be specified in the patch".to_owned(),
                    ));
                }
                _ => return Err(bad_directive(directive, object)),
            },
        }
    }
    before.retain(|one| !deleted.contains(&identity(one, key)));
    Ok(if replaces { (plain, Vec::new()) } else { (before, plain) })
}

/// Puts what `order` lists into its order, and the rest, in the server's order, before and between it.
fn ordered(merged: Vec<Value>, order: &[Value], server: &[Value], key: &str) -> Result<Vec<Value>, Error> {
    if !key.is_empty() {
        for item in merged.iter().chain(order) {
            match item {
                Value::Object(object) if object.contains_key(key) => {}
                Value::Object(object) => return Err(no_key(object, key)),
                _ => return Err(Error::Merge("list element types are not identical".to_owned())),
            }
        }
    }
    let (order, server) = (places(order, key), places(server, key));
    let place = |places: &BTreeMap<String, usize>, item: &Value| places.get(&identity(item, key)).copied();
    let (mut listed, mut rest): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| place(&order, item).is_some());
    listed.sort_by_cached_key(|item| place(&order, item));
    rest.sort_by_cached_key(|item| place(&server, item).unwrap_or(usize::MAX));
    let mut out = Vec::with_capacity(listed.len() + rest.len());
    let (mut listed, mut rest) = (listed.into_iter().peekable(), rest.into_iter().peekable());
    loop {
        let first_is_rest = match (rest.peek(), listed.peek()) {
            (None, None) => return Ok(out),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(a), Some(b)) => place(&server, a).zip(place(&server, b)).is_some_and(|(a, b)| a < b),
        };
        out.extend(if first_is_rest { rest.next() } else { listed.next() });
    }
}

/// That the changes come in the order that is set for them.
fn check_order(changes: &[Value], order: &[Value], key: &str) -> Result<(), Error> {
    if changes.is_empty() || order.is_empty() {
        return Ok(());
    }
    let same = |a: &Value, b: &Value| {
        if key.is_empty() { a == b } else { a.get(key).is_some() && a.get(key) == b.get(key) }
    };
    let mut order_left = order.iter();
    for item in changes.iter().filter(|item| item.get(DIRECTIVE).is_none()) {
        if !order_left.any(|one| same(item, one)) {
            let (changes, order) =
                (shown(&Value::Array(changes.to_vec())), shown(&Value::Array(order.to_vec())));
            let text = format!(
                "The order in patch list:\n{changes}\n doesn't match $setElementOrder list:\n{order}\n"
            );
            return Err(Error::Merge(text));
        }
    }
    Ok(())
}

/// Whether the items of the lists are objects; they must all be of one type.
fn of_objects(lists: &[&[Value]]) -> Result<bool, Error> {
    let mut items = lists.iter().flat_map(|list| list.iter());
    let first =
        items.next().ok_or_else(|| Error::Merge("no elements in any of the given slices".to_owned()))?;
    if first.is_array() {
        return Err(Error::Operation("lists of lists are not supported".to_owned()));
    }
    if items.all(|item| same_type(first, item)) {
        return Ok(first.is_object());
    }
    let all: Vec<String> = lists.iter().map(|list| shown(&Value::Array(list.to_vec()))).collect();
    Err(Error::Merge(format!("list element types are not identical: [{}]", all.join(" "))))
}

fn no_key(item: &Object, key: &str) -> Error {
    let item = shown(&Value::Object(item.clone()));
    Error::Merge(format!("map: {item} does not contain declared merge key: {key}"))
}
