//! Field selectors: equalities on the few fields a kind lets be selected on.

use std::fmt;

use super::Error;

/// A field selector: all its terms must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// What must hold, ordered as upstream orders them.
    pub terms: Vec<Term>,
}

/// One condition on one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// The path of the field, as in `metadata.name`.
    pub field: String,
    /// Whether the value must be this one, or must be another.
    pub equal: bool,
    /// The value, without escapes.
    pub value: String,
}

impl FieldSelector {
    /// Reads the `fieldSelector` of a query. Which fields a kind knows is checked by who knows the kind.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut parts = split(text);
        parts.sort_unstable();
        let mut terms = Vec::new();
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            let not_understood = || Error(format!("invalid selector: '{text}'; can't understand '{part}'"));
            let (field, equal, value) = split_term(part).ok_or_else(not_understood)?;
            let value = unescape(value)?;
            if !(equal && field.is_empty() && value.is_empty()) {
                terms.push(Term { field: field.to_owned(), equal, value });
            }
        }
        Ok(Self { terms })
    }

    /// Whether an object is selected whose fields are told by `field`; one it does not have is empty.
    pub fn matches<'a>(&self, field: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.terms.iter().all(|term| (field(&term.field).unwrap_or_default() == term.value) == term.equal)
    }

    /// The one value a field must have, if there is such a term.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|term| term.equal && term.field == field).map(|term| term.value.as_str())
    }

    /// Whether it selects every object.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }
}

impl fmt::Display for FieldSelector {
    /// The text that reads as the same selector.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, term) in self.terms.iter().enumerate() {
            let value = term.value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            let (comma, operator) = (if at == 0 { "" } else { "," }, if term.equal { "=" } else { "!=" });
            write!(out, "{comma}{}{operator}{value}", term.field)?;
        }
        Ok(())
    }
}

/// The parts between commas that are not escaped.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    for (at, _) in term.char_indices() {
        for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
            if let Some(value) = term[at..].strip_prefix(operator) {
                return Some((&term[..at], equal, value));
            }
        }
    }
    None
}

fn unescape(text: &str) -> Result<String, Error> {
    let sequence = |what: &str| Error(format!("invalid field selector: invalid escape sequence: {what}"));
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(c) => return Err(sequence(&format!("\\{c}"))),
                None => return Err(sequence("\\")),
            },
            ',' | '=' => {
                let code = u32::from(c);
                return Err(Error(format!("invalid field selector: unescaped character in value: {code}")));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}
