//! The table of routes: from a host and a path to the addresses that serve them.
//!
//! Pure: a table is made whole by [`crate::plan`] and never changes, but for where each backend's turn stands.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use client::Key;

use crate::endpoint::PortName;

/// How a rule's path is compared. In this order, the first of two equally long ones counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Match {
    Exact,
    /// By elements between slashes.
    Prefix,
    /// Left to us by the API: the same as `Prefix`.
    Specific,
}

/// A port of a Service that rules name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BackendName {
    pub service: Key,
    pub port: PortName,
}

/// Where requests of one backend go, in turn.
#[derive(Debug, Default)]
pub struct Upstream {
    addresses: Vec<SocketAddr>,
    turn: AtomicUsize,
}

/// Which paths of one host lead where, the strongest first.
#[derive(Debug, Default)]
struct Paths(Vec<Path>);

#[derive(Debug)]
struct Path {
    kind: Match,
    /// Without slashes at its end unless it is exact.
    text: String,
    to: Arc<Upstream>,
}

/// All routes of a node.
#[derive(Debug, Default)]
pub struct Table {
    hosts: HashMap<String, Paths>,
    /// By what follows the first label, dot included.
    wildcards: HashMap<String, Paths>,
    anywhere: Paths,
    fallback: Option<Arc<Upstream>>,
    upstreams: BTreeMap<BackendName, Arc<Upstream>>,
}

/// One rule on its way into a table.
#[derive(Debug)]
pub struct Rule {
    /// Empty for every host.
    pub host: String,
    pub kind: Match,
    pub path: String,
    pub to: BackendName,
}

impl Upstream {
    /// One whose turn stands at the first of the addresses.
    pub fn new(addresses: Vec<SocketAddr>) -> Self {
        Self { addresses, turn: AtomicUsize::new(0) }
    }

    /// The next address in turn that has not been tried; one that is not avoided, if there is any such.
    pub fn pick(&self, tried: &[SocketAddr], is_avoided: impl Fn(&SocketAddr) -> bool) -> Option<SocketAddr> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let from = turn.checked_rem(self.addresses.len())?;
        let (before, after) = self.addresses.split_at(from);
        let mut left = after.iter().chain(before).filter(|address| !tried.contains(address)).peekable();
        let first = left.peek().copied().copied()?;
        Some(left.find(|address| !is_avoided(address)).copied().unwrap_or(first))
    }

    /// Where requests go.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

impl Table {
    /// A table of these rules and default backends; where two say the same, the first counts.
    ///
    /// `before` is the table that it follows: the turns of its backends go on.
    pub fn new(
        rules: Vec<Rule>,
        fallback: Option<&BackendName>,
        addresses: impl Fn(&BackendName) -> Vec<SocketAddr>,
        before: &Self,
    ) -> Self {
        let mut table = Self::default();
        for rule in rules {
            let to = table.upstream(&rule.to, &addresses, before);
            let paths = match rule.host.strip_prefix('*') {
                _ if rule.host.is_empty() => &mut table.anywhere,
                Some(suffix) => table.wildcards.entry(suffix.to_ascii_lowercase()).or_default(),
                None => table.hosts.entry(rule.host.to_ascii_lowercase()).or_default(),
            };
            paths.0.push(Path::new(rule.kind, rule.path, to));
        }
        let hosts = table.hosts.values_mut().chain(table.wildcards.values_mut());
        for paths in hosts.chain(std::iter::once(&mut table.anywhere)) {
            // Stable, so that of equal ones the first stays first.
            paths.0.sort_by_key(|path| (std::cmp::Reverse(path.text.len()), path.kind));
        }
        table.fallback = fallback.map(|name| table.upstream(name, &addresses, before));
        table
    }

    fn upstream(
        &mut self,
        name: &BackendName,
        addresses: impl Fn(&BackendName) -> Vec<SocketAddr>,
        before: &Self,
    ) -> Arc<Upstream> {
        if let Some(known) = self.upstreams.get(name) {
            return Arc::clone(known);
        }
        let turn = before.upstreams.get(name).map_or(0, |old| old.turn.load(Ordering::Relaxed));
        let made = Arc::new(Upstream { addresses: addresses(name), turn: AtomicUsize::new(turn) });
        self.upstreams.insert(name.clone(), Arc::clone(&made));
        made
    }

    /// Where a request for this host (without port, in lower case) and path (as sent) goes; nothing where no rule
    /// fits and there is no default backend.
    ///
    /// A rule for the very host comes before one with a wildcard, and that before one for every host; within each,
    /// the longest path wins.
    pub fn find(&self, host: &str, path: &str) -> Option<&Arc<Upstream>> {
        let path = unescaped(path);
        let wildcard = host.find('.').and_then(|dot| self.wildcards.get(&host[dot..]));
        let candidates = [self.hosts.get(host), wildcard, Some(&self.anywhere)];
        let found = candidates.into_iter().flatten().find_map(|paths| paths.find(&path));
        found.or(self.fallback.as_ref())
    }

    /// All backends that rules name.
    pub fn upstreams(&self) -> impl Iterator<Item = (&BackendName, &Arc<Upstream>)> {
        self.upstreams.iter()
    }
}

impl Paths {
    fn find(&self, path: &[u8]) -> Option<&Arc<Upstream>> {
        self.0.iter().find(|candidate| candidate.fits(path)).map(|found| &found.to)
    }
}

impl Path {
    fn new(kind: Match, text: String, to: Arc<Upstream>) -> Self {
        let text = match kind {
            Match::Exact => text,
            Match::Prefix | Match::Specific => text.trim_end_matches('/').to_owned(),
        };
        Self { kind, text, to }
    }

    fn fits(&self, path: &[u8]) -> bool {
        let rest = path.strip_prefix(self.text.as_bytes());
        match self.kind {
            Match::Exact => rest.is_some_and(<[u8]>::is_empty),
            Match::Prefix | Match::Specific => {
                rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
            }
        }
    }
}

/// A path with its percent-encoding undone, for comparison with what people write in rules; an encoded slash stays,
/// as it separates nothing.
fn unescaped(path: &str) -> Cow<'_, [u8]> {
    if !path.contains('%') {
        return Cow::Borrowed(path.as_bytes());
    }
    let digit = |at: Option<&u8>| at.and_then(|byte| char::from(*byte).to_digit(16));
    let mut rest = path.as_bytes();
    let mut out = Vec::with_capacity(rest.len());
    while let Some((&first, after)) = rest.split_first() {
        let code = match (first, digit(after.first()), digit(after.get(1))) {
            (b'%', Some(high), Some(low)) => u8::try_from(high * 16 + low).ok().filter(|code| *code != b'/'),
            _ => None,
        };
        out.push(code.unwrap_or(first));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests;
