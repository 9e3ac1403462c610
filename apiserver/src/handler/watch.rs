//! Watch of stored resources: a place in the cache's history that moves on, shown as a stream of lines.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proto::kind::Kind;
use rand::Rng;
use serde_json::Value;
use store::Revision;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Scope;
use crate::body;
use crate::cache::{Cache, Change, Entry};
use crate::fault::Fault;
use crate::field::FieldError;
use crate::object;
use crate::present::Presenter;
use crate::request::{Call, RequestInfo, Response};
use crate::resource::Resource;
use crate::select::Selection;
use crate::server::Server;

/// How many changes are shown at once: a slow reader is asked again after each such batch.
const BATCH: usize = 256;

/// How often a watch that wants bookmarks gets one while nothing happens (upstream's figure).
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// From where a watch is told of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// First what there is at this revision or a later one, then changes. Whether the end of the first part is marked.
    State { revision: Option<Revision>, marked: bool },
    /// Changes after this revision.
    After(Revision),
    /// Changes from now on.
    Now,
}

/// One watch.
struct Watcher {
    cache: Arc<Cache>,
    resource: usize,
    stored: &'static Kind,
    namespace: String,
    presenter: Presenter,
    selection: Selection,
    bookmarks: bool,
    drain: daemon::drain::Drain,
    ends: Instant,
    changed: watch::Receiver<Revision>,
    position: Revision,
    initial: std::vec::IntoIter<Arc<Entry>>,
    mark: bool,
    first: bool,
    ended: bool,
}

pub(super) async fn watch(
    server: &Server,
    kind: &'static Kind,
    resource: &Resource,
    call: &Call,
) -> Result<Response, Fault> {
    let scope = Scope::new(server, kind, resource, call, &Value::Null)?;
    let mut selection = Selection::read(&call.info, resource.behavior)?;
    if !scope.act.name.is_empty() {
        selection = selection.named(scope.act.name);
    }
    let from = start(&call.info)?;
    let bookmarks = call.info.flag("allowWatchBookmarks");
    let (entries, position, mark) = match from {
        From::State { revision, marked } => {
            match revision {
                Some(revision) => server.reached(revision).await?,
                None => drop(server.fresh().await?),
            }
            let listing = server.cache().list(resource.index, &resource.path_prefix(scope.act.namespace), "");
            (listing.entries, listing.revision, marked)
        }
        From::After(revision) => (Vec::new(), revision, false),
        From::Now => (Vec::new(), server.fresh().await?, false),
    };
    let changed = server.cache().changes(resource.index).ok_or_else(Fault::no_such_path)?;
    let watcher = Watcher {
        cache: Arc::clone(server.cache()),
        resource: resource.index,
        stored: resource.kind,
        namespace: scope.act.namespace.to_owned(),
        presenter: scope.presenter.clone(),
        selection,
        bookmarks,
        drain: server.context().drain(),
        ends: Instant::now()
            + lifetime(call.info.number("timeoutSeconds")?, server.settings().min_request_timeout),
        changed,
        position,
        initial: entries.into_iter(),
        mark,
        first: true,
        ended: false,
    };
    let pieces = futures::stream::unfold(watcher, |mut watcher| async move {
        let piece = watcher.next().await?;
        Some((Ok::<_, io::Error>(piece), watcher))
    });
    Ok(body::with_body(200, scope.presenter.format().encoding.stream_type(), body::stream(pieces)))
}

/// How long a watch lasts: as long as the client says, else between once and twice the least time.
fn lifetime(wanted: Option<i64>, least: Duration) -> Duration {
    match wanted.and_then(|seconds| u64::try_from(seconds).ok()) {
        Some(seconds) if seconds > 0 => Duration::from_secs(seconds),
        _ => least.mul_f64(1.0 + rand::rng().random::<f64>()),
    }
}

/// From where the query wants to be told of changes.
fn start(info: &RequestInfo) -> Result<From, Fault> {
    let refuse = |field: &str, why: &str| {
        Err(Fault::invalid("meta.k8s.io", "ListOptions", "", &[FieldError::forbidden(field, why)]))
    };
    let version = info.param("resourceVersion").unwrap_or_default();
    let matching = info.param("resourceVersionMatch").unwrap_or_default();
    let initial = info.param("sendInitialEvents").filter(|text| !text.is_empty());
    if !matching.is_empty() && initial.is_none() {
        return refuse(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        );
    }
    if initial.is_some() && matching != "NotOlderThan" {
        return refuse(
            "resourceVersionMatch",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        );
    }
    let revision: Revision = if version.is_empty() {
        0
    } else {
        version.parse().map_err(|_| {
            Fault::bad_request(
                FieldError::invalid(
                    "resourceVersion",
                    version,
                    format!("strconv.ParseUint: parsing {version:?}: invalid syntax"),
                )
                .to_string(),
            )
        })?
    };
    Ok(match (initial.map(|text| text != "false" && text != "0"), revision) {
        (Some(true), 0) if version == "0" => From::State { revision: Some(0), marked: true },
        (Some(true), 0) => From::State { revision: None, marked: true },
        (Some(true), revision) => From::State { revision: Some(revision), marked: true },
        (Some(false), 0) => From::Now,
        (None, 0) if version.is_empty() => From::State { revision: None, marked: false },
        (None, 0) => From::State { revision: Some(0), marked: false },
        (_, revision) => From::After(revision),
    })
}

