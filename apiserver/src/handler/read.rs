//! Get and list of stored resources, out of the cache wherever that is the same as out of the store.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use proto::kind::Kind;
use serde_json::{Value, json};
use store::{Interval, Revision};

use super::Scope;
use crate::fault::Fault;
use crate::field::FieldError;
use crate::present::ListMeta;
use crate::request::{Call, RequestInfo, Response};
use crate::resource::Resource;
use crate::select::Selection;
use crate::server::Server;
use crate::storage;

/// How many values are read from the store at once for a list at an old revision.
const PAGE: usize = 500;

/// What upstream says of a continue token whose revision is compacted.
const TOO_OLD: &str = "The provided continue parameter is too old to display a consistent list result. You can start \
    a new list without the continue parameter, or use the continue token in this response to retrieve the remainder \
    of the results. Continuing with the provided token results in an inconsistent list - objects that were created, \
    modified, or deleted between the time the first chunk was returned and now may show up in the list.";

/// Part of a list, encoded.
pub(super) struct Found {
    pub(super) items: Vec<Bytes>,
    pub(super) meta: ListMeta,
}

/// At which revision a list shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// The latest.
    Fresh,
    /// Any that is known.
    Any,
    /// This one or a later one.
    NotOlderThan(Revision),
    /// This very one.
    Exact(Revision),
}

pub(super) async fn get(
    server: &Server,
    kind: &'static Kind,
    resource: &Resource,
    call: &Call,
) -> Result<Response, Fault> {
    let scope = Scope::new(server, kind, resource, call, &Value::Null)?;
    let act = &scope.act;
    if call.info.flag("export") {
        return Err(Fault::bad_request(
            "the export parameter, deprecated since v1.14, is no longer supported",
        ));
    }
    let path = resource.path(act.namespace, act.name);
    if let Some(version) = call.info.param("resourceVersion").filter(|text| !text.is_empty()) {
        let revision: Revision = parse_version(version)?;
        server.reached(revision).await?;
        let entry = server.cache().get(resource.index, &path).ok_or_else(|| act.not_found())?;
        return scope.presenter.answer(200, &entry.json);
    }
    let (item, _) = server.store().get(resource.key(act.namespace, act.name).as_bytes()).await?;
    let item = item.ok_or_else(|| act.not_found())?;
    if let Some(entry) = server.cache().get(resource.index, &path)
        && entry.revision == item.mod_revision
    {
        return scope.presenter.answer(200, &entry.json);
    }
    scope.answer(200, &storage::decode(resource, &item)?)
}

fn parse_version(text: &str) -> Result<Revision, Fault> {
    text.parse().map_err(|_| {
        let error = FieldError::invalid(
            "resourceVersion",
            text,
            format!("strconv.ParseUint: parsing {text:?}: invalid syntax"),
        );
        Fault::bad_request(error.to_string())
    })
}

pub(super) async fn list(
    server: &Server,
    kind: &'static Kind,
    resource: &Resource,
    call: &Call,
) -> Result<Response, Fault> {
    let scope = Scope::new(server, kind, resource, call, &Value::Null)?;
    let selection = Selection::read(&call.info, resource.behavior)?;
    let found = listing(server, resource, &call.info, &selection, scope.act.namespace).await?;
    scope.presenter.list(200, &found.meta, found.items)
}

