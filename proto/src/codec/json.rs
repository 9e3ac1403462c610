//! A pull parser for JSON, with the errors of Go's.

use std::borrow::Cow;

use super::{Error, MAX_DEPTH};

/// Where in the text the parser is.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

/// What a value is, told by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    Number,
    Text,
    Array,
    Object,
}

impl Kind {
    /// As errors name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Number => "number",
            Self::Text => "string",
            Self::Array => "array",
            Self::Object => "object",
        }
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, depth: 0 }
    }

    /// What the next value is.
    pub(super) fn kind(&mut self) -> Result<Kind, Error> {
        self.space();
        match self.bytes.get(self.at) {
            Some(b'n') => Ok(Kind::Null),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'"') => Ok(Kind::Text),
            Some(b'[') => Ok(Kind::Array),
            Some(b'{') => Ok(Kind::Object),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            _ => Err(self.invalid("looking for beginning of value")),
        }
    }

    pub(super) fn null(&mut self) -> Result<(), Error> {
        self.literal("null")
    }

    pub(super) fn bool(&mut self) -> Result<bool, Error> {
        let value = self.bytes.get(self.at) == Some(&b't');
        self.literal(if value { "true" } else { "false" })?;
        Ok(value)
    }

    /// A number as it is written.
    pub(super) fn number(&mut self) -> Result<&'a str, Error> {
        let start = self.at;
        let digits = |reader: &mut Self, place: &str| {
            let from = reader.at;
            while reader.bytes.get(reader.at).is_some_and(u8::is_ascii_digit) {
                reader.at += 1;
            }
            if reader.at > from { Ok(()) } else { Err(reader.invalid(place)) }
        };
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        if self.bytes.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            digits(self, "in numeric literal")?;
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            digits(self, "after decimal point in numeric literal")?;
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            digits(self, "in exponent of numeric literal")?;
        }
        Ok(std::str::from_utf8(&self.bytes[start..self.at]).unwrap_or_default())
    }

    /// A text without its escapes; what is no UTF-8 becomes the replacement character.
    pub(super) fn text(&mut self) -> Result<Cow<'a, str>, Error> {
        self.at += 1;
        let start = self.at;
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    let text = String::from_utf8_lossy(&self.bytes[start..self.at]);
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => break,
                Some(0x20..) => self.at += 1,
                _ => return Err(self.invalid("in string literal")),
            }
        }
        let mut out = self.bytes[start..self.at].to_vec();
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(match String::from_utf8(out) {
                        Ok(text) => text,
                        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
                    }));
                }
                Some(b'\\') => {
                    self.at += 1;
                    let c = self.escape()?;
                    out.extend(c.encode_utf8(&mut [0; 4]).bytes());
                }
                Some(byte @ 0x20..) => {
                    out.push(*byte);
                    self.at += 1;
                }
                _ => return Err(self.invalid("in string literal")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Error> {
        let c = match self.bytes.get(self.at) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                let first = self.hex()?;
                if !(0xd800..0xe000).contains(&first) {
                    return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                // Half a pair alone is replaced, and what follows it stands for itself.
                let before = self.at;
                if first < 0xdc00 && self.bytes[self.at..].starts_with(b"\\u") {
                    self.at += 2;
                    let second = self.hex()?;
                    if (0xdc00..0xe000).contains(&second) {
                        let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                        return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                    self.at = before;
                }
                return Ok(char::REPLACEMENT_CHARACTER);
            }
            _ => return Err(self.invalid("in string escape code")),
        };
        self.at += 1;
        Ok(c)
    }

    fn hex(&mut self) -> Result<u32, Error> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.bytes.get(self.at).and_then(|byte| char::from(*byte).to_digit(16));
            value = value << 4 | digit.ok_or_else(|| self.invalid("in \\u hexadecimal character escape"))?;
            self.at += 1;
        }
        Ok(value)
    }

    /// Enters an object or a list.
    pub(super) fn enter(&mut self) -> Result<(), Error> {
        if self.depth == MAX_DEPTH {
            return Err(self.invalid("exceeded max depth"));
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// The next key of an object with its colon, or its end.
    pub(super) fn key(&mut self, first: bool) -> Result<Option<Cow<'a, str>>, Error> {
        self.space();
        match (self.bytes.get(self.at), first) {
            (Some(b'}'), _) => {
                self.leave();
                return Ok(None);
            }
            (Some(b','), false) => {
                self.at += 1;
                self.space();
                if self.bytes.get(self.at) != Some(&b'"') {
                    return Err(self.invalid("looking for beginning of object key string"));
                }
            }
            (Some(b'"'), true) => {}
            (_, true) => return Err(self.invalid("looking for beginning of object key string")),
            (_, false) => return Err(self.invalid("after object key:value pair")),
        }
        let key = self.text()?;
        self.space();
        if self.bytes.get(self.at) != Some(&b':') {
            return Err(self.invalid("after object key"));
        }
        self.at += 1;
        Ok(Some(key))
    }

    /// Whether a list has another item.
    pub(super) fn item(&mut self, first: bool) -> Result<bool, Error> {
        self.space();
        match (self.bytes.get(self.at), first) {
            (Some(b']'), _) => {
                self.leave();
                Ok(false)
            }
            (Some(b','), false) => {
                self.at += 1;
                Ok(true)
            }
            (_, true) => Ok(true),
            _ => Err(self.invalid("after array element")),
        }
    }

    /// The next value as it is written.
    pub(super) fn raw(&mut self) -> Result<&'a [u8], Error> {
        self.space();
        let start = self.at;
        self.skip()?;
        Ok(&self.bytes[start..self.at])
    }

    /// Passes over the next value; the nesting is bounded by [`Self::enter`].
    pub(super) fn skip(&mut self) -> Result<(), Error> {
        match self.kind()? {
            Kind::Null => self.null(),
            Kind::Bool => self.bool().map(drop),
            Kind::Number => self.number().map(drop),
            Kind::Text => self.text().map(drop),
            Kind::Array => {
                self.enter()?;
                let mut first = true;
                while self.item(first)? {
                    self.skip()?;
                    first = false;
                }
                Ok(())
            }
            Kind::Object => {
                self.enter()?;
                let mut first = true;
                while self.key(first)?.is_some() {
                    self.skip()?;
                    first = false;
                }
                Ok(())
            }
        }
    }

    /// That nothing but space is left.
    pub(super) fn end(&mut self) -> Result<(), Error> {
        self.space();
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.invalid("after top-level value")) }
    }

    fn leave(&mut self) {
        self.depth -= 1;
        self.at += 1;
    }

    fn literal(&mut self, word: &'static str) -> Result<(), Error> {
        for byte in word.bytes() {
            if self.bytes.get(self.at) != Some(&byte) {
                let wanted = char::from(byte);
                return Err(self.invalid(&format!("in literal {word} (expecting '{wanted}')")));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// That the byte here cannot stand here.
    fn invalid(&self, place: &str) -> Error {
        Error::Syntax(match self.bytes.get(self.at) {
            None => "unexpected end of JSON input".to_owned(),
            Some(b'\'') => format!("invalid character '\\'' {place}"),
            Some(b'"') => format!("invalid character '\"' {place}"),
            // Go quotes the byte as if it were a character.
            Some(byte) => format!("invalid character {:?} {place}", char::from(*byte)),
        })
    }
}
