//! Bodies of answers: whole, and streamed.

use std::convert::Infallible;
use std::io;

use bytes::Bytes;
use futures::Stream;
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};

use crate::request::{Body, Response};

/// A whole body.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// A body that comes in pieces.
pub fn stream(pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Body {
    use futures::TryStreamExt;
    StreamBody::new(pieces.map_ok(Frame::data)).boxed_unsync()
}

/// An answer with a whole body.
pub fn response(code: u16, media_type: &'static str, bytes: impl Into<Bytes>) -> Response {
    with_body(code, media_type, full(bytes))
}

/// An answer with any body.
pub fn with_body(code: u16, media_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() =
        http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(media_type));
    headers.insert(http::header::CACHE_CONTROL, http::HeaderValue::from_static("no-cache, private"));
    response
}

/// An answer in words.
pub fn text(code: u16, text: impl Into<Bytes>) -> Response {
    let mut response = response(code, "text/plain; charset=utf-8", text);
    let options = http::header::X_CONTENT_TYPE_OPTIONS;
    response.headers_mut().insert(options, http::HeaderValue::from_static("nosniff"));
    response
}

/// The answer to a path that nobody knows.
pub fn no_such_page() -> Response {
    text(404, "404 page not found\n")
}
