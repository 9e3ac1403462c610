//! Sets and maps: what they hold, and their elements.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

/// Elements that rules may put into one dynamic set; nft's own default, said so that it does not depend on the rules.
const DYNAMIC_SIZE: u32 = 65_535;

/// The definition of a set or, where it has a value type, of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    key: String,
    value: Option<String>,
    flags: Vec<&'static str>,
    timeout: Option<u64>,
}

/// The elements of one set or map, by key; a map's elements have values.
pub type Elements = BTreeMap<String, Option<String>>;

impl Set {
    /// A set of keys of this type, such as `ipv4_addr` or `ipv4_addr . inet_proto . inet_service`.
    pub fn of(key: impl Into<String>) -> Self {
        Self { key: key.into(), value: None, flags: Vec::new(), timeout: None }
    }

    /// A map from keys of one type to values of another, such as `verdict`.
    pub fn map(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { value: Some(value.into()), ..Self::of(key) }
    }

    /// The same set, its keys being ranges or prefixes.
    #[must_use]
    pub fn intervals(mut self) -> Self {
        self.flags.push("interval");
        self
    }

    /// The same set, filled by rules; elements vanish when not refreshed for this many seconds.
    #[must_use]
    pub fn dynamic(mut self, timeout_seconds: u64) -> Self {
        self.flags.extend(["dynamic", "timeout"]);
        self.timeout = Some(timeout_seconds);
        self
    }

    /// `set` or `map`, as commands spell it.
    pub(crate) fn noun(&self) -> &'static str {
        if self.value.is_some() { "map" } else { "set" }
    }
}

impl Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{ type {}", self.key)?;
        if let Some(value) = &self.value {
            write!(f, " : {value}")?;
        }
        f.write_str(" ;")?;
        if !self.flags.is_empty() {
            write!(f, " flags {} ;", self.flags.join(","))?;
        }
        if let Some(seconds) = self.timeout {
            write!(f, " timeout {seconds}s ; size {DYNAMIC_SIZE} ;")?;
        }
        f.write_str(" }")
    }
}

/// The key of an element of a concatenation, such as `10.43.0.1 . tcp . 443`.
pub fn key(parts: &[&dyn Display]) -> String {
    let mut out = String::new();
    for part in parts {
        if !out.is_empty() {
            out.push_str(" . ");
        }
        out.push_str(&part.to_string());
    }
    out
}
