//! Strategic merge: a merge that knows which lists are merged by which key, and takes directives.

use serde_json::{Map, Value};

use super::merge::drop_nulls;
use super::{Error, kind_name, shown};
use crate::field::{Card, Field, Message};

mod list;

type Object = Map<String, Value>;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";
const ORDER: &str = "$setElementOrder";

/// What is known of the object being merged into: its message, or only what Go calls its type.
#[derive(Debug, Clone, Copy)]
enum Schema {
    Message(&'static Message),
    Other(&'static str),
}

/// What is known of a field.
#[derive(Debug, Clone, Copy)]
struct Known {
    field: &'static Field,
    /// What its values, or those of its list, are.
    inner: Schema,
}

/// Merges a patch into an object of the message.
pub fn strategic(message: &str, object: &Value, patch: &Value) -> Result<Value, Error> {
    let known =
        crate::field::message(message).ok_or_else(|| Error::Merge(format!("no message {message}")))?;
    let patch = match patch {
        Value::Object(patch) => patch.clone(),
        Value::Null => Object::new(),
        other => {
            let kind = kind_name(other);
            let text =
                format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}");
            return Err(Error::Decode(text));
        }
    };
    let object = object.as_object().cloned().unwrap_or_default();
    merge(object, patch, Schema::Message(known)).map(Value::Object)
}

fn merge(mut object: Object, mut patch: Object, schema: Schema) -> Result<Object, Error> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => {
                patch.remove(DIRECTIVE);
                Ok(patch)
            }
            Some("delete") => Ok(Object::new()),
            _ => Err(bad_directive(directive, &patch)),
        };
    }
    retain_keys(&mut object, &mut patch)?;
    set_orders(&mut object, &mut patch, schema)?;
    for (key, value) in patch {
        let (key, deletes) = match directed(&key, DELETE_FROM)? {
            Some(list) => (list.to_owned(), true),
            None => (key, false),
        };
        if value.is_null() {
            object.remove(&key);
            continue;
        }
        match (object.remove(&key), value) {
            (Some(Value::Object(before)), Value::Object(value)) => {
                let known = schema.field(&key)?;
                let after = if known.replaces() { value } else { merge(before, value, known.inner)? };
                object.insert(key, Value::Object(after));
            }
            (Some(Value::Array(before)), Value::Array(value)) => {
                let known = schema.field(&key)?;
                let after = known.list(before, value, deletes)?;
                object.insert(key, Value::Array(after));
            }
            (before, value) if deletes => {
                // What is not a list is left alone.
                let _nothing_deleted = value;
                if let Some(before) = before {
                    object.insert(key, before);
                }
            }
            (before, mut value) => {
                // Nulls go where the patch's value is taken as it is; a scalar has none.
                if before.is_none() || before.as_ref().is_some_and(|before| !same_type(before, &value)) {
                    drop_nulls(&mut value);
                }
                if let Some(value) = without_directives(value) {
                    object.insert(key, value);
                }
            }
        }
    }
    Ok(object)
}

impl Schema {
    /// The field of a name, which must be known.
    fn field(self, name: &str) -> Result<Known, Error> {
        let message = match self {
            Self::Message(message) => message,
            Self::Other(kind) => {
                let text =
                    format!("merging an object in json but data type is not struct, instead is: {kind}");
                return Err(Error::Merge(text));
            }
        };
        let unknown = || {
            let name = format!("struct {} for the json field {name:?}", message.short_name());
            Error::Merge(format!("unable to find api field in {name}"))
        };
        let field = message.field(name).ok_or_else(unknown)?;
        let inner = match (field.card(), field.message()) {
            (Card::Map, _) => Self::Other("map"),
            (_, Some(message)) => Self::Message(message),
            (_, None) => Self::Other("string"),
        };
        Ok(Known { field, inner })
    }
}

impl Known {
    /// Whether a patch of the object replaces it whole.
    fn replaces(self) -> bool {
        self.field.replaces()
    }

    fn list(self, before: Vec<Value>, patch: Vec<Value>, deletes: bool) -> Result<Vec<Value>, Error> {
        if self.field.merges() || deletes { list::merge(before, patch, self, deletes) } else { Ok(patch) }
    }
}

/// Removes all but the keys to be retained, all of which the patch must be among.
fn retain_keys(object: &mut Object, patch: &mut Object) -> Result<(), Error> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let bad = Error::Format("invalid patch format of retainKeys");
    let Value::Array(keys) = keys else { return Err(bad) };
    let retained = |key: &str| keys.iter().any(|one| one == key);
    let directive = |key: &str| key.starts_with(DELETE_FROM) || key.starts_with(ORDER);
    if patch.iter().any(|(key, value)| !value.is_null() && !directive(key) && !retained(key)) {
        return Err(bad);
    }
    object.retain(|key, _| retained(key));
    Ok(())
}

/// Merges the lists whose order is set, and takes them and their orders out of the patch.
fn set_orders(object: &mut Object, patch: &mut Object, schema: Schema) -> Result<(), Error> {
    let directives: Vec<String> = patch.keys().filter(|key| key.starts_with(ORDER)).cloned().collect();
    for directive in directives {
        let Some(Value::Array(order)) = patch.remove(&directive) else {
            let text = "expected a []interface {}, but received another type for the order of a list";
            return Err(Error::Merge(text.to_owned()));
        };
        let name = directed(&directive, ORDER)?.unwrap_or_default();
        let as_list = |value: Option<&Value>| match value {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list.clone())),
            Some(other) => {
                let kind = kind_name(other);
                Err(Error::Merge(format!("expected a []interface {{}}, but received a {kind}")))
            }
        };
        let (before, changes) = (as_list(object.get(name))?, as_list(patch.get(name))?);
        let known = schema.field(name)?;
        if let Some(after) = list::in_order(before, changes, order, known)? {
            object.insert(name.to_owned(), Value::Array(after));
            patch.remove(name);
        }
    }
    Ok(())
}

/// The list that a directive such as `$setElementOrder/finalizers` is about.
fn directed<'k>(key: &'k str, directive: &str) -> Result<Option<&'k str>, Error> {
    match key.strip_prefix(directive) {
        None => Ok(None),
        Some(rest) => match rest.strip_prefix('/') {
            Some(name) if !name.contains('/') => Ok(Some(name)),
            _ if directive == ORDER => Err(Error::Format("invalid patch format of setElementOrder list")),
            _ => Err(Error::Format("invalid patch format of primitive list")),
        },
    }
}

/// The value without what bears a directive; nothing if it bears one itself.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(DIRECTIVE) => None,
        Value::Object(map) => {
            let kept = map.into_iter().filter_map(|(key, value)| Some((key, without_directives(value)?)));
            Some(Value::Object(kept.collect()))
        }
        Value::Array(list) => Some(Value::Array(list.into_iter().filter_map(without_directives).collect())),
        other => Some(other),
    }
}

fn same_type(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.is_f64() == b.is_f64(),
        _ => kind_name(a) == kind_name(b),
    }
}

fn bad_directive(directive: &Value, patch: &Object) -> Error {
    let (directive, patch) = (shown(directive), shown(&Value::Object(patch.clone())));
    Error::Merge(format!("unknown patch type: {directive} in map: {patch}"))
}