/// The part of a list that a request asks for.
pub(super) async fn listing(
    server: &Server,
    resource: &Resource,
    info: &RequestInfo,
    selection: &Selection,
    namespace: &str,
) -> Result<Found, Fault> {
    info.number("timeoutSeconds")?;
    let limit = usize::try_from(info.number("limit")?.unwrap_or(0)).unwrap_or(0);
    let prefix = resource.path_prefix(namespace);
    let token = info.param("continue").filter(|text| !text.is_empty());
    let wanted = version_match(info)?;
    let (at, after) = match token {
        Some(token) => {
            if info.param("resourceVersion").is_some_and(|text| !text.is_empty() && text != "0") {
                return Err(Fault::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            let (revision, start) = read_token(token, &prefix)?;
            (if revision < 0 { At::Fresh } else { At::Exact(revision) }, start)
        }
        None => (wanted, String::new()),
    };
    match at {
        At::Fresh => drop(server.fresh().await?),
        At::Any => {}
        At::NotOlderThan(revision) => server.reached(revision).await?,
        At::Exact(revision) => {
            server.reached(revision).await?;
            let unchanged = server.cache().changed_at(resource.index) <= revision;
            if !unchanged {
                let scan = Scan { namespace, selection, limit };
                return at_revision(server, resource, &scan, revision, &after, token.is_some()).await;
            }
        }
    }
    let listing = server.cache().list(resource.index, &prefix, &after);
    let revision = if let At::Exact(revision) = at { revision } else { listing.revision };
    let mut selected = listing.entries.iter().filter(|entry| selection.matches(entry));
    let limit_or_all = if limit == 0 { usize::MAX } else { limit };
    let taken: Vec<_> = selected.by_ref().take(limit_or_all).collect();
    let rest = selected.count() as i64;
    let mut meta = ListMeta { revision, ..ListMeta::default() };
    if rest > 0
        && let Some(last) = taken.last()
    {
        meta.next = write_token(revision, &resource.path(&last.namespace, &last.name), &prefix);
        meta.remaining = selection.is_everything().then_some(rest);
    }
    Ok(Found { items: taken.into_iter().map(|entry| entry.json.clone()).collect(), meta })
}

/// What of a resource is listed.
struct Scan<'a> {
    namespace: &'a str,
    selection: &'a Selection,
    limit: usize,
}

/// A list at a revision that the cache has left behind: out of the store.
async fn at_revision(
    server: &Server,
    resource: &Resource,
    scan: &Scan<'_>,
    revision: Revision,
    after: &str,
    continued: bool,
) -> Result<Found, Fault> {
    let mut keys = Interval::prefix(resource.key_prefix(scan.namespace));
    if !after.is_empty() {
        keys.start = format!("{}{after}\0", resource.prefix).into();
    }
    let mut items = Vec::new();
    let mut meta = ListMeta { revision, ..ListMeta::default() };
    let path_prefix = resource.path_prefix(scan.namespace);
    loop {
        let wanted = if scan.limit == 0 { PAGE } else { (scan.limit - items.len()).max(1) };
        let page = server.store().range(keys.clone(), wanted, revision).await;
        let page = page.map_err(|error| compacted(error, after, continued, &path_prefix))?;
        let left = page.count - page.items.len() as i64;
        let mut last = String::new();
        for item in &page.items {
            let Some((_, path)) = server.resources().of_key(&item.key) else { continue };
            let object = storage::decode(resource, item)?;
            let entry = storage::entry(resource, path, item.mod_revision, &object)?;
            path.clone_into(&mut last);
            if scan.selection.matches(&entry) {
                items.push(entry.json);
            }
        }
        if left <= 0 || last.is_empty() {
            return Ok(Found { items, meta });
        }
        if scan.limit > 0 && items.len() >= scan.limit {
            meta.next = write_token(revision, &last, &path_prefix);
            meta.remaining = scan.selection.is_everything().then_some(left);
            return Ok(Found { items, meta });
        }
        keys.start = format!("{}{last}\0", resource.prefix).into();
    }
}

fn compacted(error: store::Error, after: &str, continued: bool, prefix: &str) -> Fault {
    match error {
        store::Error::Compacted { .. } if continued => {
            Fault::expired(TOO_OLD).with_continue(write_token(-1, after, prefix))
        }
        store::Error::Compacted { asked, .. } => {
            Fault::expired(format!("The resourceVersion for the provided list is too old: {asked}"))
        }
        other => other.into(),
    }
}

/// A continue token, as kube-apiserver writes it: where to go on, below the prefix of the list.
fn write_token(revision: Revision, last: &str, prefix: &str) -> String {
    let start = format!("{}\0", last.strip_prefix(prefix).unwrap_or(last));
    let token = json!({"v": "meta.k8s.io/v1", "rv": revision, "start": start});
    URL_SAFE_NO_PAD.encode(token.to_string())
}

/// The revision and the last path of a continue token.
fn read_token(token: &str, prefix: &str) -> Result<(Revision, String), Fault> {
    let invalid =
        |why: &str| Fault::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
    let bytes = URL_SAFE_NO_PAD
        .decode(token.trim_end_matches('='))
        .map_err(|error| invalid(&base64_complaint(token, &error)))?;
    let token: Value = serde_json::from_slice(&bytes).map_err(|error| invalid(&error.to_string()))?;
    if token["v"] != "meta.k8s.io/v1" {
        return Err(invalid("server does not recognize this encoded version"));
    }
    let revision = token["rv"]
        .as_i64()
        .filter(|revision| *revision != 0)
        .ok_or_else(|| invalid("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"))?;
    let start = token["start"]
        .as_str()
        .filter(|start| !start.is_empty())
        .ok_or_else(|| invalid("encoded start key empty (version meta.k8s.io/v1)"))?;
    if start.contains("../") || start.starts_with('/') {
        return Err(invalid(start));
    }
    let last = start.strip_suffix('\0').unwrap_or(start);
    Ok((revision, format!("{prefix}{last}")))
}

/// What is wrong with base64, in Go's words.
fn base64_complaint(token: &str, error: &base64::DecodeError) -> String {
    let place = match error {
        base64::DecodeError::InvalidByte(place, _) | base64::DecodeError::InvalidLastSymbol(place, _) => {
            *place
        }
        _ => token.len() / 4 * 4,
    };
    format!("illegal base64 data at input byte {place}")
}

/// Which revision the query asks for.
fn version_match(info: &RequestInfo) -> Result<At, Fault> {
    let version = info.param("resourceVersion").unwrap_or_default();
    let matching = info.param("resourceVersionMatch").unwrap_or_default();
    let refuse = |errors: &[FieldError]| Err(Fault::invalid("meta.k8s.io", "ListOptions", "", errors));
    if !matching.is_empty() && info.param("continue").is_some_and(|token| !token.is_empty()) {
        return refuse(&[FieldError::forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden when continue is provided",
        )]);
    }
    if !matching.is_empty() && version.is_empty() {
        return refuse(&[FieldError::forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        )]);
    }
    if !matches!(matching, "" | "Exact" | "NotOlderThan") {
        return refuse(&[FieldError::not_supported(
            "resourceVersionMatch",
            matching,
            &["Exact", "NotOlderThan"],
        )]);
    }
    if matching == "Exact" && version == "0" {
        return refuse(&[FieldError::forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
        )]);
    }
    if version.is_empty() {
        return Ok(At::Fresh);
    }
    let revision = parse_version(version)?;
    // With a limit and no match, upstream reads at the very revision.
    let limited = info.param("limit").is_some_and(|limit| !limit.is_empty() && limit != "0");
    Ok(match (revision, matching) {
        (0, _) => At::Any,
        (_, "Exact") => At::Exact(revision),
        (_, "") if limited => At::Exact(revision),
        _ => At::NotOlderThan(revision),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continue_tokens() {
        let token = write_token(7, "ns/b", "ns/");
        assert_eq!(read_token(&token, "ns/").unwrap(), (7, "ns/b".to_owned()));
        for token in ["%", "e30", ""] {
            assert_eq!(read_token(token, "").unwrap_err().code, 400, "{token}");
        }
    }

    #[test]
    fn revisions_asked_for() {
        let cases = [
            ("", Some(At::Fresh)),
            ("resourceVersion=0", Some(At::Any)),
            ("resourceVersion=5", Some(At::NotOlderThan(5))),
            ("resourceVersion=5&limit=1", Some(At::Exact(5))),
            ("resourceVersion=5&resourceVersionMatch=Exact", Some(At::Exact(5))),
            ("resourceVersionMatch=Exact", None),
            ("resourceVersion=0&resourceVersionMatch=Exact", None),
            ("resourceVersion=x", None),
        ];
        for (query, expected) in cases {
            let uri = format!("/api/v1/pods?{query}").parse().unwrap();
            let info = RequestInfo::parse(&http::Method::GET, &uri);
            assert_eq!(version_match(&info).ok(), expected, "{query}");
        }
    }
}
