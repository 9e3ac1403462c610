//! Objects as callers want to see them: whole, as their metadata, as rows of a table; in the version of the request.
//!
//! Everything works on encoded objects: bytes that begin with [`Resource::head`]. The common case copies them.

use std::io;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use proto::kind::{Kind, split_api_version};
use proto::{codec, field};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::fault::Fault;
use crate::negotiation::{Encoding, Format, View};
use crate::object;
use crate::print::{self, Column};
use crate::request::{Body, RequestInfo, Response};
use crate::resource::{Resource, head};
use crate::{body, convert};

/// How much of a list is encoded before it is sent: large enough for few system calls, small enough to hold nothing up.
const PIECE: usize = 64 * 1024;

/// What the rows of a table carry of their objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Include {
    None,
    Metadata,
    Object,
}

/// Shows objects of one resource in one format.
#[derive(Debug, Clone)]
pub struct Presenter {
    format: Format,
    kind: &'static Kind,
    stored: &'static Kind,
    stored_head: usize,
    head: String,
    include: Include,
}

/// What a list says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListMeta {
    /// The revision it was read at.
    pub revision: store::Revision,
    /// How to get the rest; empty at the end.
    pub next: String,
    /// How many objects are left, where that is known.
    pub remaining: Option<i64>,
}

impl ListMeta {
    fn json(&self) -> Value {
        let mut meta = json!({"resourceVersion": self.revision.to_string()});
        if !self.next.is_empty() {
            meta["continue"] = self.next.as_str().into();
        }
        if let Some(remaining) = self.remaining {
            meta["remainingItemCount"] = remaining.into();
        }
        meta
    }
}

#[derive(Deserialize)]
struct OnlyMetadata<'a> {
    #[serde(borrow)]
    metadata: &'a RawValue,
}

impl Presenter {
    /// A presenter for a request.
    ///
    /// # Errors
    /// 400 where `includeObject` says something unknown.
    pub fn new(
        format: Format,
        kind: &'static Kind,
        resource: &Resource,
        info: &RequestInfo,
    ) -> Result<Self, Fault> {
        Self::of(format, kind, resource.kind, info)
    }

    /// A presenter for objects that are encoded as `stored` and shown as `kind`.
    ///
    /// # Errors
    /// 400 where `includeObject` says something unknown.
    pub fn of(
        format: Format,
        kind: &'static Kind,
        stored: &'static Kind,
        info: &RequestInfo,
    ) -> Result<Self, Fault> {
        let include = match info.param("includeObject") {
            None | Some("" | "Metadata") => Include::Metadata,
            Some("None") => Include::None,
            Some("Object") => Include::Object,
            Some(other) if matches!(format.view, View::Table(_)) => {
                return Err(Fault::bad_request(format!(
                    "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be \
                     'Metadata', 'Object', 'None', or empty"
                )));
            }
            Some(_) => Include::Metadata,
        };
        Ok(Self {
            format,
            kind,
            stored,
            stored_head: head(stored.kind, &stored.api_version()).len(),
            head: head(kind.kind, &kind.api_version()),
            include,
        })
    }

    /// The format it presents in.
    pub fn format(&self) -> Format {
        self.format
    }

    /// An encoded object in the version of the request, kind and version included.
    fn whole(&self, json: &Bytes) -> Result<Bytes, Fault> {
        if std::ptr::eq(self.kind, self.stored) {
            return Ok(json.clone());
        }
        if convert::is_renaming(self.stored, self.kind) {
            let mut out = BytesMut::from(self.head.as_bytes());
            out.extend_from_slice(&json[self.stored_head..]);
            return Ok(out.freeze());
        }
        object::encode(self.kind, &self.value(json)?)
    }

    /// An encoded object as a value in the version of the request.
    fn value(&self, json: &Bytes) -> Result<Value, Fault> {
        let mut value: Value = serde_json::from_slice(json).map_err(Fault::internal)?;
        convert::convert(&mut value, self.stored, self.kind);
        Ok(value)
    }

    /// One object as a document in the view asked for.
    pub fn object(&self, json: &Bytes) -> Result<Bytes, Fault> {
        match self.format.view {
            View::Object => self.whole(json),
            View::Metadata { version, .. } => metadata(json, version),
            View::Table(version) => {
                let value = self.value(json)?;
                let meta = json!({"resourceVersion": object::meta(&value, "resourceVersion")});
                self.table(version, &meta, std::slice::from_ref(json), true)
            }
        }
    }

    /// One object as a row of a watch: tables name their columns only the first time.
    pub fn event(&self, kind: &str, json: &Bytes, first: bool) -> Result<Bytes, Fault> {
        let object = match self.format.view {
            View::Table(version) => {
                let value = self.value(json)?;
                let meta = json!({"resourceVersion": object::meta(&value, "resourceVersion")});
                self.table(version, &meta, std::slice::from_ref(json), first)?
            }
            _ => self.object(json)?,
        };
        framed(self.format.encoding, kind, &object)
    }

