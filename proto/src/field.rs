//! The messages of the API and their fields: what JSON, protobuf, patches and defaults need to know of each.
//!
//! The tables hold numbers into one text, so they cost neither heap nor relocations.

use std::fmt;

#[rustfmt::skip]
mod table;
#[cfg(test)]
mod tests;

use table::{FIELDS, LISTS, MESSAGES, ORDER, WORDS};

/// A message: an object of the API or a part of one.
///
/// The name, where its fields begin and how many they are, its shape, its bits, its group and its version.
pub struct Message(u32, u16, u16, Shape, u8, u32, u32);

/// A field of a message.
///
/// The JSON name, the Go type, the number, the number of its message, its type and cardinality, its bits, its list
/// type with the keys, its merge key, its default and its enumeration.
pub struct Field(u32, u32, u16, u16, Type, Card, u32, List, u32, u32, u32, u32);

/// How a message looks in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// An object with its fields.
    Plain,
    /// A text in RFC 3339 with seconds; null when zero.
    Time,
    /// A text in RFC 3339 with microseconds; null when zero.
    MicroTime,
    /// A text as Go writes durations.
    Duration,
    /// A quantity.
    Quantity,
    /// A number or a text.
    IntOrString,
    /// Any object, perhaps in an envelope of its own.
    RawExtension,
    /// Any value.
    Raw,
    /// A schema or a boolean.
    SchemaOrBool,
    /// A schema or a list of schemas.
    SchemaOrArray,
    /// A schema or a list of texts.
    SchemaOrStrings,
    /// A list of texts.
    Strings,
}

/// What one value of a field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// A text.
    Text,
    /// An integer of 32 bits.
    Int32,
    /// An integer of 64 bits.
    Int64,
    /// True or false.
    Bool,
    /// A floating point number.
    Double,
    /// Bytes, in JSON as base64.
    Bytes,
    /// A message.
    Nested,
}

/// How many values a field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Card {
    /// Always one; the zero value stands for its absence.
    One,
    /// One or none.
    Pointer,
    /// A list.
    Many,
    /// A map from texts.
    Map,
    /// One whose own fields stand among those of the outer message in JSON.
    Inline,
}

/// How the parts of a list are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// Not said: as a whole.
    Whole,
    /// As a whole.
    Atomic,
    /// By their values.
    Set,
    /// By their key fields.
    Keyed,
}

impl Message {
    /// The full name, as in `k8s.io.api.core.v1.Pod`.
    pub fn name(&self) -> &'static str {
        word(self.0)
    }

    /// The last part of the name, as in `Pod`; the kind, if it has one.
    pub fn short_name(&self) -> &'static str {
        let name = self.name();
        name.rsplit_once('.').map_or(name, |(_, short)| short)
    }

    /// Its fields, in the order JSON has them.
    pub fn fields(&self) -> &'static [Field] {
        let first = usize::from(self.1);
        &FIELDS[first..first + usize::from(self.2)]
    }

    /// The places of its fields among [`Self::fields`], by ascending number.
    pub(crate) fn order(&self) -> &'static [u8] {
        let first = usize::from(self.1);
        &ORDER[first..first + usize::from(self.2)]
    }

    /// How it looks in JSON.
    pub fn shape(&self) -> Shape {
        self.3
    }

    /// Whether its JSON begins with `kind` and `apiVersion`.
    pub fn has_type_meta(&self) -> bool {
        self.4 & 1 != 0
    }

    /// Whether it is owned as a whole.
    pub fn is_atomic(&self) -> bool {
        self.4 & 2 != 0
    }

    /// The group, version and kind, where it is one.
    pub fn kind(&self) -> Option<(&'static str, &'static str, &'static str)> {
        (self.4 & 4 != 0).then(|| (word(self.5), word(self.6), self.short_name()))
    }

    /// The field of that JSON name, also among the fields of what is inline.
    pub fn field(&self, json: &str) -> Option<&'static Field> {
        let own = self.fields();
        let inline = || own.iter().filter(|field| field.card() == Card::Inline);
        own.iter()
            .find(|field| field.card() != Card::Inline && field.json() == json)
            .or_else(|| inline().find_map(|field| field.message()?.field(json)))
    }
}

