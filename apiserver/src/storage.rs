//! Objects in the store: how they are written and read, and consistent reads of one.

use proto::codec;
use serde_json::Value;
use store::{KeyValue, Revision};

use crate::cache::Entry;
use crate::fault::Fault;
use crate::object;
use crate::resource::Resource;

/// Reads a stored value, with `resourceVersion` and the defaults of its kind put in.
///
/// # Errors
/// Where the value is in none of the encodings that are known.
pub fn decode(resource: &Resource, item: &KeyValue) -> Result<Value, Fault> {
    let kind = resource.kind;
    let mut object: Value = if item.value.starts_with(&codec::MAGIC) {
        let envelope = codec::unwrap(&item.value).map_err(Fault::internal)?;
        let same = envelope.kind == kind.kind && envelope.api_version == kind.api_version();
        let json = if same {
            codec::proto_to_json(kind.message, envelope.raw, Some((envelope.api_version, envelope.kind)))
        } else {
            codec::decode(&item.value)
        };
        serde_json::from_slice(&json.map_err(Fault::internal)?).map_err(Fault::internal)?
    } else {
        serde_json::from_slice(&item.value).map_err(Fault::internal)?
    };
    (resource.behavior.default)(&mut object);
    set_revision(&mut object, item.mod_revision);
    Ok(object)
}

/// Puts in the revision an object was read at.
pub fn set_revision(object: &mut Value, revision: Revision) {
    object::set_meta(object, "resourceVersion", Some(revision.to_string().into()));
}

/// The cache's entry of an object.
///
/// # Errors
/// Where the object does not have its kind's shape.
pub fn entry(resource: &Resource, path: &str, revision: Revision, object: &Value) -> Result<Entry, Fault> {
    let (namespace, name) = path.split_once('/').filter(|_| resource.kind.namespaced).unwrap_or(("", path));
    let labels = object::meta_value(object, "labels").and_then(Value::as_object);
    Ok(Entry {
        namespace: namespace.into(),
        name: name.into(),
        revision,
        labels: labels
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.as_str().into(), value.as_str()?.into())))
            .collect(),
        fields: resource.behavior.selectable_fields.iter().map(|(_, field)| field(object).into()).collect(),
        json: object::encode(resource.kind, object)?,
    })
}
