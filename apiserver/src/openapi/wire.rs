//! OpenAPI documents in protobuf, as `gnostic` has them: two tables of messages, and one walk over JSON with them.
//!
//! Those messages wrap much: each choice between two things, each map. A [`Spot`] says in which numbered fields inside
//! each other a value lies.

use serde_json::{Map, Value};

/// A message: its fields by their names in JSON, and where extensions (`x-...`) go, 0 for nowhere.
pub(super) struct Message {
    fields: &'static [(&'static str, u32, Kind)],
    extensions: u32,
}

/// What a field holds.
enum Kind {
    Text,
    Flag,
    /// A scalar by its own type; all else is an empty message.
    Scalar,
    Texts,
    /// The texts in a list, in a message.
    WrappedTexts,
    /// One text in a list in a message.
    WrappedText,
    Anys,
    One(fn(&Value) -> Spot),
    Many(fn(&Value) -> Spot),
    /// A message with pairs in the field of that number.
    Pairs(u32, fn(&Value) -> Spot),
    /// A list of messages with pairs of names and lists of texts.
    Requirements,
}

/// Where a value lies: the numbers of the messages around it, from the outermost in, and the message it is itself.
struct Spot(&'static [u32], &'static Message);

use Kind::{Anys, Flag, Many, One, Pairs, Requirements, Scalar, Text, Texts, WrappedText, WrappedTexts};

const INFO_2: Message = Message { fields: &[("title", 1, Text), ("version", 2, Text)], extensions: 0 };

/// A whole document of version 2.
pub(super) static V2: Message = Message {
    fields: &[
        ("swagger", 1, Text),
        ("info", 2, One(|_| Spot(&[], &INFO_2))),
        ("paths", 8, Pairs(2, |_| Spot(&[], &PATH_2))),
        ("definitions", 9, Pairs(1, |_| Spot(&[], &SCHEMA_2))),
        ("security", 12, Requirements),
        ("securityDefinitions", 13, Pairs(1, |_| Spot(&[2], &KEY_2))),
    ],
    extensions: 16,
};

static KEY_2: Message = Message {
    fields: &[("type", 1, Text), ("name", 2, Text), ("in", 3, Text), ("description", 4, Text)],
    extensions: 5,
};

static PATH_2: Message = Message {
    fields: &[
        ("get", 2, One(|_| Spot(&[], &OPERATION_2))),
        ("put", 3, One(|_| Spot(&[], &OPERATION_2))),
        ("post", 4, One(|_| Spot(&[], &OPERATION_2))),
        ("delete", 5, One(|_| Spot(&[], &OPERATION_2))),
        ("options", 6, One(|_| Spot(&[], &OPERATION_2))),
        ("head", 7, One(|_| Spot(&[], &OPERATION_2))),
        ("patch", 8, One(|_| Spot(&[], &OPERATION_2))),
        ("parameters", 9, Many(parameter_2)),
    ],
    extensions: 10,
};

static OPERATION_2: Message = Message {
    fields: &[
        ("tags", 1, Texts),
        ("description", 3, Text),
        ("operationId", 5, Text),
        ("produces", 6, Texts),
        ("consumes", 7, Texts),
        ("parameters", 8, Many(parameter_2)),
        ("responses", 9, Pairs(1, |_| Spot(&[1], &RESPONSE_2))),
        ("schemes", 10, Texts),
    ],
    extensions: 13,
};

fn parameter_2(value: &Value) -> Spot {
    match value["in"].as_str() {
        Some("body") => Spot(&[1, 1], &BODY_2),
        Some("path") => Spot(&[1, 2, 4], &IN_PATH_2),
        _ => Spot(&[1, 2, 3], &IN_QUERY_2),
    }
}

static BODY_2: Message = Message {
    fields: &[
        ("description", 1, Text),
        ("name", 2, Text),
        ("in", 3, Text),
        ("required", 4, Flag),
        ("schema", 5, One(|_| Spot(&[], &SCHEMA_2))),
    ],
    extensions: 6,
};

static IN_PATH_2: Message = Message {
    fields: &[
        ("required", 1, Flag),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("type", 5, Text),
        ("uniqueItems", 18, Flag),
    ],
    extensions: 22,
};

static IN_QUERY_2: Message = Message {
    fields: &[
        ("required", 1, Flag),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("type", 6, Text),
        ("uniqueItems", 20, Flag),
    ],
    extensions: 23,
};

static RESPONSE_2: Message = Message {
    fields: &[("description", 1, Text), ("schema", 2, One(|_| Spot(&[1], &SCHEMA_2)))],
    extensions: 5,
};