impl Watcher {
    /// The next lines; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(lines) = self.initial_lines() {
            return Some(lines);
        }
        let mut quiet = Instant::now() + BOOKMARK_EVERY;
        loop {
            if self.ended {
                return None;
            }
            // Read before the changes: what is known up to here has then been shown.
            let known = self.cache.revision();
            self.changed.borrow_and_update();
            match self.cache.after(self.resource, self.position, BATCH) {
                Err(too_old) => return self.end(&too_old_fault(self.position, too_old.oldest)),
                Ok(changes) => {
                    let caught_up = changes.is_empty();
                    if let Some(lines) = self.lines(&changes) {
                        return Some(lines);
                    }
                    if !caught_up {
                        continue;
                    }
                    self.position = self.position.max(known);
                }
            }
            tokio::select! {
                changed = self.changed.changed() => changed.ok()?,
                () = tokio::time::sleep_until(self.ends) => return None,
                () = self.drain.signaled() => return None,
                () = tokio::time::sleep_until(quiet), if self.bookmarks => {
                    quiet = Instant::now() + BOOKMARK_EVERY;
                    let known = self.cache.revision();
                    let nothing_new =
                        self.cache.after(self.resource, self.position, 1).is_ok_and(|changes| changes.is_empty());
                    if nothing_new {
                        self.position = self.position.max(known);
                        return self.presenter.bookmark(self.position, false);
                    }
                }
            }
        }
    }

    /// What there was at the beginning, some of it; and the mark after the last of it.
    fn initial_lines(&mut self) -> Option<Bytes> {
        let mut out = BytesMut::new();
        for entry in self.initial.by_ref().take(BATCH) {
            if self.selection.matches(&entry) {
                match self.presenter.event("ADDED", &entry.json, self.first) {
                    Ok(line) => out.extend_from_slice(&line),
                    Err(fault) => return self.end(&fault),
                }
                self.first = false;
            }
        }
        if self.mark && self.initial.len() == 0 {
            self.mark = false;
            out.extend_from_slice(&self.presenter.bookmark(self.position, true).unwrap_or_default());
        }
        if out.is_empty() && self.initial.len() > 0 {
            self.initial_lines()
        } else {
            (!out.is_empty()).then(|| out.freeze())
        }
    }

    /// Changes as lines; `None` where none of them is to be seen.
    fn lines(&mut self, changes: &[Change]) -> Option<Bytes> {
        let mut out = BytesMut::new();
        for change in changes {
            self.position = change.revision;
            if !self.namespace.is_empty() && *change.now.namespace != *self.namespace {
                continue;
            }
            let Some((kind, json)) = seen(self.stored, &self.selection, change) else { continue };
            match self.presenter.event(kind, &json, self.first) {
                Ok(line) => out.extend_from_slice(&line),
                Err(fault) => return self.end(&fault),
            }
            self.first = false;
        }
        (!out.is_empty()).then(|| out.freeze())
    }

    /// The last line: why the watch ends.
    fn end(&mut self, fault: &Fault) -> Option<Bytes> {
        self.ended = true;
        self.presenter.error(fault)
    }
}

/// How a change looks to somebody who sees only what is selected.
fn seen(kind: &Kind, selection: &Selection, change: &Change) -> Option<(&'static str, Bytes)> {
    let before = change.before.as_deref().filter(|entry| selection.matches(entry));
    let now = Some(&change.now).filter(|entry| !change.deleted && selection.matches(entry));
    match (before, now) {
        (None, Some(now)) => Some(("ADDED", now.json.clone())),
        (Some(_), Some(now)) => Some(("MODIFIED", now.json.clone())),
        (Some(_), None) if change.deleted => Some(("DELETED", change.now.json.clone())),
        (Some(before), None) => Some(("DELETED", at_revision(kind, before, change.revision))),
        (None, None) => None,
    }
}

/// An object as it was, with the revision at which it went out of sight.
fn at_revision(kind: &Kind, entry: &Entry, revision: Revision) -> Bytes {
    let mut value = entry.value();
    crate::storage::set_revision(&mut value, revision);
    // Shown as it was but for its revision; where that cannot be, as it was.
    object::encode(kind, &value).unwrap_or_else(|_| entry.json.clone())
}

fn too_old_fault(asked: Revision, oldest: Revision) -> Fault {
    Fault::expired(format!("too old resource version: {asked} ({oldest})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_watches_begin() {
        let cases = [
            ("", Some(From::State { revision: None, marked: false })),
            ("resourceVersion=0", Some(From::State { revision: Some(0), marked: false })),
            ("resourceVersion=7", Some(From::After(7))),
            (
                "sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
                Some(From::State { revision: None, marked: true }),
            ),
            ("sendInitialEvents=false&resourceVersionMatch=NotOlderThan", Some(From::Now)),
            ("sendInitialEvents=true", None),
            ("resourceVersionMatch=NotOlderThan", None),
        ];
        for (query, expected) in cases {
            let uri = format!("/api/v1/pods?watch=1&{query}").parse().unwrap();
            assert_eq!(start(&RequestInfo::parse(&http::Method::GET, &uri)).ok(), expected, "{query}");
        }
    }
}
