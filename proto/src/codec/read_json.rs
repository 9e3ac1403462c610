//! From JSON to the tree, as Go's decoder of Kubernetes does it: names by their case, the first wrong value is the
//! error, unknown and duplicate fields are remembered.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::json::{Kind, Reader};
use super::source::{Source, Values};
use super::tree::{API_VERSION, KIND, Node, Struct, settle};
use super::write_proto::schema_of;
use super::{Error, MAX_PROBLEMS};
use crate::field::{Card, Field, Message, Shape, Type};
use crate::quantity::Quantity;
use crate::time;

/// A step from an object to what is in it.
#[derive(Debug)]
enum Step<'a> {
    Field(&'static str),
    Key(Cow<'a, str>),
    Item(usize),
}

/// A reading in progress.
struct Decoder<'a, S> {
    json: S,
    path: Vec<Step<'a>>,
    /// The messages around the value, by their short names.
    around: Vec<&'static str>,
    problems: Vec<String>,
    /// The first value that cannot be what its field holds.
    wrong: Option<Error>,
}

/// Reads an object from text, and what strict validation complains of.
pub(super) fn object<'a>(
    message: &'static Message,
    json: &'a [u8],
) -> Result<(Struct<'a>, Vec<String>), Error> {
    read(message, Reader::new(json))
}

/// Reads an object that was parsed already, and what strict validation complains of.
pub(super) fn value<'a>(
    message: &'static Message,
    value: &'a serde_json::Value,
) -> Result<(Struct<'a>, Vec<String>), Error> {
    read(message, Values::of(value))
}

fn read<'a>(message: &'static Message, json: impl Source<'a>) -> Result<(Struct<'a>, Vec<String>), Error> {
    let mut decoder =
        Decoder { json, path: Vec::new(), around: Vec::new(), problems: Vec::new(), wrong: None };
    let package = message.name().rsplit('.').nth(1).unwrap_or_default();
    let mut object = Struct::default();
    match decoder.json.kind()? {
        Kind::Object => decoder.object(message, &mut object)?,
        Kind::Null => decoder.json.null()?,
        other => decoder.mistyped(other, &format!("{package}.{}", message.short_name()))?,
    }
    decoder.json.end()?;
    match decoder.wrong {
        Some(error) => Err(error),
        None => Ok((object, decoder.problems)),
    }
}