static SCHEMA_2: Message = Message {
    fields: &[
        ("$ref", 1, Text),
        ("format", 2, Text),
        ("description", 4, Text),
        ("required", 19, Texts),
        ("enum", 20, Anys),
        ("additionalProperties", 21, One(|_| Spot(&[1], &SCHEMA_2))),
        ("type", 22, WrappedText),
        ("items", 23, One(|_| Spot(&[1], &SCHEMA_2))),
        ("properties", 25, Pairs(1, |_| Spot(&[], &SCHEMA_2))),
    ],
    extensions: 31,
};

static INFO_3: Message = Message { fields: &[("title", 1, Text), ("version", 6, Text)], extensions: 0 };

/// A whole document of version 3.
pub(super) static V3: Message = Message {
    fields: &[
        ("openapi", 1, Text),
        ("info", 2, One(|_| Spot(&[], &INFO_3))),
        ("paths", 4, Pairs(1, |_| Spot(&[], &PATH_3))),
        ("components", 5, One(|_| Spot(&[], &COMPONENTS_3))),
    ],
    extensions: 9,
};

static COMPONENTS_3: Message = Message {
    fields: &[("schemas", 1, Pairs(1, schema_3)), ("securitySchemes", 7, Pairs(1, |_| Spot(&[1], &KEY_3)))],
    extensions: 10,
};

static KEY_3: Message = Message {
    fields: &[("type", 1, Text), ("description", 2, Text), ("name", 3, Text), ("in", 4, Text)],
    extensions: 9,
};

static PATH_3: Message = Message {
    fields: &[
        ("get", 4, One(|_| Spot(&[], &OPERATION_3))),
        ("put", 5, One(|_| Spot(&[], &OPERATION_3))),
        ("post", 6, One(|_| Spot(&[], &OPERATION_3))),
        ("delete", 7, One(|_| Spot(&[], &OPERATION_3))),
        ("options", 8, One(|_| Spot(&[], &OPERATION_3))),
        ("head", 9, One(|_| Spot(&[], &OPERATION_3))),
        ("patch", 10, One(|_| Spot(&[], &OPERATION_3))),
        ("parameters", 13, Many(|_| Spot(&[1], &PARAMETER_3))),
    ],
    extensions: 14,
};

static OPERATION_3: Message = Message {
    fields: &[
        ("tags", 1, Texts),
        ("description", 3, Text),
        ("operationId", 5, Text),
        ("parameters", 6, Many(|_| Spot(&[1], &PARAMETER_3))),
        ("requestBody", 7, One(|_| Spot(&[1], &REQUEST_3))),
        ("responses", 8, Pairs(2, |_| Spot(&[1], &RESPONSE_3))),
    ],
    extensions: 13,
};

static PARAMETER_3: Message = Message {
    fields: &[
        ("name", 1, Text),
        ("in", 2, Text),
        ("description", 3, Text),
        ("required", 4, Flag),
        ("schema", 10, One(schema_3)),
    ],
    extensions: 14,
};

static REQUEST_3: Message = Message {
    fields: &[("content", 2, Pairs(1, |_| Spot(&[], &MEDIA_3))), ("required", 3, Flag)],
    extensions: 4,
};

static RESPONSE_3: Message = Message {
    fields: &[("description", 1, Text), ("content", 3, Pairs(1, |_| Spot(&[], &MEDIA_3)))],
    extensions: 5,
};

static MEDIA_3: Message = Message { fields: &[("schema", 1, One(schema_3))], extensions: 5 };

fn schema_3(value: &Value) -> Spot {
    if value.get("$ref").is_some() { Spot(&[2], &REFERENCE_3) } else { Spot(&[1], &SCHEMA_3) }
}

fn item_3(value: &Value) -> Spot {
    if value.get("$ref").is_some() { Spot(&[1, 2], &REFERENCE_3) } else { Spot(&[1, 1], &SCHEMA_3) }
}

static REFERENCE_3: Message = Message { fields: &[("$ref", 1, Text)], extensions: 0 };

static SCHEMA_3: Message = Message {
    fields: &[
        ("uniqueItems", 20, Flag),
        ("required", 23, Texts),
        ("enum", 24, Anys),
        ("type", 25, Text),
        ("allOf", 26, Many(schema_3)),
        ("oneOf", 27, Many(schema_3)),
        ("items", 30, One(item_3)),
        ("properties", 31, Pairs(1, schema_3)),
        ("additionalProperties", 32, One(item_3)),
        ("default", 33, Scalar),
        ("description", 34, Text),
        ("format", 35, Text),
    ],
    extensions: 36,
};

/// A piece of a document: the field of `message` that `path` leads to, one pair of it. Pieces one after another are
/// what the whole is, for protobuf joins messages that come in parts.
pub(super) fn piece(message: &'static Message, path: &[&str], name: &str, value: &Value, out: &mut Vec<u8>) {
    let Some((first, rest)) = path.split_first() else { return };
    let Some((_, number, kind)) = message.fields.iter().find(|(known, _, _)| known == first) else { return };
    match kind {
        Pairs(inner, spot) => nested(*number, out, |out| pair(*inner, name, &spot(value), value, out)),
        One(spot) => nested(*number, out, |out| piece(spot(value).1, rest, name, value, out)),
        _ => {}
    }
}