    /// A bookmark: an object with nothing but its revision.
    pub fn bookmark(&self, revision: store::Revision, initial_end: bool) -> Option<Bytes> {
        let mut meta = json!({"resourceVersion": revision.to_string()});
        if initial_end {
            meta["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let (kind, version) = match self.format.view {
            View::Object => (self.kind.kind, self.kind.api_version()),
            View::Metadata { version, .. } => ("PartialObjectMetadata", format!("meta.k8s.io/{version}")),
            View::Table(version) => ("Table", format!("meta.k8s.io/{version}")),
        };
        let mut object = json!({"kind": kind, "apiVersion": version, "metadata": meta});
        if matches!(self.format.view, View::Table(_)) {
            object = json!({
                "kind": kind, "apiVersion": version, "metadata": {"resourceVersion": revision.to_string()},
                "columnDefinitions": null,
                "rows": [{"cells": self.columns().iter().map(|_| Value::Null).collect::<Vec<_>>(),
                    "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta}}],
            });
        }
        let json = match self.format.view {
            View::Object => object::encode(self.kind, &object).ok()?,
            _ => object.to_string().into(),
        };
        framed(self.format.encoding, "BOOKMARK", &json).ok()
    }

    /// The last line of a watch that fails.
    pub fn error(&self, fault: &Fault) -> Option<Bytes> {
        framed(self.format.encoding, "ERROR", &Bytes::from(fault.status().to_string())).ok()
    }

    fn columns(&self) -> &'static [Column] {
        print::columns(self.stored.group, self.stored.kind)
    }

    fn table(&self, version: &str, meta: &Value, items: &[Bytes], headed: bool) -> Result<Bytes, Fault> {
        let columns = self.columns();
        let now = object::now();
        let rows =
            items.iter().map(|json| self.row(version, columns, json, now)).collect::<Result<Vec<_>, _>>()?;
        let definitions =
            if headed { print::definitions(self.stored.group, self.stored.kind) } else { Value::Null };
        let table = json!({
            "kind": "Table",
            "apiVersion": format!("meta.k8s.io/{version}"),
            "metadata": meta,
            "columnDefinitions": definitions,
            "rows": rows,
        });
        Ok(table.to_string().into())
    }

    fn row(&self, version: &str, columns: &[Column], json: &Bytes, now: Timestamp) -> Result<Value, Fault> {
        let stored: Value = serde_json::from_slice(json).map_err(Fault::internal)?;
        let cells: Vec<Value> = columns.iter().map(|column| column.cell(&stored, now)).collect();
        let mut row = json!({"cells": cells});
        if let Some(conditions) = print::conditions(self.stored.group, self.stored.kind, &stored) {
            row["conditions"] = conditions;
        }
        row["object"] = match self.include {
            Include::None => Value::Null,
            Include::Metadata => {
                serde_json::from_slice(&metadata(json, version)?).map_err(Fault::internal)?
            }
            Include::Object => self.value(json)?,
        };
        Ok(row)
    }

    /// An answer with one object.
    pub fn answer(&self, code: u16, json: &Bytes) -> Result<Response, Fault> {
        if matches!(self.format.view, View::Metadata { list: true, .. }) {
            let found = self.stored.kind;
            return Err(self.not_acceptable("PartialObjectMetadataList", "is not a list", found));
        }
        document(self.format, code, self.object(json)?)
    }

    /// A view was asked for that the answer cannot have.
    fn not_acceptable(&self, wanted: &str, why: &str, found: &str) -> Fault {
        // Upstream names the type of its own that the object has, which is called after the group.
        let package = match self.stored.group.split('.').next() {
            Some("") | None => "core",
            Some(first) => first,
        };
        let text = format!("you requested {wanted}, but the requested object {why} (*{package}.{found})");
        Fault::new(406, "NotAcceptable", text)
    }

    /// An answer with a list.
    ///
    /// # Errors
    /// Where an object cannot be shown.
    pub fn list(&self, code: u16, meta: &ListMeta, items: Vec<Bytes>) -> Result<Response, Fault> {
        if let View::Table(version) = self.format.view {
            return document(self.format, code, self.table(version, &meta.json(), &items, true)?);
        }
        if matches!(self.format.view, View::Metadata { list: false, .. }) {
            let found = self.stored.list_kind;
            return Err(self.not_acceptable("PartialObjectMetadata", "is a list", found));
        }
        let (kind, version) = match self.format.view {
            View::Metadata { version, .. } => ("PartialObjectMetadataList", format!("meta.k8s.io/{version}")),
            _ => (self.kind.list_kind, self.kind.api_version()),
        };
        let opening = format!("{}\"metadata\":{},\"items\":[", head(kind, &version), meta.json());
        let plain = self.format.encoding == Encoding::Json && !self.format.pretty;
        let pieces = Pieces {
            presenter: self.clone(),
            items: items.into_iter(),
            opening: Some(opening),
            more: false,
            done: false,
        };
        if plain {
            return Ok(body::with_body(code, Encoding::Json.media_type(), pieces.into_body()));
        }
        let mut whole = BytesMut::new();
        for piece in pieces {
            whole.extend_from_slice(&piece.map_err(Fault::internal)?);
        }
        document(self.format, code, whole.freeze())
    }

    fn item(&self, json: &Bytes, out: &mut BytesMut) -> Result<(), Fault> {
        match self.format.view {
            View::Metadata { version, .. } => out.extend_from_slice(&metadata(json, version)?),
            _ if convert::is_renaming(self.stored, self.kind) => {
                out.extend_from_slice(b"{");
                out.extend_from_slice(&json[self.stored_head..]);
            }
            _ => {
                let whole = self.whole(json)?;
                out.extend_from_slice(b"{");
                out.extend_from_slice(&whole[self.head.len()..]);
            }
        }
        Ok(())
    }
}

/// A list in pieces.
struct Pieces {
    presenter: Presenter,
    items: std::vec::IntoIter<Bytes>,
    opening: Option<String>,
    more: bool,
    done: bool,
}

impl Pieces {
    fn into_body(mut self) -> Body {
        // A short list goes out with its length, in one piece.
        let first = self.next();
        match first {
            Some(Ok(piece)) if self.done => body::full(piece),
            first => body::stream(futures::stream::iter(first.into_iter().chain(self))),
        }
    }
}

impl Iterator for Pieces {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let mut out = BytesMut::with_capacity(4096);
        if let Some(opening) = self.opening.take() {
            out.extend_from_slice(opening.as_bytes());
        }
        while out.len() < PIECE {
            let Some(json) = self.items.next() else {
                out.extend_from_slice(b"]}\n");
                self.done = true;
                break;
            };
            if self.more {
                out.extend_from_slice(b",");
            }
            self.more = true;
            if let Err(fault) = self.presenter.item(&json, &mut out) {
                self.done = true;
                return Some(Err(io::Error::other(fault)));
            }
        }
        Some(Ok(out.freeze()))
    }
}

/// An encoded object's metadata as an object of its own.
fn metadata(json: &Bytes, version: &str) -> Result<Bytes, Fault> {
    let only: OnlyMetadata<'_> = serde_json::from_slice(json).map_err(Fault::internal)?;
    let mut out = BytesMut::from(head("PartialObjectMetadata", &format!("meta.k8s.io/{version}")).as_bytes());
    out.extend_from_slice(b"\"metadata\":");
    out.extend_from_slice(only.metadata.get().as_bytes());
    out.extend_from_slice(b"}");
    Ok(out.freeze())
}

/// One event of a watch, around an object in JSON.
fn framed(encoding: Encoding, kind: &str, object: &Bytes) -> Result<Bytes, Fault> {
    if encoding == Encoding::Protobuf {
        return Ok(codec::frame(&codec::watch_event(kind, &protobuf(object)?)).into());
    }
    let mut out = BytesMut::with_capacity(object.len() + 40);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(object);
    out.extend_from_slice(b"}\n");
    Ok(out.freeze())
}

#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(rename = "apiVersion")]
    api_version: &'a str,
    kind: &'a str,
}

