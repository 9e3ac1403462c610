//! Where JSON is pulled from, value by value: text, or values that were parsed already.

use std::borrow::Cow;
use std::slice;

use serde_json::{Value, map};

use super::json::{Kind, Reader};
use super::{Error, MAX_DEPTH};

/// Anything that JSON can be pulled from.
pub(super) trait Source<'a> {
    /// What the next value is.
    fn kind(&mut self) -> Result<Kind, Error>;
    fn null(&mut self) -> Result<(), Error>;
    fn bool(&mut self) -> Result<bool, Error>;
    /// A number as it is written.
    fn number(&mut self) -> Result<Cow<'a, str>, Error>;
    fn text(&mut self) -> Result<Cow<'a, str>, Error>;
    /// Enters an object or a list.
    fn enter(&mut self) -> Result<(), Error>;
    /// The next key of an object, or its end.
    fn key(&mut self, first: bool) -> Result<Option<Cow<'a, str>>, Error>;
    /// Whether a list has another item.
    fn item(&mut self, first: bool) -> Result<bool, Error>;
    /// The next value as it is written.
    fn raw(&mut self) -> Result<Cow<'a, [u8]>, Error>;
    /// Passes over the next value.
    fn skip(&mut self) -> Result<(), Error>;
    /// That nothing is left.
    fn end(&mut self) -> Result<(), Error>;
}

impl<'a> Source<'a> for Reader<'a> {
    fn kind(&mut self) -> Result<Kind, Error> {
        Reader::kind(self)
    }

    fn null(&mut self) -> Result<(), Error> {
        Reader::null(self)
    }

    fn bool(&mut self) -> Result<bool, Error> {
        Reader::bool(self)
    }

    fn number(&mut self) -> Result<Cow<'a, str>, Error> {
        Reader::number(self).map(Cow::Borrowed)
    }

    fn text(&mut self) -> Result<Cow<'a, str>, Error> {
        Reader::text(self)
    }

    fn enter(&mut self) -> Result<(), Error> {
        Reader::enter(self)
    }

    fn key(&mut self, first: bool) -> Result<Option<Cow<'a, str>>, Error> {
        Reader::key(self, first)
    }

    fn item(&mut self, first: bool) -> Result<bool, Error> {
        Reader::item(self, first)
    }

    fn raw(&mut self) -> Result<Cow<'a, [u8]>, Error> {
        Reader::raw(self).map(Cow::Borrowed)
    }

    fn skip(&mut self) -> Result<(), Error> {
        Reader::skip(self)
    }

    fn end(&mut self) -> Result<(), Error> {
        Reader::end(self)
    }
}

/// What is left of a list or an object that was entered.
#[derive(Debug)]
enum Level<'a> {
    Items(slice::Iter<'a, Value>),
    Entries(map::Iter<'a>),
}

/// Values that were parsed already.
#[derive(Debug)]
pub(super) struct Values<'a> {
    next: &'a Value,
    levels: Vec<Level<'a>>,
}

impl<'a> Values<'a> {
    pub(super) fn of(value: &'a Value) -> Self {
        Self { next: value, levels: Vec::new() }
    }
}

impl<'a> Source<'a> for Values<'a> {
    fn kind(&mut self) -> Result<Kind, Error> {
        Ok(match self.next {
            Value::Null => Kind::Null,
            Value::Bool(_) => Kind::Bool,
            Value::Number(_) => Kind::Number,
            Value::String(_) => Kind::Text,
            Value::Array(_) => Kind::Array,
            Value::Object(_) => Kind::Object,
        })
    }

    fn null(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn bool(&mut self) -> Result<bool, Error> {
        Ok(self.next.as_bool().unwrap_or_default())
    }

    fn number(&mut self) -> Result<Cow<'a, str>, Error> {
        Ok(Cow::Owned(self.next.to_string()))
    }

    fn text(&mut self) -> Result<Cow<'a, str>, Error> {
        Ok(Cow::Borrowed(self.next.as_str().unwrap_or_default()))
    }

    fn enter(&mut self) -> Result<(), Error> {
        if self.levels.len() == MAX_DEPTH {
            return Err(Error::Syntax("exceeded max depth".to_owned()));
        }
        match self.next {
            Value::Array(list) => self.levels.push(Level::Items(list.iter())),
            Value::Object(map) => self.levels.push(Level::Entries(map.iter())),
            _ => {}
        }
        Ok(())
    }

    fn key(&mut self, _first: bool) -> Result<Option<Cow<'a, str>>, Error> {
        let entry = match self.levels.last_mut() {
            Some(Level::Entries(entries)) => entries.next(),
            _ => None,
        };
        let Some((key, value)) = entry else {
            self.levels.pop();
            return Ok(None);
        };
        self.next = value;
        Ok(Some(Cow::Borrowed(key)))
    }

    fn item(&mut self, _first: bool) -> Result<bool, Error> {
        let item = match self.levels.last_mut() {
            Some(Level::Items(items)) => items.next(),
            _ => None,
        };
        match item {
            Some(value) => self.next = value,
            None => drop(self.levels.pop()),
        }
        Ok(item.is_some())
    }

    fn raw(&mut self) -> Result<Cow<'a, [u8]>, Error> {
        let bytes = serde_json::to_vec(self.next).map_err(|error| Error::Syntax(error.to_string()))?;
        Ok(Cow::Owned(bytes))
    }

    fn skip(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn end(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
