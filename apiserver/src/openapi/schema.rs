//! The schema of a message of the API, as OpenAPI v3 has it.

use std::collections::BTreeMap;

use proto::field::{Card, Field, List, Message, Shape, Type};
use serde_json::{Map, Value, json};

use super::words::{Record, Words};

/// What stands before the name of a definition in a reference.
pub(super) const COMPONENTS: &str = "#/components/schemas/";

/// Fields of which one is set: the message, the field that says which, the others by their names in JSON and in Go.
type Union = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// The messages of which all but one field stay empty.
const UNIONS: &[Union] = &[
    ("k8s.io.api.core.v1.AppArmorProfile", "type", &[("localhostProfile", "LocalhostProfile")]),
    ("k8s.io.api.core.v1.PodSchedulingGroup", "", &[("podGroupName", "PodGroupName")]),
    ("k8s.io.api.core.v1.SeccompProfile", "type", &[("localhostProfile", "LocalhostProfile")]),
    ("k8s.io.api.flowcontrol.v1.LimitResponse", "type", &[("queuing", "Queuing")]),
    (
        "k8s.io.api.flowcontrol.v1.PriorityLevelConfigurationSpec",
        "type",
        &[("exempt", "Exempt"), ("limited", "Limited")],
    ),
    (
        "k8s.io.api.flowcontrol.v1.Subject",
        "kind",
        &[("group", "Group"), ("serviceAccount", "ServiceAccount"), ("user", "User")],
    ),
];

/// Fields that are owned in parts though what they hold is owned as a whole, or that say so in so many words.
const GRANULAR: &[&str] = &["allocatedResourceStatuses", "claimRef"];

/// Messages that clients look for in every group.
const EVERYWHERE: &[&str] = &["DeleteOptions", "WatchEvent"];

/// The name of a message's definition: its domain is written backwards.
pub(super) fn definition(message: &Message) -> String {
    let name = message.name();
    match name.strip_prefix("k8s.io.") {
        Some(rest) => format!("io.k8s.{}", rest.replace('_', "-")),
        None => name.to_owned(),
    }
}

/// A reference to a message's definition.
pub(super) fn reference(message: &Message) -> Value {
    json!({"$ref": format!("{COMPONENTS}{}", definition(message))})
}

