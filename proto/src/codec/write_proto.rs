//! From the tree to protobuf. It is written from its end, so that a length is known before it is needed.

use super::tree::{Node, Struct};
use crate::field::{Card, Field, Message, Shape, Type};

/// Bytes written from the end.
#[derive(Debug, Default)]
pub(super) struct Reverse(Vec<u8>);

/// The message of an object.
pub(super) fn message(message: &Message, object: &Struct<'_>) -> Vec<u8> {
    let mut out = Reverse::default();
    write(&mut out, message, object);
    out.finish()
}

fn write(out: &mut Reverse, message: &Message, object: &Struct<'_>) {
    let fields = message.fields();
    for place in message.order().iter().rev() {
        let (field, node) = (&fields[usize::from(*place)], object.get(u16::from(*place)));
        match (field.card(), node) {
            (Card::Many, Some(Node::Many(list))) => {
                list.iter().rev().for_each(|node| value(out, field, field.number(), node));
            }
            (Card::Map, Some(Node::Map(map))) => {
                for (key, node) in map.iter().rev() {
                    out.nested(field.number(), |out| {
                        value(out, field, 2, node);
                        out.bytes(1, key.as_bytes());
                    });
                }
            }
            (Card::One | Card::Inline, None) if field.kind() != Type::Bytes => {
                value(out, field, field.number(), &Node::Zero);
            }
            (Card::One | Card::Inline | Card::Pointer, Some(node)) => value(out, field, field.number(), node),
            _ => {}
        }
    }
}

/// One value; of a zero one all that is always written.
fn value(out: &mut Reverse, field: &Field, number: u32, node: &Node<'_>) {
    match (field.kind(), node) {
        (Type::Text, Node::Text(text)) => out.bytes(number, text.as_bytes()),
        (Type::Bytes, Node::Bytes(bytes)) => out.bytes(number, bytes),
        (Type::Text | Type::Bytes, _) => out.bytes(number, b""),
        (Type::Int32 | Type::Int64, Node::Int(value)) => out.int(number, *value),
        (Type::Bool, Node::Bool(value)) => out.int(number, i64::from(*value)),
        (Type::Int32 | Type::Int64 | Type::Bool, _) => out.int(number, 0),
        (Type::Double, Node::Double(value)) => out.double(number, *value),
        (Type::Double, _) => out.double(number, 0.0),
        (Type::Nested, node) => {
            if let Some(message) = field.message() {
                out.nested(number, |out| leaf(out, message, node));
            }
        }
    }
}

/// The inside of a message, by its shape.
fn leaf(out: &mut Reverse, message: &Message, node: &Node<'_>) {
    match (message.shape(), node) {
        (Shape::Plain, Node::Struct(object)) => write(out, message, object),
        (Shape::Plain, _) => write(out, message, &Struct::default()),
        (Shape::Time | Shape::MicroTime, Node::Time(seconds, nanos)) => {
            let micros = if message.shape() == Shape::Time { 0 } else { nanos / 1000 * 1000 };
            out.int(2, i64::from(micros));
            out.int(1, *seconds);
        }
        (Shape::Duration, Node::Int(nanos)) => out.int(1, *nanos),
        (Shape::Duration, _) => out.int(1, 0),
        (Shape::Quantity, Node::Text(text)) => out.bytes(1, text.as_bytes()),
        (Shape::Quantity, _) => out.bytes(1, b"0"),
        (Shape::IntOrString, Node::Text(text)) => {
            out.bytes(3, text.as_bytes());
            out.int(2, 0);
            out.int(1, 1);
        }
        (Shape::IntOrString, node) => {
            out.bytes(3, b"");
            out.int(2, if let Node::Int(value) = node { *value } else { 0 });
            out.int(1, 0);
        }
        (Shape::RawExtension | Shape::Raw, Node::Raw(bytes)) => out.bytes(1, bytes),
        (Shape::SchemaOrBool, Node::Struct(object)) => {
            schema(out, 2, message, object);
            out.int(1, 1);
        }
        (Shape::SchemaOrBool, node) => out.int(1, i64::from(*node == Node::Bool(true))),
        (Shape::SchemaOrArray | Shape::SchemaOrStrings, Node::Struct(object)) => {
            schema(out, 1, message, object);
        }
        (Shape::SchemaOrArray | Shape::SchemaOrStrings | Shape::Strings, Node::Many(list)) => {
            let number = if message.shape() == Shape::Strings { 1 } else { 2 };
            for node in list.iter().rev() {
                match node {
                    Node::Struct(object) => schema(out, number, message, object),
                    Node::Text(text) => out.bytes(number, text.as_bytes()),
                    _ => out.bytes(number, b""),
                }
            }
        }
        _ => {}
    }
}

/// A schema inside one of the shapes that may be a schema.
fn schema(out: &mut Reverse, number: u32, around: &Message, object: &Struct<'_>) {
    if let Some(message) = schema_of(around) {
        out.nested(number, |out| write(out, message, object));
    }
}

/// The message of the schemas of the same version.
pub(super) fn schema_of(around: &Message) -> Option<&'static Message> {
    let (package, _) = around.name().rsplit_once('.')?;
    crate::field::message(&format!("{package}.JSONSchemaProps"))
}

impl Reverse {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.0.reverse();
        self.0
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend(bytes.iter().rev());
    }

    fn varint(&mut self, mut value: u64) {
        let mut buffer = [0u8; 10];
        let mut length = 0;
        while value >= 0x80 {
            buffer[length] = value as u8 | 0x80;
            value >>= 7;
            length += 1;
        }
        buffer[length] = value as u8;
        self.raw(&buffer[..=length]);
    }

    fn tag(&mut self, number: u32, wire: u32) {
        self.varint(u64::from(number << 3 | wire));
    }

    pub(super) fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.raw(bytes);
        self.varint(bytes.len() as u64);
        self.tag(number, 2);
    }

    pub(super) fn nested(&mut self, number: u32, inside: impl FnOnce(&mut Self)) {
        let before = self.0.len();
        inside(self);
        self.varint((self.0.len() - before) as u64);
        self.tag(number, 2);
    }

    fn int(&mut self, number: u32, value: i64) {
        self.varint(value as u64);
        self.tag(number, 0);
    }

    fn double(&mut self, number: u32, value: f64) {
        self.raw(&value.to_le_bytes());
        self.tag(number, 1);
    }
}
