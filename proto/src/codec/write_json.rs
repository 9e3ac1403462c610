//! From the tree to JSON, as Go's encoder writes it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::MAGIC;
use super::tree::{API_VERSION, KIND, Node, Struct};
use super::write_proto::schema_of;
use crate::field::{Card, Field, Message, Shape, Type};
use crate::time;

/// The JSON of an object.
pub(super) fn object(message: &Message, object: &Struct<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    write(&mut out, message, object);
    out
}

fn write(out: &mut Vec<u8>, message: &Message, object: &Struct<'_>) {
    out.push(b'{');
    for (name, place) in [("kind", KIND), ("apiVersion", API_VERSION)] {
        if let Some(Node::Text(value)) = object.get(place).filter(|node| !is_zero(node)) {
            key(out, name);
            text(out, value);
        }
    }
    fields(out, message, object);
    out.push(b'}');
}

fn fields(out: &mut Vec<u8>, message: &Message, object: &Struct<'_>) {
    for (place, field) in message.fields().iter().enumerate() {
        let node = object.get(place as u16);
        if let (Card::Inline, Some(inner)) = (field.card(), field.message()) {
            match node {
                Some(Node::Struct(part)) => fields(out, inner, part),
                _ => fields(out, inner, &Struct::default()),
            }
        } else if !omitted(field, node) {
            key(out, field.json());
            slot(out, field, node);
        }
    }
}

/// Whether Go leaves the field out.
fn omitted(field: &Field, node: Option<&Node<'_>>) -> bool {
    let node = node.filter(|node| !is_zero(node) || field.card() == Card::Pointer);
    let is_struct =
        field.card() == Card::One && field.message().is_some_and(|message| message.shape() != Shape::Strings);
    match (field.omits_empty(), node) {
        (false, _) => false,
        _ if is_struct => field.omits_zero() && node.is_none(),
        (true, None) => true,
        (true, Some(Node::Many(list))) => list.is_empty(),
        (true, Some(Node::Map(map))) => map.is_empty(),
        (true, Some(Node::Bytes(bytes))) => bytes.is_empty(),
        (true, Some(_)) => false,
    }
}

fn slot(out: &mut Vec<u8>, field: &Field, node: Option<&Node<'_>>) {
    match (field.card(), node) {
        (Card::Many, Some(Node::Many(list))) => {
            separated(out, b'[', b']', list, |out, node| value(out, field, node));
        }
        (Card::Map, Some(Node::Map(map))) => separated(out, b'{', b'}', map, |out, (name, node)| {
            text(out, name);
            out.push(b':');
            value(out, field, node);
        }),
        (Card::Many | Card::Map | Card::Pointer, None) => out.extend(b"null"),
        (Card::One, None) if field.kind() == Type::Bytes => out.extend(b"null"),
        (_, node) => value(out, field, node.unwrap_or(&Node::Zero)),
    }
}

fn value(out: &mut Vec<u8>, field: &Field, node: &Node<'_>) {
    match (field.kind(), node) {
        (Type::Nested, node) => match field.message() {
            Some(message) => leaf(out, message, node),
            None => out.extend(b"null"),
        },
        (Type::Text, Node::Text(value)) => text(out, value),
        (Type::Text, _) => out.extend(b"\"\""),
        (Type::Int32 | Type::Int64, Node::Int(value)) => out.extend(value.to_string().bytes()),
        (Type::Int32 | Type::Int64, _) => out.push(b'0'),
        (Type::Bool, node) => out.extend(if *node == Node::Bool(true) { &b"true"[..] } else { b"false" }),
        (Type::Double, Node::Double(value)) => double(out, *value),
        (Type::Double, _) => out.push(b'0'),
        (Type::Bytes, Node::Bytes(bytes)) => {
            out.push(b'"');
            out.extend(STANDARD.encode(bytes).bytes());
            out.push(b'"');
        }
        (Type::Bytes, _) => out.extend(b"null"),
    }
}