/// A message with all its fields.
pub(super) fn encode(message: &Message, value: &Value, out: &mut Vec<u8>) {
    let Value::Object(object) = value else { return };
    for (name, number, kind) in message.fields {
        if let Some(value) = object.get(*name) {
            field(*number, kind, value, out);
        }
    }
    if message.extensions > 0 {
        for (name, value) in object.iter().filter(|(name, _)| name.starts_with("x-")) {
            nested(message.extensions, out, |out| {
                text(1, name, out);
                nested(2, out, |out| any(value, out));
            });
        }
    }
}

fn field(number: u32, kind: &Kind, value: &Value, out: &mut Vec<u8>) {
    let texts = || value.as_array().into_iter().flatten().filter_map(Value::as_str);
    match kind {
        Text => text(number, value.as_str().unwrap_or_default(), out),
        Flag => flag(number, value, out),
        Scalar => nested(number, out, |out| scalar(value, out)),
        Texts => texts().for_each(|one| bytes(number, one.as_bytes(), out)),
        WrappedTexts => nested(number, out, |out| texts().for_each(|one| bytes(1, one.as_bytes(), out))),
        WrappedText => nested(number, out, |out| text(1, value.as_str().unwrap_or_default(), out)),
        Anys => {
            value.as_array().into_iter().flatten().for_each(|one| nested(number, out, |out| any(one, out)))
        }
        One(spot) => nested(number, out, |out| spotted(&spot(value), value, out)),
        Many(spot) => {
            let all = value.as_array().into_iter().flatten();
            all.for_each(|one| nested(number, out, |out| spotted(&spot(one), one, out)));
        }
        Pairs(inner, spot) => nested(number, out, |out| {
            for (name, value) in value.as_object().into_iter().flat_map(Map::iter) {
                pair(*inner, name, &spot(value), value, out);
            }
        }),
        Requirements => {
            for (name, scopes) in
                value.as_array().into_iter().flatten().filter_map(Value::as_object).flatten()
            {
                nested(number, out, |out| {
                    nested(1, out, |out| {
                        text(1, name, out);
                        field(2, &WrappedTexts, scopes, out);
                    });
                });
            }
        }
    }
}

fn pair(number: u32, name: &str, spot: &Spot, value: &Value, out: &mut Vec<u8>) {
    nested(number, out, |out| {
        text(1, name, out);
        nested(2, out, |out| spotted(spot, value, out));
    });
}

fn spotted(spot: &Spot, value: &Value, out: &mut Vec<u8>) {
    match spot.0.split_first() {
        Some((number, rest)) => nested(*number, out, |out| spotted(&Spot(rest, spot.1), value, out)),
        None => encode(spot.1, value, out),
    }
}

/// JSON is YAML, which is what these messages hold.
fn any(value: &Value, out: &mut Vec<u8>) {
    text(2, &value.to_string(), out);
}

fn scalar(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Number(number) => {
            out.push(1 << 3 | 1);
            out.extend(number.as_f64().unwrap_or_default().to_le_bytes());
        }
        Value::Bool(value) => out.extend([2 << 3, u8::from(*value)]),
        Value::String(value) => bytes(3, value.as_bytes(), out),
        _ => {}
    }
}

fn flag(number: u32, value: &Value, out: &mut Vec<u8>) {
    if value.as_bool().unwrap_or_default() {
        varint(u64::from(number) << 3, out);
        out.push(1);
    }
}

fn text(number: u32, text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() {
        bytes(number, text.as_bytes(), out);
    }
}

fn nested(number: u32, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    fill(&mut inner);
    bytes(number, &inner, out);
}

fn bytes(number: u32, value: &[u8], out: &mut Vec<u8>) {
    varint(u64::from(number) << 3 | 2, out);
    varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_inside_each_other() {
        let mut out = Vec::new();
        encode(&V2, &json!({"swagger": "2.0", "definitions": {"a": {"type": "string"}}}), &mut out);
        let expected = [
            b"\x0a\x032.0".as_slice(),
            // definitions, a pair, its name, its value, the type, in a message of its own.
            b"\x4a\x12\x0a\x10\x0a\x01a\x12\x0b\xb2\x01\x08\x0a\x06string",
        ];
        assert_eq!(out, expected.concat());
        let mut parts = Vec::new();
        piece(&V2, &["definitions"], "a", &json!({"type": "string"}), &mut parts);
        assert_eq!(parts, expected[1]);
    }
}