/// A JSON document as protobuf in its envelope.
fn protobuf(json: &[u8]) -> Result<Bytes, Fault> {
    let typed: Typed<'_> = serde_json::from_slice(json).map_err(Fault::internal)?;
    let (group, version) = split_api_version(typed.api_version).unwrap_or(("", typed.api_version));
    let unknown = || Fault::not_acceptable(&["application/json", "application/yaml"]);
    let message = field::of_kind(group, version, typed.kind).ok_or_else(unknown)?;
    Ok(codec::encode(message.name(), json).map_err(Fault::internal)?.into())
}

/// An answer with a JSON document, in the encoding asked for.
pub fn document(format: Format, code: u16, json: Bytes) -> Result<Response, Fault> {
    let value = || serde_json::from_slice::<Value>(&json).map_err(Fault::internal);
    let bytes: Bytes = match format.encoding {
        Encoding::Json if format.pretty => {
            let mut text = serde_json::to_string_pretty(&value()?).map_err(Fault::internal)?;
            text.push('\n');
            text.into()
        }
        Encoding::Json => {
            let mut line = BytesMut::with_capacity(json.len() + 1);
            line.extend_from_slice(&json);
            if !json.ends_with(b"\n") {
                line.extend_from_slice(b"\n");
            }
            line.freeze()
        }
        Encoding::Protobuf => protobuf(&json)?,
        Encoding::Yaml => {
            let mut value = value()?;
            value.sort_all_objects();
            serde_saphyr::to_string(&value).map_err(Fault::internal)?.into()
        }
    };
    Ok(body::response(code, format.encoding.media_type(), bytes))
}