impl Field {
    /// The name in JSON; empty for what is inline.
    pub fn json(&self) -> &'static str {
        word(self.0)
    }

    /// The type in Go, as messages of errors name it.
    pub fn go_type(&self) -> &'static str {
        word(self.1)
    }

    /// The number in protobuf.
    pub fn number(&self) -> u32 {
        u32::from(self.2)
    }

    /// What one value is.
    pub fn kind(&self) -> Type {
        self.4
    }

    /// The message that a value is.
    pub fn message(&self) -> Option<&'static Message> {
        MESSAGES.get(usize::from(self.3))
    }

    /// How many values there are.
    pub fn card(&self) -> Card {
        self.5
    }

    /// Whether Go's encoder leaves out an empty value; nothing follows for one message, which is never empty.
    pub fn omits_empty(&self) -> bool {
        self.has(0)
    }

    /// Whether a zero value is left out though it is a message.
    pub fn omits_zero(&self) -> bool {
        self.has(1)
    }

    /// Whether the published schema requires it.
    pub fn is_required(&self) -> bool {
        self.has(2)
    }

    /// Whether a strategic merge patch merges the list, by its merge key or by its values.
    pub fn merges(&self) -> bool {
        self.has(3)
    }

    /// Whether a strategic merge patch replaces the object whole.
    pub fn replaces(&self) -> bool {
        self.has(8)
    }

    /// Whether a strategic merge patch may name the keys to be retained.
    pub fn retains_keys(&self) -> bool {
        self.has(4)
    }

    /// Whether a map, or the message itself, is owned as a whole.
    pub fn is_atomic(&self) -> bool {
        self.has(5) || self.has(6) || self.message().is_some_and(Message::is_atomic)
    }

    /// Whether the field itself says that it is owned as a whole, whatever its message says.
    pub fn is_marked_atomic(&self) -> bool {
        self.has(5) || self.has(6)
    }

    /// Whether protobuf has it though it is zero.
    pub fn is_always_written(&self) -> bool {
        self.has(7)
    }

    /// How the parts of a list are told apart for server-side apply.
    pub fn list(&self) -> List {
        self.7
    }

    /// The key fields of a list that is a map.
    pub fn list_keys(&self) -> impl ExactSizeIterator<Item = &'static str> {
        words(self.8)
    }

    /// The key field by which a strategic merge patch merges; empty where it merges by values, or not at all.
    pub fn merge_key(&self) -> &'static str {
        word(self.9)
    }

    /// The default in the published schema, as JSON; empty where there is none.
    pub fn default(&self) -> &'static str {
        word(self.10)
    }

    /// The values an enumeration has.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &'static str> {
        words(self.11)
    }

    fn has(&self, bit: u32) -> bool {
        self.6 & 1 << bit != 0
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Message").field(&self.name()).finish()
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Field").field(&self.json()).field(&self.go_type()).finish()
    }
}

/// The message of that full name.
pub fn message(name: &str) -> Option<&'static Message> {
    let at = MESSAGES.binary_search_by(|message| message.name().cmp(name)).ok()?;
    MESSAGES.get(at)
}

/// The message of a kind.
///
/// The kinds that every group shares, as `DeleteOptions` or `WatchEvent`, are found in any.
pub fn of_kind(group: &str, version: &str, kind: &str) -> Option<&'static Message> {
    if let Some(row) = crate::kind::find_kind(group, version, kind) {
        return message(row.message);
    }
    let shared = || message(&format!("k8s.io.apimachinery.pkg.apis.meta.v1.{kind}"));
    let own = MESSAGES.iter().find(|message| message.kind() == Some((group, version, kind)));
    own.or_else(|| shared().filter(|message| message.has_type_meta() || kind == "WatchEvent"))
}

/// Every message, ordered by name.
pub fn messages() -> &'static [Message] {
    MESSAGES
}

fn word(place: u32) -> &'static str {
    let start = (place >> 8) as usize;
    &WORDS[start..start + (place & 255) as usize]
}

fn words(place: u32) -> impl ExactSizeIterator<Item = &'static str> {
    let start = (place >> 8) as usize;
    LISTS[start..start + (place & 255) as usize].iter().map(|place| word(*place))
}