impl<'a, S: Source<'a>> Decoder<'a, S> {
    /// Adds the fields of the JSON object here to those an object has.
    fn object(&mut self, message: &'static Message, object: &mut Struct<'a>) -> Result<(), Error> {
        self.json.enter()?;
        self.around.push(message.short_name());
        let mut seen: Vec<&'static str> = Vec::new();
        let mut first = true;
        while let Some(key) = self.json.key(first)? {
            first = false;
            let field = message.field(&key);
            let name = match (field, key.as_ref()) {
                (Some(field), _) => field.json(),
                (None, "kind") if message.has_type_meta() => "kind",
                (None, "apiVersion") if message.has_type_meta() => "apiVersion",
                _ => {
                    self.path.push(Step::Key(key));
                    self.problem("unknown");
                    self.path.pop();
                    self.json.skip()?;
                    continue;
                }
            };
            self.path.push(Step::Field(name));
            if seen.contains(&name) {
                self.problem("duplicate");
            } else {
                seen.push(name);
            }
            match field {
                Some(field) => self.field(message, field, object)?,
                None => self.type_meta(name, object)?,
            }
            self.path.pop();
        }
        self.around.pop();
        Ok(())
    }

    fn type_meta(&mut self, name: &str, object: &mut Struct<'a>) -> Result<(), Error> {
        let place = if name == "kind" { KIND } else { API_VERSION };
        match self.json.kind()? {
            Kind::Text => object.set(place, Node::Text(self.json.text()?)),
            Kind::Null => self.json.null()?,
            other => self.mistyped(other, "string")?,
        }
        Ok(())
    }

    /// Reads a field into its object, or into what is inline in it.
    fn field(
        &mut self,
        message: &'static Message,
        field: &'static Field,
        object: &mut Struct<'a>,
    ) -> Result<(), Error> {
        for (place, own) in message.fields().iter().enumerate() {
            let place = place as u16;
            if std::ptr::eq(own, field) {
                return self.slot(field, place, object);
            }
            let inner = own.message().filter(|_| own.card() == Card::Inline);
            if let Some(inner) =
                inner.filter(|inner| inner.field(field.json()).is_some_and(|it| std::ptr::eq(it, field)))
            {
                let mut part = match object.take(place) {
                    Some(Node::Struct(part)) => part,
                    _ => Struct::default(),
                };
                self.field(inner, field, &mut part)?;
                object.set(place, Node::Struct(part));
                return Ok(());
            }
        }
        self.json.skip()
    }

    fn slot(&mut self, field: &'static Field, place: u16, object: &mut Struct<'a>) -> Result<(), Error> {
        let kind = self.json.kind()?;
        let earlier = object.take(place);
        let custom =
            field.message().is_some_and(|message| !matches!(message.shape(), Shape::Plain | Shape::Strings));
        let node = match (kind, field.card()) {
            (Kind::Null, Card::One) if !custom && field.kind() != Type::Bytes => {
                self.json.null()?;
                earlier
            }
            (Kind::Null, Card::One) if custom => self.value(field, field.go_type(), None)?,
            (Kind::Null, _) => {
                self.json.null()?;
                None
            }
            (Kind::Array, Card::Many) => Some(Node::Many(self.list(field)?)),
            (Kind::Object, Card::Map) => Some(Node::Map(self.map(field, earlier)?)),
            (_, Card::Many | Card::Map) => {
                self.mistyped(kind, field.go_type())?;
                earlier
            }
            _ => self.value(field, field.go_type(), earlier)?,
        };
        if let Some(node) = node {
            object.set(place, node);
        }
        Ok(())
    }

    fn list(&mut self, field: &'static Field) -> Result<Vec<Node<'a>>, Error> {
        let item_type = field.go_type().trim_start_matches("[]").trim_start_matches('*');
        let mut list = Vec::new();
        self.json.enter()?;
        while self.json.item(list.is_empty())? {
            self.path.push(Step::Item(list.len()));
            let node = self.value(field, item_type, None)?;
            list.push(node.unwrap_or(Node::Zero));
            self.path.pop();
        }
        Ok(list)
    }

    fn map(
        &mut self,
        field: &'static Field,
        earlier: Option<Node<'a>>,
    ) -> Result<Vec<(Cow<'a, str>, Node<'a>)>, Error> {
        let value_type = field.go_type().rsplit_once(']').map_or("", |(_, value)| value);
        let value_type = if value_type == "uint8" { "[]uint8" } else { value_type };
        let mut map = match earlier {
            Some(Node::Map(map)) => map,
            _ => Vec::new(),
        };
        let mut keys: BTreeSet<Cow<'a, str>> = BTreeSet::new();
        let mut first = true;
        self.json.enter()?;
        while let Some(key) = self.json.key(first)? {
            first = false;
            self.path.push(Step::Key(key.clone()));
            if !keys.insert(key.clone()) {
                self.problem("duplicate");
            }
            let node = self.value(field, value_type, None)?;
            map.push((key, node.unwrap_or(Node::Zero)));
            self.path.pop();
        }
        settle(&mut map);
        Ok(map)
    }

    /// One value; none if it is null or wrong.
    fn value(
        &mut self,
        field: &'static Field,
        go_type: &str,
        earlier: Option<Node<'a>>,
    ) -> Result<Option<Node<'a>>, Error> {
        let kind = self.json.kind()?;
        let node = match (field.kind(), kind) {
            (Type::Nested, _) => match field.message() {
                Some(message) => return self.message(message, kind, go_type, earlier),
                None => return self.json.skip().map(|()| None),
            },
            (_, Kind::Null) => {
                self.json.null()?;
                return Ok(None);
            }
            (Type::Text, Kind::Text) => Node::Text(self.json.text()?),
            (Type::Bool, Kind::Bool) => Node::Bool(self.json.bool()?),
            (Type::Bytes, Kind::Text) => {
                let text = self.json.text()?;
                match decode_base64(&text) {
                    Ok(bytes) => Node::Bytes(Cow::Owned(bytes)),
                    Err(error) => return self.refuse(error),
                }
            }
            (Type::Int32 | Type::Int64, Kind::Number) => {
                let text = self.json.number()?;
                let value = text.parse::<i64>().ok();
                match value.filter(|value| field.kind() == Type::Int64 || i32::try_from(*value).is_ok()) {
                    Some(value) => Node::Int(value),
                    None => return self.refuse(self.type_error(&format!("number {text}"), go_type)),
                }
            }
            (Type::Double, Kind::Number) => Node::Double(self.json.number()?.parse().unwrap_or_default()),
            (_, other) => {
                self.mistyped(other, go_type)?;
                return Ok(None);
            }
        };
        Ok(Some(node))
    }

    fn message(
        &mut self,
        message: &'static Message,
        kind: Kind,
        go_type: &str,
        earlier: Option<Node<'a>>,
    ) -> Result<Option<Node<'a>>, Error> {
        match (message.shape(), kind) {
            (
                Shape::Plain
                | Shape::Strings
                | Shape::SchemaOrBool
                | Shape::SchemaOrArray
                | Shape::SchemaOrStrings,
                Kind::Null,
            ) => {
                self.json.null()?;
                Ok(earlier)
            }
            (Shape::Plain, Kind::Object) => {
                let mut object = match earlier {
                    Some(Node::Struct(object)) => object,
                    _ => Struct::default(),
                };
                self.object(message, &mut object)?;
                Ok(Some(Node::Struct(object)))
            }
            (Shape::Plain, other) => {
                self.mistyped(other, go_type)?;
                Ok(earlier)
            }
            (Shape::Strings, Kind::Array) => self.texts(message).map(Some),
            (Shape::Strings, other) => {
                self.mistyped(other, go_type)?;
                Ok(None)
            }
            (Shape::SchemaOrBool | Shape::SchemaOrArray | Shape::SchemaOrStrings, _) => {
                self.schema(message, kind)
            }
            (Shape::Raw | Shape::RawExtension, Kind::Null) => {
                self.json.null()?;
                Ok(Some(Node::Zero))
            }
            (Shape::Raw | Shape::RawExtension, _) => Ok(Some(Node::Raw(self.json.raw()?))),
            (shape, kind) => self.leaf(shape, kind),
        }
    }

    /// What is one text or number in JSON.
    fn leaf(&mut self, shape: Shape, kind: Kind) -> Result<Option<Node<'a>>, Error> {
        if kind == Kind::Null {
            self.json.null()?;
            return Ok(Some(if shape == Shape::IntOrString { Node::Int(0) } else { Node::Zero }));
        }
        let plain = |kind: Kind, go: &str| {
            Error::Value(format!("json: cannot unmarshal {} into Go value of type {go}", kind.name()))
        };
        let read = match (shape, kind) {
            (Shape::Quantity, Kind::Text) => quantity(&self.json.text()?),
            (Shape::Quantity, _) => quantity(&String::from_utf8_lossy(&self.json.raw()?)),
            (Shape::IntOrString, Kind::Text) => Ok(Node::Text(self.json.text()?)),
            (Shape::IntOrString, Kind::Number) => {
                let text = self.json.number()?;
                let value = text.parse::<i32>().map(|value| Node::Int(i64::from(value)));
                value.map_err(|_| {
                    Error::Value(format!("json: cannot unmarshal number {text} into Go value of type int32"))
                })
            }
            (Shape::Time | Shape::MicroTime, Kind::Text) => {
                let layout = if shape == Shape::Time { time::SECONDS } else { time::MICROS };
                time::parse(&self.json.text()?, layout).map_err(|error| Error::Value(error.to_string())).map(
                    |(seconds, nanos)| {
                        // The zero instant is nothing; nanoseconds are not kept by either form.
                        let nanos = if shape == Shape::Time { 0 } else { nanos / 1000 * 1000 };
                        if (seconds, nanos) == (time::ZERO, 0) {
                            Node::Zero
                        } else {
                            Node::Time(seconds, nanos)
                        }
                    },
                )
            }
            (Shape::Duration, Kind::Text) => time::parse_duration(&self.json.text()?)
                .map(Node::Int)
                .map_err(|error| Error::Value(error.to_string())),
            (shape, other) => {
                self.json.skip()?;
                Err(plain(other, if shape == Shape::IntOrString { "int32" } else { "string" }))
            }
        };
        match read {
            Ok(node) => Ok(Some(node)),
            Err(error) => self.refuse(error),
        }
    }

    fn schema(&mut self, around: &'static Message, kind: Kind) -> Result<Option<Node<'a>>, Error> {
        let Some(message) = schema_of(around) else { return self.json.skip().map(|()| None) };
        match (around.shape(), kind) {
            (_, Kind::Object) => {
                let mut object = Struct::default();
                self.object(message, &mut object)?;
                Ok(Some(Node::Struct(object)))
            }
            (Shape::SchemaOrBool, Kind::Bool) => Ok(Some(Node::Bool(self.json.bool()?))),
            (Shape::SchemaOrBool, _) => {
                self.json.skip()?;
                self.refuse(Error::Value("boolean or JSON schema expected".to_owned()))
            }
            (Shape::SchemaOrStrings, Kind::Array) => self.texts(message).map(Some),
            (Shape::SchemaOrArray, Kind::Array) => {
                let mut list = Vec::new();
                self.json.enter()?;
                while self.json.item(list.is_empty())? {
                    let mut object = Struct::default();
                    match self.json.kind()? {
                        Kind::Object => self.object(message, &mut object)?,
                        Kind::Null => self.json.null()?,
                        other => self.mistyped(other, "v1.JSONSchemaProps")?,
                    }
                    list.push(Node::Struct(object));
                }
                Ok(Some(Node::Many(list)))
            }
            _ => {
                self.json.skip()?;
                Ok(None)
            }
        }
    }

    fn texts(&mut self, _around: &'static Message) -> Result<Node<'a>, Error> {
        let mut list = Vec::new();
        self.json.enter()?;
        while self.json.item(list.is_empty())? {
            list.push(match self.json.kind()? {
                Kind::Text => Node::Text(self.json.text()?),
                other => {
                    if other == Kind::Null {
                        self.json.null()?;
                    } else {
                        self.mistyped(other, "string")?;
                    }
                    Node::Text(Cow::Borrowed(""))
                }
            });
        }
        Ok(Node::Many(list))
    }

    /// Passes over a value of another kind than its field's.
    fn mistyped(&mut self, kind: Kind, go_type: &str) -> Result<(), Error> {
        let error = self.type_error(kind.name(), go_type);
        self.json.skip()?;
        self.wrong.get_or_insert(error);
        Ok(())
    }

    fn refuse(&mut self, error: Error) -> Result<Option<Node<'a>>, Error> {
        self.wrong.get_or_insert(error);
        Ok(None)
    }

    fn type_error(&self, value: &str, go_type: &str) -> Error {
        let fields =
            self.path.iter().filter_map(|step| if let Step::Field(name) = step { Some(*name) } else { None });
        let path = fields.collect::<Vec<_>>().join(".");
        let place = match self.around.last() {
            Some(message) if !path.is_empty() => format!("struct field {message}.{path}"),
            _ => "value".to_owned(),
        };
        Error::Value(format!("json: cannot unmarshal {value} into Go {place} of type {go_type}"))
    }

    fn problem(&mut self, what: &str) {
        if self.problems.len() >= MAX_PROBLEMS {
            return;
        }
        let mut path = String::new();
        for step in &self.path {
            let dot = if path.is_empty() { "" } else { "." };
            // Writing into a text does not fail.
            let _infallible = match step {
                Step::Field(name) => write!(path, "{dot}{name}"),
                Step::Key(key) => write!(path, "{dot}{key}"),
                Step::Item(at) => write!(path, "[{at}]"),
            };
        }
        let problem = format!("{what} field {path:?}");
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}

fn quantity<'a>(text: &str) -> Result<Node<'a>, Error> {
    match Quantity::parse(text.trim()) {
        Ok(quantity) => Ok(Node::Text(Cow::Owned(quantity.to_string()))),
        Err(error) => Err(Error::Value(error.to_string())),
    }
}

/// Reads base64 as Go does: line ends do not count.
fn decode_base64(text: &str) -> Result<Vec<u8>, Error> {
    let plain: Cow<'_, str> =
        if text.contains(['\r', '\n']) { text.replace(['\r', '\n'], "").into() } else { text.into() };
    STANDARD.decode(plain.as_bytes()).map_err(|error| {
        let at = match error {
            base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
            _ => plain.len() / 4 * 4,
        };
        Error::Value(format!("illegal base64 data at input byte {at}"))
    })
}
