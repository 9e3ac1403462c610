//! Label selectors and field selectors: read from a query or from an object, and matched.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

mod field;
mod parse;
#[cfg(test)]
mod tests;

pub use field::{FieldSelector, Term};

use crate::name::{label_key_errors, label_value_errors};

/// Why a selector was refused, in upstream's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

/// Anything that has labels.
pub trait Labels {
    /// The value of a label, if it is there.
    fn label(&self, key: &str) -> Option<&str>;
}

/// A label selector: all its requirements must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// What must hold, ordered by key; `None` selects nothing at all.
    requirements: Option<Vec<Requirement>>,
}

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    operator: Operator,
    /// Ordered, each once.
    values: Vec<String>,
}

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// Its value is among those given.
    In,
    /// It is absent, or its value is not among those given.
    NotIn,
    /// Its value is the one given, as in `a=b`.
    Equals,
    /// Its value is the one given, as in `a==b`.
    DoubleEquals,
    /// It is absent or its value is another.
    NotEquals,
    /// It is there.
    Exists,
    /// It is absent.
    DoesNotExist,
    /// Its value is an integer above the one given.
    GreaterThan,
    /// Its value is an integer below the one given.
    LessThan,
}

impl Selector {
    /// Selects every object.
    pub const fn everything() -> Self {
        Self { requirements: Some(Vec::new()) }
    }

    /// Selects no object.
    pub const fn nothing() -> Self {
        Self { requirements: None }
    }

    /// Reads the `labelSelector` of a query.
    pub fn parse(text: &str) -> Result<Self, Error> {
        parse::selector(text).map(Self::of)
    }

    /// Selects what meets all of the requirements.
    pub fn of(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements: Some(requirements) }
    }

    /// Reads a `LabelSelector` object; null or absent selects nothing, an empty one everything.
    pub fn from_json(value: &Value) -> Result<Self, Error> {
        if value.is_null() {
            return Ok(Self::nothing());
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut requirements = Vec::new();
        for (key, value) in value["matchLabels"].as_object().into_iter().flatten() {
            requirements.push(Requirement::new(key.clone(), Operator::Equals, vec![text(value)])?);
        }
        for row in value["matchExpressions"].as_array().into_iter().flatten() {
            let operator = match row["operator"].as_str().unwrap_or_default() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(Error(format!("{other:?} is not a valid label selector operator"))),
            };
            let values = row["values"].as_array().into_iter().flatten().map(text).collect();
            requirements.push(Requirement::new(text(&row["key"]), operator, values)?);
        }
        Ok(Self::of(requirements))
    }

    /// Reads a plain map of labels that must all be equal, as in a Service or a ReplicationController.
    pub fn from_labels<K: AsRef<str>, V: AsRef<str>>(labels: impl IntoIterator<Item = (K, V)>) -> Self {
        let equal = |(key, value): (K, V)| Requirement {
            key: key.as_ref().to_owned(),
            operator: Operator::Equals,
            values: vec![value.as_ref().to_owned()],
        };
        Self::of(labels.into_iter().map(equal).collect())
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        self.requirements.as_ref().is_some_and(|all| all.iter().all(|one| one.matches(labels)))
    }

    /// Whether it selects every object.
    pub fn is_everything(&self) -> bool {
        self.requirements.as_ref().is_some_and(Vec::is_empty)
    }

    /// What must hold, ordered by key; nothing can be told of a selector of nothing.
    pub fn requirements(&self) -> &[Requirement] {
        self.requirements.as_deref().unwrap_or_default()
    }
}