/// A message, by its shape.
fn leaf(out: &mut Vec<u8>, message: &Message, node: &Node<'_>) {
    match (message.shape(), node) {
        (Shape::Plain, Node::Struct(object)) => write(out, message, object),
        (Shape::Plain, _) => write(out, message, &Struct::default()),
        (Shape::Time | Shape::MicroTime, Node::Time(seconds, nanos)) => {
            text(out, &time::format(*seconds, *nanos, message.shape() == Shape::MicroTime));
        }
        (Shape::Duration, node) => {
            text(out, &time::format_duration(if let Node::Int(nanos) = node { *nanos } else { 0 }));
        }
        (Shape::Quantity | Shape::IntOrString, Node::Text(value)) => text(out, value),
        (Shape::Quantity, _) => out.extend(b"\"0\""),
        (Shape::IntOrString, Node::Int(value)) => out.extend(value.to_string().bytes()),
        (Shape::IntOrString, _) => out.push(b'0'),
        (Shape::Raw | Shape::RawExtension, Node::Raw(bytes)) => raw(out, bytes),
        (Shape::SchemaOrBool, Node::Bool(true)) => out.extend(b"true"),
        (Shape::SchemaOrBool, Node::Bool(false) | Node::Zero) => out.extend(b"false"),
        (Shape::SchemaOrBool | Shape::SchemaOrArray | Shape::SchemaOrStrings, Node::Struct(object)) => {
            schema(out, message, object);
        }
        (Shape::SchemaOrArray | Shape::SchemaOrStrings, Node::Many(list)) if list.is_empty() => {
            out.extend(b"null")
        }
        (Shape::SchemaOrArray | Shape::SchemaOrStrings | Shape::Strings, Node::Many(list)) => {
            separated(out, b'[', b']', list, |out, node| match node {
                Node::Text(value) => text(out, value),
                Node::Struct(object) => schema(out, message, object),
                _ => out.extend(b"null"),
            });
        }
        _ => out.extend(b"null"),
    }
}

fn schema(out: &mut Vec<u8>, around: &Message, object: &Struct<'_>) {
    match schema_of(around) {
        Some(message) => write(out, message, object),
        None => out.extend(b"null"),
    }
}

/// JSON as it was read, without its space and escaped as Go escapes; an object in an envelope as JSON.
fn raw(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.starts_with(&MAGIC) {
        // Each envelope is inside the one around it, so the nesting ends with the bytes.
        match super::decode(bytes) {
            Ok(json) => out.extend(json),
            Err(_) => out.extend(b"null"),
        }
        return;
    }
    let (mut in_text, mut escaped, mut rest) = (false, false, bytes);
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' if !in_text => continue,
            b'<' | b'>' | b'&' if in_text => {
                out.extend(format!("\\u{byte:04x}").bytes());
                escaped = false;
                continue;
            }
            0xe2 if in_text && (after.starts_with(&[0x80, 0xa8]) || after.starts_with(&[0x80, 0xa9])) => {
                out.extend(if after[1] == 0xa8 { b"\\u2028" } else { b"\\u2029" });
                rest = &after[2..];
                continue;
            }
            b'"' if !escaped => in_text = !in_text,
            _ => {}
        }
        escaped = in_text && *byte == b'\\' && !escaped;
        out.push(*byte);
    }
}

fn key(out: &mut Vec<u8>, name: &str) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    text(out, name);
    out.push(b':');
}

fn separated<T>(out: &mut Vec<u8>, open: u8, close: u8, items: &[T], mut one: impl FnMut(&mut Vec<u8>, &T)) {
    out.push(open);
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        one(out, item);
    }
    out.push(close);
}

/// A text with the escapes that Go uses.
fn text(out: &mut Vec<u8>, value: &str) {
    out.push(b'"');
    let bytes = value.as_bytes();
    let mut start = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            0x08 => "\\b",
            0x0c => "\\f",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            b'<' => "\\u003c",
            b'>' => "\\u003e",
            b'&' => "\\u0026",
            0x00..0x20 => "",
            0xe2 if bytes[at..].starts_with("\u{2028}".as_bytes()) => "\\u2028",
            0xe2 if bytes[at..].starts_with("\u{2029}".as_bytes()) => "\\u2029",
            _ => continue,
        };
        out.extend(&bytes[start..at]);
        if escape.is_empty() {
            out.extend(format!("\\u{byte:04x}").bytes());
        } else {
            out.extend(escape.bytes());
        }
        start = at + if *byte == 0xe2 { 3 } else { 1 };
    }
    out.extend(&bytes[start..]);
    out.push(b'"');
}

/// A number as Go writes it: with an exponent where it is very small or very large.
fn double(out: &mut Vec<u8>, value: f64) {
    let size = value.abs();
    if !value.is_finite() {
        // Go refuses to write it; it can only come from a foreign message.
        out.push(b'0');
    } else if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let sign = if exponent.starts_with('-') { "" } else { "+" };
        let padded = if exponent.len() == 1 { format!("0{exponent}") } else { exponent.to_owned() };
        out.extend(format!("{digits}e{sign}{padded}").bytes());
    } else {
        out.extend(value.to_string().bytes());
    }
}

fn is_zero(node: &Node<'_>) -> bool {
    match node {
        Node::Zero | Node::Bool(false) | Node::Int(0) => true,
        Node::Double(value) => *value == 0.0,
        Node::Text(text) => text.is_empty(),
        _ => false,
    }
}
