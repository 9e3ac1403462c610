//! OpenAPI: what can be asked and what objects look like, for clients that explain and check before they send.
//!
//! Documents are made when they are asked for and kept by clients, which know by a hash in the index that they have
//! the right one. The server keeps the hashes.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, header};
use proto::kind::Kind;
use serde_json::{Map, Value, json};
use tokio::sync::{OnceCell, Semaphore};

use crate::fault::Fault;
use crate::request::{Call, Response};
use crate::route::Route;
use crate::server::Server;
use crate::{body, tag};

mod document;
mod older;
mod operation;
mod page;
mod path;
mod schema;
mod wire;
mod words;

use document::Encoding;
use page::Page;
use words::Words;

pub(crate) const ROUTES: &[Route] = &[
    Route { path: "/openapi/v2", handler: |server, call| Box::pin(v2(server, call)) },
    Route { path: "/openapi/v3", handler: |server, call| Box::pin(index(server, call)) },
    Route { path: "/openapi/v3/", handler: |server, call| Box::pin(index(server, call)) },
    Route { path: "/openapi/v3/*", handler: |server, call| Box::pin(v3(server, call)) },
];

/// How many documents are made at once: each is megabytes for a moment.
const AT_ONCE: usize = 1;

/// How long clients may keep what they ask for by its hash: as good as for ever. Seconds.
const KEPT: u32 = 365 * 24 * 3600;

/// The media types of documents in protobuf, in the spelling that is asked for and the one that is answered.
const PROTOBUF: [[&str; 2]; 2] = [
    [
        "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
    ],
    [
        "application/com.github.proto-openapi.spec.v3@v1.0+protobuf",
        "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
    ],
];

/// What the server keeps of the documents.
#[derive(Debug)]
pub(crate) struct State {
    /// The hashes of the documents of version 3, by name.
    hashes: OnceCell<Vec<(String, String)>>,
    making: Semaphore,
}

impl Default for State {
    fn default() -> Self {
        Self { hashes: OnceCell::new(), making: Semaphore::new(AT_ONCE) }
    }
}

fn pages(server: &Server) -> Vec<Page> {
    let runtime_config = server.settings().runtime_config.as_slice();
    page::all(&|kind: &Kind| crate::handler::is_served(kind, runtime_config))
}

/// The hashes of all documents; those who come first wait until each has been made once.
async fn hashes(server: &Server) -> Result<&[(String, String)], Fault> {
    let state = server.openapi();
    let make = async {
        let _making = state.making.acquire().await.map_err(Fault::internal)?;
        let words = Words::open();
        let mut hashes = Vec::new();
        for page in pages(server) {
            let document = document::v3(page::paths(&page, &words), &words, Encoding::Json);
            hashes.push((page.name, tag::of(&document)));
            // Others have work to do, too.
            tokio::task::yield_now().await;
        }
        Ok(hashes)
    };
    state.hashes.get_or_try_init(|| make).await.map(Vec::as_slice)
}

async fn index(server: &Server, call: Call) -> Result<Response, Fault> {
    only_reads(&call)?;
    let paths: Map<String, Value> = hashes(server)
        .await?
        .iter()
        .map(|(name, hash)| {
            (name.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{name}?hash={hash}")}))
        })
        .collect();
    let document = json!({"paths": paths}).to_string();
    let tag = tag::of(document.as_bytes());
    Ok(tag::answer(&call.parts.headers, &tag, "text/plain; charset=utf-8", document.into()))
}

async fn v3(server: &Server, call: Call) -> Result<Response, Fault> {
    only_reads(&call)?;
    let headers = &call.parts.headers;
    let name = call.info.path.trim_start_matches("/openapi/v3/").trim_end_matches('/');
    let known = hashes(server).await?.iter().find(|(known, _)| known == name);
    let (Some((_, hash)), Some(page)) = (known, pages(server).into_iter().find(|page| page.name == name))
    else {
        return Ok(nothing(404));
    };
    let asked = call.info.param("hash").filter(|asked| !asked.is_empty());
    if asked.is_some_and(|asked| asked != hash) {
        let mut response = nothing(301);
        if let Ok(place) = HeaderValue::from_str(&format!("{}?hash={hash}", call.info.path)) {
            response.headers_mut().insert(header::LOCATION, place);
        }
        return Ok(response);
    }
    let Some((encoding, media_type)) = encoding(headers, &PROTOBUF[1]) else { return Ok(nothing(406)) };
    let mut response = if tag::is_known(headers, hash) {
        tag::answer(headers, hash, media_type, Bytes::new())
    } else {
        let _making = server.openapi().making.acquire().await.map_err(Fault::internal)?;
        let words = Words::open();
        let document = document::v3(page::paths(&page, &words), &words, encoding);
        sent(headers, hash, media_type, document)?
    };
    if asked.is_some() {
        let kept = HeaderValue::from_str(&format!("public, immutable, max-age={KEPT}"));
        response.headers_mut().insert(header::CACHE_CONTROL, kept.map_err(Fault::internal)?);
    }
    Ok(response)
}

async fn v2(server: &Server, call: Call) -> Result<Response, Fault> {
    only_reads(&call)?;
    let headers = &call.parts.headers;
    let Some((encoding, media_type)) = encoding(headers, &PROTOBUF[0]) else { return Ok(nothing(406)) };
    let _making = server.openapi().making.acquire().await.map_err(Fault::internal)?;
    let document = document::v2(&pages(server), &Words::open(), encoding);
    sent(headers, &tag::of(&document), media_type, document)
}

fn only_reads(call: &Call) -> Result<(), Fault> {
    let reads = matches!(call.parts.method, http::Method::GET | http::Method::HEAD);
    if reads { Ok(()) } else { Err(Fault::method_not_allowed()) }
}

fn nothing(code: u16) -> Response {
    let mut response = body::response(code, "text/plain", Bytes::new());
    response.headers_mut().remove(header::CONTENT_TYPE);
    response
}

/// The encoding that a caller takes first, and its media type; nothing where there is none.
fn encoding(headers: &HeaderMap, protobuf: &[&'static str; 2]) -> Option<(Encoding, &'static str)> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*");
    accept.split(',').find_map(|range| {
        let kind = range.split(';').next().unwrap_or_default().trim();
        if protobuf.contains(&kind) {
            return Some((Encoding::Protobuf, protobuf[1]));
        }
        let json = matches!(kind, "" | "*/*" | "application/*" | "application/json");
        json.then_some((Encoding::Json, "application/json"))
    })
}

/// A document, compressed for those who can read that.
fn sent(
    headers: &HeaderMap,
    hash: &str,
    media_type: &'static str,
    document: Vec<u8>,
) -> Result<Response, Fault> {
    let accepted =
        headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !accepted.split(',').any(|one| one.split(';').next().unwrap_or_default().trim() == "gzip") {
        return Ok(tag::answer(headers, hash, media_type, document.into()));
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&document).map_err(Fault::internal)?;
    drop(document);
    let document = encoder.finish().map_err(Fault::internal)?;
    let mut response = tag::answer(headers, hash, media_type, document.into());
    if response.status() == http::StatusCode::OK {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_accept_asks_for() {
        let cases = [
            ("", Some(Encoding::Json)),
            ("*/*", Some(Encoding::Json)),
            ("application/json, */*", Some(Encoding::Json)),
            (PROTOBUF[1][0], Some(Encoding::Protobuf)),
            (PROTOBUF[0][0], None),
            ("text/html", None),
        ];
        for (accept, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            assert_eq!(encoding(&headers, &PROTOBUF[1]).map(|(encoding, _)| encoding), expected, "{accept}");
        }
    }
}
