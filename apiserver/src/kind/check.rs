//! Walks an object and collects what is wrong with it.

use serde_json::Value;

use super::format;
use crate::field::{FieldError, Path};

/// What was found wrong so far.
pub(crate) type Errors = Vec<FieldError>;

/// A value and the place where it stands; an absent value is `Null`.
#[derive(Clone, Debug)]
pub(crate) struct At<'a> {
    pub(crate) value: &'a Value,
    pub(crate) path: Path,
}

static NULL: Value = Value::Null;

impl<'a> At<'a> {
    /// The object itself.
    pub(crate) fn root(value: &'a Value) -> Self {
        Self { value, path: Path::root("") }
    }

    /// A member, by name or by dotted names.
    pub(crate) fn get(&self, names: &str) -> Self {
        names.split('.').fold(self.clone(), |at, name| Self {
            value: at.value.get(name).unwrap_or(&NULL),
            path: at.path.child(name),
        })
    }

    /// The elements of a list.
    pub(crate) fn items(&self) -> impl Iterator<Item = Self> + use<'a> {
        let path = self.path.clone();
        self.value
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
            .map(move |(index, value)| Self { value, path: path.index(index) })
    }

    /// The values of a map, with their keys.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'a str, Self)> + use<'a> {
        let path = self.path.clone();
        self.value
            .as_object()
            .into_iter()
            .flatten()
            .map(move |(key, value)| (key.as_str(), Self { value, path: path.key(key) }))
    }

    pub(crate) fn text(&self) -> &'a str {
        self.value.as_str().unwrap_or_default()
    }

    pub(crate) fn int(&self) -> Option<i64> {
        self.value.as_i64()
    }

    pub(crate) fn flag(&self) -> bool {
        self.value == &Value::Bool(true)
    }

    pub(crate) fn len(&self) -> usize {
        match self.value {
            Value::Array(items) => items.len(),
            Value::Object(map) => map.len(),
            _ => 0,
        }
    }

    /// Whether there is a value: not null, and no empty text.
    pub(crate) fn is_set(&self) -> bool {
        !self.value.is_null() && self.value.as_str() != Some("")
    }

    pub(crate) fn invalid(&self, out: &mut Errors, detail: impl Into<String>) {
        out.push(FieldError::invalid(&self.path, self.value.clone(), detail));
    }

    pub(crate) fn forbidden(&self, out: &mut Errors, detail: impl Into<String>) {
        out.push(FieldError::forbidden(&self.path, detail));
    }

    pub(crate) fn required(&self, out: &mut Errors, detail: impl Into<String>) {
        out.push(FieldError::required(&self.path, detail));
    }

    pub(crate) fn duplicate(&self, out: &mut Errors) {
        out.push(FieldError::duplicate(&self.path, self.value.clone()));
    }

    pub(crate) fn not_supported(&self, out: &mut Errors, supported: &[&str]) {
        let value = if self.value.is_null() { "".into() } else { self.value.clone() };
        out.push(FieldError::not_supported(&self.path, value, supported));
    }

    /// Complains here of a value that stands elsewhere.
    pub(crate) fn out_of(&self, out: &mut Errors, value: &Value, detail: String) {
        out.push(FieldError::invalid(&self.path, value.clone(), detail));
    }

    /// Complains of the whole of it, without showing it.
    pub(crate) fn out_bare(&self, out: &mut Errors, detail: &'static str) {
        let mut error = FieldError::invalid(&self.path, Value::Null, detail);
        error.bare = true;
        out.push(error);
    }

    /// Complains of a duplicate that is made of several fields.
    pub(crate) fn out_duplicate(&self, out: &mut Errors, value: impl Into<Value>) {
        out.push(FieldError::duplicate(&self.path, value));
    }

    /// Complains unless there is a value; says whether there is.
    pub(crate) fn must(&self, out: &mut Errors) -> bool {
        if !self.is_set() {
            self.required(out, "");
        }
        self.is_set()
    }

    /// Complains of each message.
    pub(crate) fn each(&self, out: &mut Errors, messages: Vec<String>) {
        for message in messages {
            self.invalid(out, message);
        }
    }

    /// Complains of a text that is none of these.
    pub(crate) fn one_of(&self, out: &mut Errors, supported: &[&str]) {
        if !supported.contains(&self.text()) {
            self.not_supported(out, supported);
        }
    }

    /// The same, for a text that may be left out.
    pub(crate) fn one_of_if_set(&self, out: &mut Errors, supported: &[&str]) {
        if self.is_set() {
            self.one_of(out, supported);
        }
    }

    /// Complains of a number below 0.
    pub(crate) fn not_negative(&self, out: &mut Errors) {
        if self.int().is_some_and(|value| value < 0) {
            self.invalid(out, NOT_NEGATIVE);
        }
    }

    /// Complains when the value is not what it was.
    pub(crate) fn immutable(&self, out: &mut Errors, old: &Value) {
        if !same(self.value, old) {
            self.invalid(out, IMMUTABLE);
        }
    }

    /// Complains of a port outside of 1 to 65535.
    pub(crate) fn port(&self, out: &mut Errors) {
        self.each(out, format::port(self.int().unwrap_or_default()));
    }

    /// Complains of a port that is neither a number from 1 to 65535 nor a name.
    pub(crate) fn port_or_name(&self, out: &mut Errors) {
        match self.value {
            Value::String(name) => self.each(out, format::port_name(name)),
            Value::Number(_) => self.port(out),
            _ => self.invalid(out, "must be an integer or a string"),
        }
    }
}

