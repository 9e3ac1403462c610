//! From protobuf to the tree.

use std::borrow::Cow;

use super::tree::{Node, Struct};
use super::write_proto::schema_of;
use super::{Error, MAX_DEPTH};
use crate::field::{Card, Field, Message, Shape, Type};

/// A value as protobuf has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
}

/// The numbers and values in a message's bytes.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

/// The object in a message's bytes.
pub(super) fn object<'a>(message: &Message, bytes: &'a [u8]) -> Result<Struct<'a>, Error> {
    let mut object = Struct::default();
    read(message, bytes, &mut object, MAX_DEPTH)?;
    Ok(object)
}

/// Adds the fields in the bytes to those an object has.
fn read<'a>(message: &Message, bytes: &'a [u8], object: &mut Struct<'a>, depth: usize) -> Result<(), Error> {
    let depth = depth.checked_sub(1).ok_or(Error::Wire("the message is nested too deeply"))?;
    let fields = message.fields();
    for one in Fields::of(bytes) {
        let (number, wire) = one?;
        let Some(place) = fields.iter().position(|field| field.number() == number) else { continue };
        let (field, place) = (&fields[place], place as u16);
        match field.card() {
            Card::Many => {
                let mut node = value(field, wire, None, depth)?;
                if let (Some((api_version, kind)), Node::Struct(item)) =
                    (item_type(message, field), &mut node)
                {
                    item.set_type(Cow::Borrowed(api_version), Cow::Borrowed(kind));
                }
                object.push(place, node);
            }
            Card::Map => {
                let Wire::Bytes(entry) = wire else { return Err(Error::Wire("a map's entry is no message")) };
                object.insert(place, map_entry(field, entry, depth)?);
            }
            Card::One | Card::Pointer | Card::Inline => {
                let earlier = if field.kind() == Type::Nested { object.take(place) } else { None };
                object.set(place, value(field, wire, earlier, depth)?);
            }
        }
    }
    object.settle();
    Ok(())
}

/// The `apiVersion` and kind of a list's items where the API tells them though protobuf does not: only claims in
/// stateful sets are objects that are neither in an envelope nor in a list of their own.
fn item_type(message: &Message, field: &Field) -> Option<(&'static str, &'static str)> {
    let claims =
        message.name() == "k8s.io.api.apps.v1.StatefulSetSpec" && field.json() == "volumeClaimTemplates";
    claims.then_some(("v1", "PersistentVolumeClaim"))
}

fn map_entry<'a>(field: &Field, entry: &'a [u8], depth: usize) -> Result<(Cow<'a, str>, Node<'a>), Error> {
    let (mut key, mut node) = (Cow::Borrowed(""), Node::Zero);
    for one in Fields::of(entry) {
        match one? {
            (1, Wire::Bytes(bytes)) => key = String::from_utf8_lossy(bytes),
            (2, wire) => node = value(field, wire, None, depth)?,
            _ => {}
        }
    }
    Ok((key, node))
}

fn value<'a>(
    field: &Field,
    wire: Wire<'a>,
    earlier: Option<Node<'a>>,
    depth: usize,
) -> Result<Node<'a>, Error> {
    Ok(match (field.kind(), wire) {
        (Type::Text, Wire::Bytes(bytes)) => Node::Text(String::from_utf8_lossy(bytes)),
        (Type::Bytes, Wire::Bytes(bytes)) => Node::Bytes(Cow::Borrowed(bytes)),
        (Type::Int32, Wire::Varint(value)) => Node::Int(i64::from(value as i32)),
        (Type::Int64, Wire::Varint(value)) => Node::Int(value as i64),
        (Type::Bool, Wire::Varint(value)) => Node::Bool(value != 0),
        (Type::Double, Wire::Fixed64(bits)) => Node::Double(f64::from_bits(bits)),
        (Type::Nested, Wire::Bytes(bytes)) => match field.message() {
            Some(message) => leaf(message, bytes, earlier, depth)?,
            None => Node::Zero,
        },
        _ => return Err(Error::Wire("a field has another wire type than its own")),
    })
}