/// These messages and all that they are made of, by the names of their definitions.
pub(super) fn reachable(roots: &[&'static Message]) -> BTreeMap<String, &'static Message> {
    let mut found = BTreeMap::new();
    let mut waiting = roots.to_vec();
    while let Some(message) = waiting.pop() {
        if message.shape() == Shape::Strings || found.insert(definition(message), message).is_some() {
            continue;
        }
        if message.shape() == Shape::Plain {
            waiting.extend(properties(message).filter_map(Field::message));
        }
    }
    found
}

/// The fields of a message as JSON has them, those of what is inline among them.
fn properties(message: &'static Message) -> Box<dyn Iterator<Item = &'static Field>> {
    Box::new(message.fields().iter().flat_map(|field| -> Box<dyn Iterator<Item = &'static Field>> {
        match field.message() {
            Some(inline) if field.card() == Card::Inline => properties(inline),
            _ => Box::new(std::iter::once(field)),
        }
    }))
}

/// The schema of a message. `versions` are the groups and versions that share the kinds of all groups.
pub(super) fn schema(message: &'static Message, words: &Words, versions: &[(&str, &str)]) -> Value {
    let record = words.of(&definition(message));
    let mut schema = Map::new();
    if !record.own().is_empty() {
        schema.insert("description".into(), record.own().into());
    }
    match message.shape() {
        Shape::Plain => {
            schema.insert("type".into(), "object".into());
            object(message, record, words, &mut schema);
        }
        // Of what may be anything, this alone is always an object.
        Shape::Raw if message.short_name() == "FieldsV1" => schema.extend(leaf(Shape::RawExtension)),
        shape => schema.extend(leaf(shape)),
    }
    let kinds = kinds(message, versions);
    if !kinds.is_empty() {
        schema.insert("x-kubernetes-group-version-kind".into(), kinds.into());
    }
    schema.into()
}

/// What is said of a message that is no object of fields.
fn leaf(shape: Shape) -> Map<String, Value> {
    let schema = match shape {
        Shape::Time | Shape::MicroTime => json!({"type": "string", "format": "date-time"}),
        Shape::Duration => json!({"type": "string"}),
        Shape::Quantity => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        Shape::IntOrString => {
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        Shape::RawExtension => json!({"type": "object"}),
        Shape::Strings => json!({"type": "array", "items": {"type": "string"}}),
        Shape::Plain | Shape::Raw | Shape::SchemaOrBool | Shape::SchemaOrArray | Shape::SchemaOrStrings => {
            json!({})
        }
    };
    if let Value::Object(schema) = schema { schema } else { Map::new() }
}

fn object(message: &'static Message, record: Record<'_>, words: &Words, schema: &mut Map<String, Value>) {
    let mut all = Map::new();
    let mut required = Vec::new();
    if message.has_type_meta() {
        let shared = words.of("io.k8s.api.core.v1.Namespace");
        for name in ["apiVersion", "kind"] {
            let description =
                [record.field(name), shared.field(name)].into_iter().find(|text| !text.is_empty());
            all.insert(name.into(), described(description.unwrap_or_default(), json!({"type": "string"})));
        }
    }
    for field in properties(message) {
        let description = match record.field(field.json()) {
            "" => undescribed(message, field),
            description => description,
        };
        all.insert(field.json().into(), property(field, description));
        if field.is_required() {
            required.push(field.json());
        }
    }
    if !required.is_empty() {
        schema.insert("required".into(), required.into());
    }
    if !all.is_empty() {
        schema.insert("properties".into(), all.into());
    }
    if message.is_atomic() {
        schema.insert("x-kubernetes-map-type".into(), "atomic".into());
    }
    if let Some(union) = UNIONS.iter().find(|(name, _, _)| *name == message.name()) {
        schema.insert("x-kubernetes-unions".into(), json!([one_of(union.1, union.2)]));
    }
}

/// What the sources have no words for.
fn undescribed(message: &Message, field: &Field) -> &'static str {
    let (name, is_list) = (message.short_name(), message.short_name().ends_with("List"));
    match field.json() {
        "items" if is_list => "The objects.",
        "metadata" if is_list => "Standard list metadata.",
        "object" if name == "WatchEvent" => "The object after the change, or what went wrong.",
        _ => "",
    }
}

fn one_of(discriminator: &str, fields: &[(&str, &str)]) -> Value {
    let fields: Map<String, Value> = fields.iter().map(|(json, go)| ((*json).into(), (*go).into())).collect();
    if discriminator.is_empty() {
        return json!({"fields-to-discriminateBy": fields});
    }
    json!({"discriminator": discriminator, "fields-to-discriminateBy": fields})
}

fn described(description: &str, mut schema: Value) -> Value {
    if !description.is_empty() {
        schema["description"] = description.into();
    }
    schema
}

/// What one value of a field is.
fn value(field: &Field) -> Value {
    match (field.kind(), field.message()) {
        (Type::Nested, Some(message)) if message.shape() == Shape::Strings => leaf(Shape::Strings).into(),
        (Type::Nested, Some(message)) => reference(message),
        (Type::Text | Type::Nested, _) => json!({"type": "string"}),
        (Type::Int32, _) => json!({"type": "integer", "format": "int32"}),
        (Type::Int64, _) => json!({"type": "integer", "format": "int64"}),
        (Type::Bool, _) => json!({"type": "boolean"}),
        (Type::Double, _) => json!({"type": "number", "format": "double"}),
        (Type::Bytes, _) => json!({"type": "string", "format": "byte"}),
    }
}

fn property(field: &Field, description: &str) -> Value {
    let mut extra = extensions(field);
    if !description.is_empty() {
        extra.insert("description".into(), description.into());
    }
    if let Some(default) = default(field) {
        extra.insert("default".into(), default);
    }
    let mut one = value(field);
    if field.values().len() > 0 {
        let values: Vec<&str> = field.values().collect();
        one["enum"] = values.into();
    }
    let mut schema = match field.card() {
        Card::Many => json!({"type": "array", "items": one}),
        Card::Map => json!({"type": "object", "additionalProperties": one}),
        _ => one,
    };
    if schema.get("$ref").is_some() && !extra.is_empty() {
        // Nothing may stand beside a reference.
        schema = json!({"allOf": [schema]});
    }
    if let Value::Object(schema) = &mut schema {
        schema.extend(extra);
    }
    schema
}

/// What a field is where nobody says: its own default, or Go's, where Go writes it always.
fn default(field: &Field) -> Option<Value> {
    if !field.default().is_empty() {
        return serde_json::from_str(field.default()).ok();
    }
    if field.card() != Card::One {
        return None;
    }
    match (field.kind(), field.message().map(Message::shape)) {
        (Type::Nested, Some(Shape::Plain)) => Some(json!({})),
        (Type::Nested | Type::Bytes, _) => None,
        _ if field.omits_empty() => None,
        (Type::Text, _) => Some("".into()),
        (Type::Int32 | Type::Int64 | Type::Double, _) => Some(0.into()),
        (Type::Bool, _) => Some(false.into()),
    }
}

/// What is said of a field for patches and for server-side apply.
fn extensions(field: &Field) -> Map<String, Value> {
    let mut extra = Map::new();
    let list = match field.list() {
        List::Whole => None,
        List::Atomic => Some("atomic"),
        List::Set => Some("set"),
        List::Keyed => Some("map"),
    };
    if let Some(list) = list {
        extra.insert("x-kubernetes-list-type".into(), list.into());
    }
    let keys: Vec<&str> = field.list_keys().collect();
    if !keys.is_empty() {
        extra.insert("x-kubernetes-list-map-keys".into(), keys.into());
    }
    if field.is_marked_atomic() {
        extra.insert("x-kubernetes-map-type".into(), "atomic".into());
    } else if GRANULAR.contains(&field.json()) {
        extra.insert("x-kubernetes-map-type".into(), "granular".into());
    }
    if !field.merge_key().is_empty() {
        extra.insert("x-kubernetes-patch-merge-key".into(), field.merge_key().into());
    }
    let strategies =
        [(field.merges(), "merge"), (field.replaces(), "replace"), (field.retains_keys(), "retainKeys")];
    let strategies: Vec<&str> = strategies.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect();
    if !strategies.is_empty() {
        extra.insert("x-kubernetes-patch-strategy".into(), strategies.join(",").into());
    }
    extra
}

fn kinds(message: &Message, versions: &[(&str, &str)]) -> Vec<Value> {
    let row =
        |group: &str, version: &str, kind: &str| json!({"group": group, "kind": kind, "version": version});
    if EVERYWHERE.contains(&message.short_name()) {
        let rows = versions.iter().map(|(group, version)| row(group, version, message.short_name()));
        return rows.collect();
    }
    // What all groups share belongs to the core group here.
    let shared = |group| if group == "meta.k8s.io" { "" } else { group };
    message.kind().map(|(group, version, kind)| row(shared(group), version, kind)).into_iter().collect()
}