pub(crate) const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
pub(crate) const IMMUTABLE: &str = "field is immutable";

/// Whether two values say the same; what is empty says nothing.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.iter().all(|(key, value)| same(value, b.get(key).unwrap_or(&NULL)))
                && b.iter().all(|(key, value)| a.contains_key(key) || is_nothing(value))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (a, b) if is_nothing(a) => is_nothing(b),
        (a, b) => a == b,
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// Labels, or a map that must look like labels.
pub(crate) fn labels(at: &At<'_>, out: &mut Errors) {
    for (key, value) in at.entries() {
        for message in format::qualified_name(key) {
            out.push(FieldError::invalid(&at.path, key, message));
        }
        for message in format::label_value(value.text()) {
            out.push(FieldError::invalid(&at.path, value.value.clone(), message));
        }
    }
}

/// The bytes that all annotations of an object may take together.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// Annotations.
pub(crate) fn annotations(at: &At<'_>, out: &mut Errors) {
    let mut size = 0;
    for (key, value) in at.entries() {
        size += key.len() + value.text().len();
        for message in format::qualified_name(&key.to_lowercase()) {
            out.push(FieldError::invalid(&at.path, key, message));
        }
    }
    if size > ANNOTATIONS_LIMIT {
        out.push(FieldError::too_long(&at.path, ANNOTATIONS_LIMIT));
    }
}

/// A label selector.
pub(crate) fn selector(at: &At<'_>, out: &mut Errors) {
    labels(&at.get("matchLabels"), out);
    for requirement in at.get("matchExpressions").items() {
        let values = requirement.get("values");
        match requirement.get("operator").text() {
            "In" | "NotIn" if values.len() == 0 => {
                values.required(out, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if values.len() > 0 => {
                values.forbidden(out, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => requirement.get("operator").invalid(out, "not a valid selector operator"),
        }
        label_key(&requirement.get("key"), out);
        for value in values.items() {
            value.each(out, format::label_value(value.text()));
        }
    }
}

/// The key of a label.
pub(crate) fn label_key(at: &At<'_>, out: &mut Errors) {
    for message in format::qualified_name(at.text()) {
        out.push(FieldError::invalid(&at.path, at.text(), message));
    }
}

/// Whether a label selector takes an object with such labels; a malformed one takes none.
pub(crate) fn matches(selector: &Value, labels: &Value) -> bool {
    let at = At::root(selector);
    let equal = at.get("matchLabels").entries().all(|(key, value)| labels.get(key) == Some(value.value));
    equal
        && at.get("matchExpressions").items().all(|requirement| {
            let found = labels.get(requirement.get("key").text());
            let listed =
                || found.is_some_and(|found| requirement.get("values").items().any(|v| v.value == found));
            match requirement.get("operator").text() {
                "In" => listed(),
                "NotIn" => !listed(),
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}

/// Whether a label selector can be used to select at all.
pub(crate) fn is_selector(selector: &Value) -> bool {
    let mut errors = Errors::new();
    self::selector(&At::root(selector), &mut errors);
    errors.is_empty()
}