/// The inside of a message, by its shape.
fn leaf<'a>(
    message: &Message,
    bytes: &'a [u8],
    earlier: Option<Node<'a>>,
    depth: usize,
) -> Result<Node<'a>, Error> {
    if message.shape() == Shape::Plain {
        let mut object = match earlier {
            Some(Node::Struct(object)) => object,
            _ => Struct::default(),
        };
        read(message, bytes, &mut object, depth)?;
        return Ok(Node::Struct(object));
    }
    let mut node = Node::Zero;
    let mut is_text = false;
    for one in Fields::of(bytes) {
        let (number, wire) = one?;
        match (message.shape(), number, wire) {
            (Shape::Time | Shape::MicroTime, 1, Wire::Varint(seconds)) => {
                node = Node::Time(seconds as i64, if let Node::Time(_, nanos) = node { nanos } else { 0 });
            }
            (Shape::MicroTime, 2, Wire::Varint(nanos)) => {
                let nanos = i32::try_from(nanos).unwrap_or_default().clamp(0, 999_999_999);
                node = Node::Time(if let Node::Time(seconds, _) = node { seconds } else { 0 }, nanos);
            }
            (Shape::Duration, 1, Wire::Varint(nanos)) => node = Node::Int(nanos as i64),
            (Shape::Quantity, 1, Wire::Bytes(text)) => {
                let text = String::from_utf8_lossy(text);
                let known = crate::quantity::Quantity::parse(&text)
                    .map_err(|_| Error::Wire("a quantity has another form"))?;
                node = Node::Text(Cow::Owned(known.to_string()));
            }
            (Shape::IntOrString, 1, Wire::Varint(kind)) => is_text = kind == 1,
            (Shape::IntOrString, 2, Wire::Varint(value)) if !is_text => {
                node = Node::Int(i64::from(value as i32));
            }
            (Shape::IntOrString, 3, Wire::Bytes(text)) if is_text => {
                node = Node::Text(String::from_utf8_lossy(text));
            }
            (Shape::Raw | Shape::RawExtension, 1, Wire::Bytes(bytes)) if !bytes.is_empty() => {
                node = Node::Raw(Cow::Borrowed(bytes));
            }
            (Shape::SchemaOrBool, 1, Wire::Varint(allows)) if !matches!(node, Node::Struct(_)) => {
                node = Node::Bool(allows != 0);
            }
            (Shape::SchemaOrBool, 2, Wire::Bytes(bytes))
            | (Shape::SchemaOrArray | Shape::SchemaOrStrings, 1, Wire::Bytes(bytes)) => {
                node = schema(message, bytes, depth)?;
            }
            (Shape::SchemaOrArray, 2, Wire::Bytes(bytes)) => push(&mut node, schema(message, bytes, depth)?),
            (Shape::SchemaOrStrings, 2, Wire::Bytes(text)) | (Shape::Strings, 1, Wire::Bytes(text)) => {
                push(&mut node, Node::Text(String::from_utf8_lossy(text)));
            }
            _ => {}
        }
    }
    Ok(match node {
        Node::Zero if message.shape() == Shape::IntOrString && is_text => Node::Text(Cow::Borrowed("")),
        Node::Zero if message.shape() == Shape::Strings => Node::Many(Vec::new()),
        node => node,
    })
}

fn schema<'a>(around: &Message, bytes: &'a [u8], depth: usize) -> Result<Node<'a>, Error> {
    let mut object = Struct::default();
    if let Some(message) = schema_of(around) {
        read(message, bytes, &mut object, depth)?;
    }
    Ok(Node::Struct(object))
}

fn push<'a>(node: &mut Node<'a>, item: Node<'a>) {
    match node {
        Node::Many(list) => list.push(item),
        _ => *node = Node::Many(vec![item]),
    }
}

impl<'a> Fields<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn varint(&mut self) -> Result<u64, Error> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(Error::Wire("unexpected EOF"))?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or_default();
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Error::Wire("integer overflow"))
    }

    fn bytes(&mut self, length: u64) -> Result<&'a [u8], Error> {
        let length = usize::try_from(length).map_err(|_| Error::Wire("unexpected EOF"))?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Error::Wire("unexpected EOF"))?;
        self.rest = rest;
        Ok(bytes)
    }

    fn field(&mut self) -> Result<(u32, Wire<'a>), Error> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0);
        let number = number.ok_or(Error::Wire("illegal tag"))?;
        let wire = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => {
                let bytes = self.bytes(8)?;
                Wire::Fixed64(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
            }
            2 => {
                let length = self.varint()?;
                Wire::Bytes(self.bytes(length)?)
            }
            5 => {
                self.bytes(4)?;
                Wire::Fixed32
            }
            _ => return Err(Error::Wire("illegal wireType")),
        };
        Ok((number, wire))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Wire<'a>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}
