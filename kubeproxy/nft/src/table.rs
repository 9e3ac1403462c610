//! Tables and chains.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use crate::rule::{Rule, Verdict};
use crate::set::{Elements, Set};

/// The packets a table sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// Both.
    Inet,
}

/// Where in the kernel a base chain hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// `filter` or `nat`.
    pub kind: &'static str,
    /// `prerouting`, `input`, `forward`, `output` or `postrouting`.
    pub point: &'static str,
    /// Lower ones see a packet earlier.
    pub priority: i32,
}

/// A list of rules; a base chain where it has a hook.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// Where it hangs; none for a chain that is only jumped to.
    pub hook: Option<Hook>,
    /// What it does, in order.
    pub rules: Vec<Rule>,
}

/// A whole table, or that part of one that somebody answers for.
///
/// Elements are apart from the definitions of their sets, so that a part may add elements to a set that another
/// part defines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The packets it sees.
    pub family: Family,
    /// Its name, unique in its family.
    pub name: String,
    /// Its chains, by name.
    pub chains: BTreeMap<String, Chain>,
    /// Its sets and maps, by name.
    pub sets: BTreeMap<String, Set>,
    /// The elements of its sets and maps, by their names.
    pub elements: BTreeMap<String, Elements>,
}

impl Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Inet => "inet",
        })
    }
}

impl Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "type {} hook {} priority {} ;", self.kind, self.point, self.priority)
    }
}

impl Chain {
    /// A chain that is jumped to.
    pub fn of<R: Into<Rule>>(rules: impl IntoIterator<Item = R>) -> Self {
        Self { hook: None, rules: rules.into_iter().map(Into::into).collect() }
    }

    /// A chain that the kernel enters at a hook.
    pub fn at<R: Into<Rule>>(hook: Hook, rules: impl IntoIterator<Item = R>) -> Self {
        Self { hook: Some(hook), ..Self::of(rules) }
    }
}

impl Table {
    /// A table with nothing in it.
    pub fn new(family: Family, name: impl Into<String>) -> Self {
        Self {
            family,
            name: name.into(),
            chains: BTreeMap::new(),
            sets: BTreeMap::new(),
            elements: BTreeMap::new(),
        }
    }

    /// A table of the same family and name with nothing in it.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self::new(self.family, self.name.clone())
    }

    /// Puts a chain in.
    pub fn chain(&mut self, name: impl Into<String>, chain: Chain) {
        self.chains.insert(name.into(), chain);
    }

    /// Puts the definition of a set or map in.
    pub fn set(&mut self, name: impl Into<String>, set: Set) {
        self.sets.insert(name.into(), set);
    }

    /// Puts an element into a set.
    pub fn element(&mut self, set: &str, key: impl Into<String>) {
        self.put(set, key.into(), None);
    }

    /// Puts an element with a verdict into a verdict map; the first one with a key counts.
    pub fn verdict(&mut self, map: &str, key: impl Into<String>, verdict: &Verdict) {
        self.put(map, key.into(), Some(verdict.to_string()));
    }

    /// Adds all that `part` has; where both have something by the same name, it stays as it is here.
    pub fn merge(&mut self, part: &Self) {
        for (name, chain) in &part.chains {
            self.chains.entry(name.clone()).or_insert_with(|| chain.clone());
        }
        for (name, set) in &part.sets {
            self.sets.entry(name.clone()).or_insert_with(|| set.clone());
        }
        for (set, elements) in &part.elements {
            for (key, value) in elements {
                self.put(set, key.clone(), value.clone());
            }
        }
    }

    fn put(&mut self, set: &str, key: String, value: Option<String>) {
        let elements = match self.elements.get_mut(set) {
            Some(elements) => elements,
            None => self.elements.entry(set.to_owned()).or_default(),
        };
        elements.entry(key).or_insert(value);
    }
}
