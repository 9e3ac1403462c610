//! Documents that clients keep: each has a tag, and who has that one already is told so and nothing else.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use sha2::{Digest, Sha256};

use crate::body;
use crate::request::Response;

/// The tag of a document: another one as soon as a byte is.
pub(crate) fn of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Whether a caller says that it has the document with this tag.
pub(crate) fn is_known(request: &HeaderMap, tag: &str) -> bool {
    let known = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    known.flat_map(|list| list.split(',')).any(|item| {
        let item = item.trim();
        let item = item.strip_prefix("W/").unwrap_or(item);
        item == "*" || item.trim_matches('"') == tag
    })
}

/// The answer with a document, or 304 to who has it.
pub(crate) fn answer(request: &HeaderMap, tag: &str, media_type: &'static str, document: Bytes) -> Response {
    let mut response = if is_known(request, tag) {
        let mut response = body::response(304, media_type, Bytes::new());
        response.headers_mut().remove(header::CONTENT_TYPE);
        response
    } else {
        body::response(200, media_type, document)
    };
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&format!("\"{tag}\"")) {
        headers.insert(header::ETAG, value);
    }
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_it_is_told_so() {
        let tag = of(b"x");
        let cases = [
            (String::new(), 200),
            ("\"x\"".to_owned(), 200),
            (format!("\"{tag}\""), 304),
            (format!("\"x\", W/\"{tag}\""), 304),
            ("*".to_owned(), 304),
        ];
        for (header, code) in cases {
            let mut headers = HeaderMap::new();
            if !header.is_empty() {
                headers.insert(header::IF_NONE_MATCH, header.parse().unwrap());
            }
            assert_eq!(answer(&headers, &tag, "text/plain", Bytes::new()).status(), code, "{header}");
        }
    }
}
