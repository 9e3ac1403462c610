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

    /// Adds an item to the list at a place.
    pub(super) fn push(&mut self, place: u16, item: Node<'a>) {
        match self.slots.iter_mut().rfind(|(at, _)| *at == place) {
            Some((_, Node::Many(list))) => list.push(item),
            _ => self.set(place, Node::Many(vec![item])),
        }
    }

    /// Adds an entry to the map at a place, which is to be settled when all are there.
    pub(super) fn insert(&mut self, place: u16, entry: (Cow<'a, str>, Node<'a>)) {
        match self.slots.iter_mut().rfind(|(at, _)| *at == place) {
            Some((_, Node::Map(map))) => map.push(entry),
            _ => self.set(place, Node::Map(vec![entry])),
        }
    }

    /// Settles every map.
    pub(super) fn settle(&mut self) {
        for (_, node) in &mut self.slots {
            if let Node::Map(map) = node {
                settle(map);
            }
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

/// Orders a map's entries by key; of several with one key the last stays.
pub(super) fn settle(map: &mut Vec<(Cow<'_, str>, Node<'_>)>) {
    if map.is_sorted_by(|(a, _), (b, _)| a < b) {
        return;
    }
    // The sort is stable, so that after turning round the last of a key is the first.
    map.reverse();
    map.sort_by(|(a, _), (b, _)| a.cmp(b));
    map.dedup_by(|(a, _), (b, _)| a == b);
}
