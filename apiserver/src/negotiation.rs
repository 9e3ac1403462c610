//! Formats: which one an answer shall have, and which one a body has.

use http::HeaderMap;

use crate::fault::Fault;

/// How an answer is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

/// As what objects are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// As they are.
    Object,
    /// Rows of a table, `meta.k8s.io` in this version.
    Table(&'static str),
    /// Their metadata only, `meta.k8s.io` in this version.
    Metadata {
        /// That version.
        version: &'static str,
        /// Whether a list was asked for.
        list: bool,
    },
}

/// What a caller wants to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// How it is encoded.
    pub encoding: Encoding,
    /// As what it is shown.
    pub view: View,
    /// Whether JSON is indented for people.
    pub pretty: bool,
}

/// The media types of answers, the preferred one first.
const TYPES: &[(&str, Encoding)] = &[
    ("application/json", Encoding::Json),
    ("application/yaml", Encoding::Yaml),
    ("application/vnd.kubernetes.protobuf", Encoding::Protobuf),
];

/// What `Accept` may say.
pub const ACCEPTED: &[&str] =
    &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

impl Encoding {
    /// The `Content-Type`.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    /// The `Content-Type` of a watch.
    pub fn stream_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        }
    }
}

/// One media range of an `Accept` header.
struct Range<'a> {
    kind: &'a str,
    params: Vec<(&'a str, &'a str)>,
    quality: f32,
}

fn ranges(header: &str) -> Vec<Range<'_>> {
    let mut ranges: Vec<Range<'_>> = header
        .split(',')
        .filter_map(|text| {
            let mut parts = text.split(';').map(str::trim);
            let kind = parts.next().filter(|kind| !kind.is_empty())?;
            let mut range = Range { kind, params: Vec::new(), quality: 1.0 };
            for (key, value) in parts.filter_map(|part| part.split_once('=')) {
                match key.trim() {
                    "q" => range.quality = value.trim().parse().unwrap_or(1.0),
                    key => range.params.push((key, value.trim())),
                }
            }
            Some(range)
        })
        .collect();
    ranges.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    ranges
}

/// The encoding of a media range; of the patterns upstream takes only the one for everything.
fn encoding(range: &Range<'_>) -> Option<Encoding> {
    if range.kind == "*/*" {
        return Some(Encoding::Json);
    }
    TYPES.iter().find(|(kind, _)| *kind == range.kind).map(|(_, encoding)| *encoding)
}

/// The view a media range asks for; `None` where it is none that is known here.
fn view(range: &Range<'_>) -> Option<View> {
    let param = |name: &str| range.params.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let Some(wanted) = param("as") else {
        return (param("g").is_none() && param("v").is_none()).then_some(View::Object);
    };
    let version = match (param("g"), param("v")) {
        (Some("meta.k8s.io"), Some("v1")) => "v1",
        (Some("meta.k8s.io"), Some("v1beta1")) => "v1beta1",
        _ => return None,
    };
    match wanted {
        "Table" => Some(View::Table(version)),
        "PartialObjectMetadata" => Some(View::Metadata { version, list: false }),
        "PartialObjectMetadataList" => Some(View::Metadata { version, list: true }),
        _ => None,
    }
}

/// What `Accept` asks for.
///
/// # Errors
/// 406 where nothing in it can be had.
pub fn accept(headers: &HeaderMap, pretty: bool, views: bool) -> Result<Format, Fault> {
    let header = headers.get(http::header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if header.trim().is_empty() {
        return Ok(Format { encoding: Encoding::Json, view: View::Object, pretty });
    }
    let ranges = ranges(header);
    for range in &ranges {
        let Some(encoding) = encoding(range) else { continue };
        let Some(view) = view(range).filter(|view| views || *view == View::Object) else { continue };
        return Ok(Format { encoding, view, pretty });
    }
    if ranges.iter().any(|range| encoding(range).is_some()) {
        return Err(Fault::not_acceptable(ACCEPTED));
    }
    let message = format!("406: Not Acceptable\n\nAvailable representations: {}", ACCEPTED.join(", "));
    let mut fault = Fault::new(406, "NotAcceptable", message);
    fault.details = Some(Box::default());
    Err(fault)
}

/// Whether the first thing in `Accept` that can be had is discovery in one document.
pub fn wants_aggregated(headers: &HeaderMap) -> bool {
    let header = headers.get(http::header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_aggregated = |range: &Range<'_>| {
        range.kind == "application/json"
            && [("g", "apidiscovery.k8s.io"), ("v", "v2"), ("as", "APIGroupDiscoveryList")]
                .iter()
                .all(|pair| range.params.contains(pair))
    };
    ranges(header)
        .iter()
        .find(|range| is_aggregated(range) || encoding(range).is_some() && view(range) == Some(View::Object))
        .is_some_and(is_aggregated)
}

/// The media type of a request's body, without parameters, in lower case; JSON where it does not say.
pub fn content_type(headers: &HeaderMap) -> String {
    let text =
        headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = text.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
    if parts.any(|part| !part.is_empty() && !part.contains('=')) {
        // A parameter without a value makes the whole header unreadable.
        return text.to_owned();
    }
    if kind.is_empty() { "application/json".to_owned() } else { kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_accept_asks_for() {
        use Encoding::{Json, Yaml};
        let cases = [
            ("", Some((Json, View::Object))),
            ("*/*", Some((Json, View::Object))),
            ("application/yaml", Some((Yaml, View::Object))),
            ("application/json;q=0.5,application/yaml", Some((Yaml, View::Object))),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
                Some((Json, View::Table("v1"))),
            ),
            ("application/json;as=Nope;v=v1;g=meta.k8s.io,application/json", Some((Json, View::Object))),
            (
                "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
                Some((Json, View::Metadata { version: "v1", list: true })),
            ),
            ("text/html", None),
            ("application/*", None),
            ("application/json;v=v1", None),
            (
                "application/vnd.kubernetes.protobuf,application/json",
                Some((Encoding::Protobuf, View::Object)),
            ),
        ];
        for (header, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(http::header::ACCEPT, header.parse().unwrap());
            let found = accept(&headers, false, true).ok().map(|format| (format.encoding, format.view));
            assert_eq!(found, expected, "{header}");
        }
    }
}
