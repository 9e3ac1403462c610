//! The watch cache: every object once, as encoded bytes with what is selected on beside them.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

/// One object, as it was at one revision. Cheap to share, never changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The namespace, or empty.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Box<str>,
    /// Its revision, which is its `metadata.resourceVersion`.
    pub revision: store::Revision,
    /// Its labels, by key.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// The values of the kind's selectable fields, in the order of `Behavior::selectable_fields`.
    pub fields: Box<[Box<str>]>,
    /// The whole object as JSON, in its stored version, `resourceVersion` included.
    pub json: Bytes,
}

impl Entry {
    /// The object as a value.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.json).unwrap_or_default()
    }

    /// The object as any type that reads JSON; narrow structs with only the fields wanted are cheapest.
    ///
    /// # Errors
    /// Where the object does not have the type's shape.
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.json)
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(k, _)| &**k == key).map(|(_, value)| &**value)
    }
}
