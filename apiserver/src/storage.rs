//! Objects in the store: how they are written and read, and consistent reads of one.

use serde_json::Value;
use store::{KeyValue, Revision};

use crate::cache::Entry;
use crate::fault::Fault;
use crate::object;
use crate::resource::Resource;

/// What values in kube-apiserver's protobuf encoding begin with.
const PROTOBUF_MAGIC: &[u8] = b"k8s\0";

/// Reads a stored value, with `resourceVersion` and the defaults of its kind put in.
///
/// # Errors
/// Where the value is none of the encodings that are known.
pub fn decode(resource: &Resource, item: &KeyValue) -> Result<Value, Fault> {
    let mut object: Value = if item.value.starts_with(PROTOBUF_MAGIC) {
        return Err(Fault::internal("values in protobuf cannot be read yet"));
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
pub fn entry(resource: &Resource, path: &str, revision: Revision, object: &Value) -> Entry {
    let (namespace, name) = path.split_once('/').filter(|_| resource.kind.namespaced).unwrap_or(("", path));
    let labels = object::meta_value(object, "labels").and_then(Value::as_object);
    Entry {
        namespace: namespace.into(),
        name: name.into(),
        revision,
        labels: labels
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.as_str().into(), value.as_str()?.into())))
            .collect(),
        fields: resource.behavior.selectable_fields.iter().map(|(_, field)| field(object).into()).collect(),
        json: object::encode(&resource.head, object),
    }
}
