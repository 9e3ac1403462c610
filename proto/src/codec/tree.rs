//! An object while it is neither JSON nor protobuf.

use std::borrow::Cow;

/// A value. What a `Zero` is depends on the field: null, nothing, the first instant.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node<'a> {
    Zero,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    /// JSON as it was written, or an envelope.
    Raw(Cow<'a, [u8]>),
    /// Seconds since 1970, and nanoseconds.
    Time(i64, i32),
    Many(Vec<Node<'a>>),
    /// Ordered by key.
    Map(Vec<(Cow<'a, str>, Node<'a>)>),
    Struct(Struct<'a>),
}

/// The fields of a message that were given, by their place among the message's fields.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Struct<'a> {
    slots: Vec<(u16, Node<'a>)>,
}

/// The places of the two fields that are in no message.
pub(super) const KIND: u16 = u16::MAX - 1;
pub(super) const API_VERSION: u16 = u16::MAX;

impl<'a> Struct<'a> {
    pub(super) fn get(&self, place: u16) -> Option<&Node<'a>> {
        // Both encodings have fields nearly in order, so the search is short.
        self.slots.iter().find(|(at, _)| *at == place).map(|(_, node)| node)
    }

    pub(super) fn take(&mut self, place: u16) -> Option<Node<'a>> {
        let at = self.slots.iter().position(|(at, _)| *at == place)?;
        Some(self.slots.swap_remove(at).1)
    }

    pub(super) fn set(&mut self, place: u16, node: Node<'a>) {
        match self.slots.iter_mut().find(|(at, _)| *at == place) {
            Some(slot) => slot.1 = node,
            None => self.slots.push((place, node)),
        }
    }

    /// The list at a place, made when it is not there.
    pub(super) fn list(&mut self, place: u16) -> &mut Vec<Node<'a>> {
        let at = match self.slots.iter().rposition(|(at, _)| *at == place) {
            Some(at) => at,
            None => {
                self.slots.push((place, Node::Many(Vec::new())));
                self.slots.len() - 1
            }
        };
        let node = &mut self.slots[at].1;
        if !matches!(node, Node::Many(_)) {
            *node = Node::Many(Vec::new());
        }
        match node {
            Node::Many(list) => list,
            _ => unreachable!("it was made a list above"),
        }
    }

    pub(super) fn set_type(&mut self, api_version: Cow<'a, str>, kind: Cow<'a, str>) {
        self.set(KIND, Node::Text(kind));
        self.set(API_VERSION, Node::Text(api_version));
    }

    /// The `apiVersion` and `kind` that were given.
    pub(super) fn type_meta(&self) -> (&str, &str) {
        let text = |place| match self.get(place) {
            Some(Node::Text(text)) => text.as_ref(),
            _ => "",
        };
        (text(API_VERSION), text(KIND))
    }
}

/// Puts an entry into a map, which stays ordered; a later one replaces an earlier one.
pub(super) fn insert<'a>(map: &mut Vec<(Cow<'a, str>, Node<'a>)>, key: Cow<'a, str>, node: Node<'a>) {
    match map.last() {
        Some((last, _)) if *last >= key => match map.binary_search_by(|(at, _)| at.cmp(&key)) {
            Ok(at) => map[at].1 = node,
            Err(at) => map.insert(at, (key, node)),
        },
        _ => map.push((key, node)),
    }
}
