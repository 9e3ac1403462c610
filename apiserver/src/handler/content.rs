//! Bodies of requests as objects, read as strictly as the request asks.

use std::borrow::Cow;
use std::fmt;

use proto::codec;
use proto::kind::{Kind, split_api_version};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::fault::Fault;
use crate::field::quoted;
use crate::negotiation::content_type;
use crate::request::{Call, Warnings};

/// What bodies may be written in.
const ACCEPTED: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// How much of a body that cannot be read is shown, in bytes.
const SHOWN: usize = 30;

/// Where upstream keeps the kinds it knows, which its messages name.
const SCHEME: &str = "pkg/api/legacyscheme/scheme.go:30";

/// Where it keeps those of the servers that were servers of their own.
const OTHER_SCHEMES: &[(&str, &str)] = &[("apiregistration.k8s.io", "pkg/apiserver/scheme/scheme.go:28")];

/// What an object says it is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Type {
    pub(super) api_version: String,
    pub(super) kind: String,
}

impl<'de> Deserialize<'de> for Type {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TypeReader)
    }
}

/// Reads a [`Type`] as Go does: of a field that comes twice the last counts, and null is nothing.
struct TypeReader;

impl<'de> Visitor<'de> for TypeReader {
    type Value = Type;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Type, E> {
        Ok(Type::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Type, A::Error> {
        let mut found = Type::default();
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            match &*key {
                "apiVersion" => found.api_version = map.next_value::<Option<String>>()?.unwrap_or_default(),
                "kind" => found.kind = map.next_value::<Option<String>>()?.unwrap_or_default(),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

/// How unknown and duplicate fields are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strictness {
    Strict,
    Warn,
    Ignore,
}

impl Strictness {
    /// What `fieldValidation` asks for.
    pub(super) fn read(call: &Call) -> Self {
        match call.info.param("fieldValidation") {
            Some("Strict") => Self::Strict,
            Some("Ignore") => Self::Ignore,
            _ => Self::Warn,
        }
    }

    /// Complains of what was found, or refuses because of it; `subject` begins the refusal.
    pub(super) fn judge(self, problems: &[String], warnings: &Warnings, subject: &str) -> Result<(), Fault> {
        match self {
            Self::Strict if !problems.is_empty() => {
                Err(Fault::bad_request(format!("{subject}: strict decoding error: {}", problems.join(", "))))
            }
            Self::Warn => {
                problems.iter().for_each(|problem| warnings.add(problem));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// The body as JSON.
fn json(call: &Call) -> Result<Cow<'_, [u8]>, Fault> {
    let unreadable = |why: String| Fault::bad_request(why);
    match content_type(&call.parts.headers).as_str() {
        "application/json" => Ok(Cow::Borrowed(&call.body)),
        "application/yaml" => {
            let value: Value = serde_saphyr::from_slice(&call.body)
                .map_err(|error| unreadable(format!("error converting YAML to JSON: {error}")))?;
            serde_json::to_vec(&value).map(Cow::Owned).map_err(Fault::internal)
        }
        "application/vnd.kubernetes.protobuf" => {
            codec::decode(&call.body).map(Cow::Owned).map_err(|error| unreadable(error.to_string()))
        }
        _ => Err(Fault::unsupported_media_type(ACCEPTED)),
    }
}

/// What the JSON says it is; `Err` is the parser's complaint, as Go words it.
fn type_of(json: &[u8]) -> Result<Type, String> {
    let first = json.iter().copied().find(|byte| !byte.is_ascii_whitespace());
    let complaint = match serde_json::from_slice::<Type>(json) {
        // A list would do for the derived reader.
        Ok(_) if first == Some(b'[') => String::new(),
        Ok(found) => return Ok(found),
        // The words of Go's parser come from the codec, which has them.
        Err(error) => match codec::normalize("k8s.io.apimachinery.pkg.apis.meta.v1.Status", json) {
            Err(codec::Error::Syntax(words)) => words,
            _ => error.to_string(),
        },
    };
    let instead = match first {
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b'0'..=b'9' | b'-') => "number",
        Some(b't' | b'f') => "bool",
        _ => return Err(complaint),
    };
    if serde_json::from_slice::<Value>(json).is_err() {
        return Err(complaint);
    }
    Err(format!(
        "json: cannot unmarshal {instead} into Go value of type struct {{ APIVersion string \
         \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}"
    ))
}

/// The options in a request's body, whatever their kind.
///
/// # Errors
/// 415 where the format is unknown, 400 where it cannot be read.
pub(super) fn options(call: &Call) -> Result<(Type, Value), Fault> {
    let json = json(call)?;
    let found = type_of(&json)
        .map_err(|why| Fault::bad_request(format!("couldn't get version/kind; json parse error: {why}")))?;
    Ok((found, serde_json::from_slice(&json).map_err(Fault::internal)?))
}

/// The object in a request's body, which must be of this kind and version where it says what it is.
///
/// # Errors
/// 415 where the format is unknown, 400 where it cannot be read or is something else.
pub fn decode(call: &Call, kind: &Kind) -> Result<Value, Fault> {
    let json = json(call)?;
    let mut found = type_of(&json).map_err(|why| {
        Fault::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: \
             {why} ({})",
            kind.kind,
            summary(&json)
        ))
    })?;
    check_type(&mut found, kind)?;
    let subject =
        format!("{} in version {:?} cannot be handled as a {}", found.kind, kind.version, kind.kind);
    let normal = codec::normalize(kind.message, &json)
        .map_err(|error| Fault::bad_request(format!("{subject}: {error}")))?;
    Strictness::read(call).judge(&normal.problems, &call.warnings, &subject)?;
    serde_json::from_slice(&normal.bytes).map_err(Fault::internal)
}

/// Where upstream keeps a kind.
pub(super) fn scheme(kind: &Kind) -> &'static str {
    OTHER_SCHEMES.iter().find(|(group, _)| *group == kind.group).map_or(SCHEME, |(_, scheme)| scheme)
}

/// The beginning of a body that cannot be read.
fn summary(body: &[u8]) -> String {
    let (shown, more) = if body.len() > SHOWN { (&body[..SHOWN], " ...") } else { (body, "") };
    match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(shown)),
        Some(_) => {
            let hex: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{hex}{more}")
        }
    }
}

fn check_type(found: &mut Type, kind: &Kind) -> Result<(), Fault> {
    let expected = kind.api_version();
    if found.api_version.is_empty() {
        found.api_version.clone_from(&expected);
    }
    if found.kind.is_empty() {
        kind.kind.clone_into(&mut found.kind);
    }
    if found.api_version == expected && found.kind == kind.kind {
        return Ok(());
    }
    let (group, version) = split_api_version(&found.api_version).unwrap_or(("", &found.api_version));
    let subject = format!("{} in version {version:?} cannot be handled as a {}", found.kind, kind.kind);
    if proto::field::of_kind(group, version, &found.kind).is_none() {
        return Err(Fault::bad_request(format!(
            "{subject}: no kind {} is registered for version {} in scheme {:?}",
            quoted(&found.kind),
            quoted(&found.api_version),
            scheme(kind)
        )));
    }
    if found.api_version != expected {
        return Err(Fault::bad_request(format!(
            "the API version in the data ({}) does not match the expected API version ({expected})",
            found.api_version
        )));
    }
    let internal = kind.group.split('.').next().filter(|group| !group.is_empty()).unwrap_or("core");
    Err(Fault::bad_request(format!(
        "{subject}: converting ({version}.{}) to ({internal}.{}): unknown conversion",
        found.kind, kind.kind
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_bodies_say_they_are() {
        let array = "json: cannot unmarshal array into Go value of type struct { APIVersion string \
            \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }";
        let cases = [
            (r#"{"kind":"A","apiVersion":"b"}"#, Ok(("A", "b"))),
            ("{}", Ok(("", ""))),
            ("[]", Err(array)),
            ("{", Err("unexpected end of JSON input")),
        ];
        for (text, expected) in cases {
            let found = type_of(text.as_bytes());
            let found = found.as_ref().map(|found| (found.kind.as_str(), found.api_version.as_str()));
            assert_eq!(found.map_err(|why| why.as_str()), expected, "{text}");
        }
    }

    #[test]
    fn summaries() {
        for (body, expected) in [("", "<empty>"), ("[]", "5b5d"), ("{x", "{x")] {
            assert_eq!(summary(body.as_bytes()), expected);
        }
    }
}