impl Requirement {
    /// A condition, checked as upstream checks it.
    pub fn new(key: String, operator: Operator, mut values: Vec<String>) -> Result<Self, Error> {
        let mut errors = Vec::new();
        let key_errors = label_key_errors(&key);
        if !key_errors.is_empty() {
            errors.push(invalid("key", &key, &key_errors.join("; ")));
        }
        values.sort();
        values.dedup();
        let listed =
            format!("[{}]", values.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join(","));
        let wrong = match (operator, values.len()) {
            (Operator::In | Operator::NotIn, 0) => {
                Some("for 'in', 'notin' operators, values set can't be empty")
            }
            (Operator::Equals | Operator::DoubleEquals | Operator::NotEquals, 1) => None,
            (Operator::Equals | Operator::DoubleEquals | Operator::NotEquals, _) => {
                Some("exact-match compatibility requires one single value")
            }
            (Operator::Exists | Operator::DoesNotExist, 1..) => {
                Some("values set must be empty for exists and does not exist")
            }
            (Operator::GreaterThan | Operator::LessThan, 0 | 2..) => {
                Some("for 'Gt', 'Lt' operators, exactly one value is required")
            }
            _ => None,
        };
        errors.extend(wrong.map(|wrong| format!("values: Invalid value: {listed}: {wrong}")));
        for (at, value) in values.iter().enumerate() {
            let ordering = matches!(operator, Operator::GreaterThan | Operator::LessThan);
            if ordering && value.parse::<i64>().is_err() {
                let wrong = "for 'Gt', 'Lt' operators, the value must be an integer";
                errors.push(invalid(&format!("values[{at}]"), value, wrong));
            }
            let value_errors = label_value_errors(value);
            if !value_errors.is_empty() {
                errors.push(invalid(&format!("values[{at}][{key}]"), value, &value_errors.join("; ")));
            }
        }
        match errors.as_slice() {
            [] => Ok(Self { key, operator, values }),
            [one] => Err(Error(one.clone())),
            many => Err(Error(format!("[{}]", many.join(", ")))),
        }
    }

    /// Whether an object with these labels meets it.
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        let value = labels.label(&self.key);
        let among = |value: &str| self.values.iter().any(|one| one == value);
        let numbers = || Some((value?.parse::<i64>().ok()?, self.values.first()?.parse::<i64>().ok()?));
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => value.is_some_and(among),
            Operator::NotIn | Operator::NotEquals => !value.is_some_and(among),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => numbers().is_some_and(|(label, bound)| label > bound),
            Operator::LessThan => numbers().is_some_and(|(label, bound)| label < bound),
        }
    }

    /// The label it is about.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How the label is compared.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// What it is compared with, ordered.
    pub fn values(&self) -> &[String] {
        &self.values
    }
}

impl fmt::Display for Selector {
    /// The text that reads as the same selector.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, one) in self.requirements().iter().enumerate() {
            write!(out, "{}{one}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, values) = (&self.key, self.values.join(","));
        match self.operator {
            Operator::In => write!(out, "{key} in ({values})"),
            Operator::NotIn => write!(out, "{key} notin ({values})"),
            Operator::Equals => write!(out, "{key}={values}"),
            Operator::DoubleEquals => write!(out, "{key}=={values}"),
            Operator::NotEquals => write!(out, "{key}!={values}"),
            Operator::Exists => write!(out, "{key}"),
            Operator::DoesNotExist => write!(out, "!{key}"),
            Operator::GreaterThan => write!(out, "{key}>{values}"),
            Operator::LessThan => write!(out, "{key}<{values}"),
        }
    }
}

impl Labels for BTreeMap<String, String> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl Labels for BTreeMap<Cow<'_, str>, Cow<'_, str>> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(AsRef::as_ref)
    }
}

impl Labels for [(&str, &str)] {
    fn label(&self, key: &str) -> Option<&str> {
        self.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }
}

impl Labels for [(String, String)] {
    fn label(&self, key: &str) -> Option<&str> {
        self.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

impl Labels for serde_json::Map<String, Value> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }
}

impl Labels for Value {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Self::as_str)
    }
}

impl<L: Labels> Labels for Option<L> {
    fn label(&self, key: &str) -> Option<&str> {
        self.as_ref().and_then(|labels| labels.label(key))
    }
}

fn invalid(path: &str, value: &str, wrong: &str) -> String {
    format!("{path}: Invalid value: {value:?}: {wrong}")
}
