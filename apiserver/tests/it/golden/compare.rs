//! An answer beside the recorded one: what differs, and what the placeholders in the recorded one stand for.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use regex::Regex;
use serde_json::{Map, Value, json};

/// What placeholders stand for.
pub(super) type Bound = BTreeMap<String, String>;

/// Something that is not as recorded.
#[derive(Debug, Clone)]
pub(super) struct Difference {
    /// Where, as a JSON pointer from the scenario's steps on.
    pub(super) path: String,
    pub(super) expected: Value,
    pub(super) got: Value,
}

/// What stands for a field that is not there.
pub(super) const ABSENT: &str = "(absent)";

/// What the values of each kind of placeholder look like.
const KINDS: &[(&str, &str)] = &[
    ("uid", "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    ("rv", "[0-9]+"),
    ("lrv", "[0-9]+"),
    ("gen", "[a-z0-9]{5,10}"),
    ("ip", "[0-9a-f.:]+"),
    ("nodeport", "[0-9]+"),
    ("token", r"\S+"),
    ("continue", "[A-Za-z0-9_=-]+"),
    ("time", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"),
    ("time.us", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"),
    ("time.ns", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"),
    ("age", r"(?:\d+[smhdy])+"),
    ("hash", "[0-9A-Za-z]+"),
    ("unixtime", "[0-9]{9,11}"),
    ("any", "(?s:.*)"),
    ("num", "[0-9]+"),
];

/// A placeholder in a text: where it begins and ends, its kind, whether it has a number and so is bound.
struct Placeholder<'a> {
    at: std::ops::Range<usize>,
    whole: &'a str,
    kind: &'a str,
    numbered: bool,
}

fn placeholders(text: &str) -> Vec<Placeholder<'_>> {
    let starts = text.match_indices("${").map(|(at, _)| at);
    starts
        .filter_map(|start| {
            let whole = &text[start..start + text[start..].find('}')? + 1];
            let inner = &whole[2..whole.len() - 1];
            let (kind, number) = inner.split_once(':').unwrap_or((inner, ""));
            let known = KINDS.iter().any(|(name, _)| *name == kind);
            let at = start..start + whole.len();
            known.then_some(Placeholder { at, whole, kind, numbered: !number.is_empty() })
        })
        .collect()
}

/// A request with what its placeholders stand for; an error names one that was never bound.
pub(super) fn substitute(value: &Value, bound: &Bound) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => {
            let found = placeholders(text);
            let whole = found.first().filter(|one| one.whole == text && one.kind == "nodeport");
            if let Some(port) = whole.and_then(|one| bound.get(one.whole)) {
                return Ok(port.parse::<u16>().map_or(Value::Null, Value::from));
            }
            let mut out = text.clone();
            for one in found.iter().filter(|one| one.numbered) {
                let known = bound.get(one.whole).ok_or_else(|| one.whole.to_owned())?;
                out = out.replace(one.whole, known);
            }
            out.into()
        }
        Value::Array(list) => list.iter().map(|one| substitute(one, bound)).collect::<Result<_, _>>()?,
        Value::Object(map) => {
            let mut out = Map::new();
            for (key, one) in map {
                let key = substitute(&json!(key), bound)?;
                out.insert(key.as_str().unwrap_or_default().to_owned(), substitute(one, bound)?);
            }
            out.into()
        }
        other => other.clone(),
    })
}

/// Whether a text is as recorded; binds the placeholders that are new.
pub(super) fn matches(expected: &str, got: &str, bound: &mut Bound) -> bool {
    if !expected.contains("${") {
        return expected == got;
    }
    let mut pattern = String::from("^");
    let mut fresh: Vec<&str> = Vec::new();
    let mut last = 0;
    for one in placeholders(expected) {
        let form = KINDS.iter().find(|(name, _)| *name == one.kind).map_or("", |(_, form)| *form);
        pattern += &regex::escape(&expected[last..one.at.start]);
        // A token for the next page holds a revision: the last one counts.
        match bound.get(one.whole).filter(|_| one.kind != "continue") {
            Some(known) => pattern += &regex::escape(known),
            None if one.numbered => {
                pattern += &format!("({form})");
                fresh.push(one.whole);
            }
            None => pattern += &format!("(?:{form})"),
        }
        last = one.at.end;
    }
    pattern += &format!("{}$", regex::escape(&expected[last..]));
    let Some(found) = Regex::new(&pattern).unwrap().captures(got) else { return false };
    let mut new = Bound::new();
    for (place, name) in fresh.into_iter().enumerate() {
        let value = found[place + 1].to_owned();
        if new.get(name).is_some_and(|known| *known != value) || !in_order(name, &value, bound) {
            return false;
        }
        new.insert(name.to_owned(), value);
    }
    bound.extend(new);
    true
}

/// Whether the revision that a placeholder stands for is later than those with lower numbers.
fn in_order(name: &str, value: &str, bound: &Bound) -> bool {
    let number = |name: &str| name.strip_prefix("${rv:")?.strip_suffix('}')?.parse::<u64>().ok();
    let (Some(own), Ok(value)) = (number(name), value.parse::<u64>()) else { return true };
    bound.iter().all(|(other, known)| {
        let (Some(other), Ok(known)) = (number(other), known.parse::<u64>()) else { return true };
        (other < own) == (known < value)
    })
}

/// Adds every difference between two values.
pub(super) fn compare(
    expected: &Value,
    got: &Value,
    bound: &mut Bound,
    path: &str,
    out: &mut Vec<Difference>,
) {
    let mut differ = |expected: &Value, got: &Value| {
        out.push(Difference { path: path.to_owned(), expected: expected.clone(), got: got.clone() });
    };
    match (expected, got) {
        (Value::String(text), got) => {
            let number = ["${nodeport", "${unixtime", "${num"].iter().any(|kind| text.starts_with(kind));
            let same = match got {
                Value::String(got) => !number && matches(text, got, bound),
                Value::Number(got) => number && matches(text, &got.to_string(), bound),
                _ => false,
            };
            if !same {
                differ(expected, got);
            }
        }
        (Value::Object(map), Value::String(token)) if map.contains_key("$jwt") => match claims(token) {
            Some(parts) => {
                let name = map["$as"].as_str().unwrap_or_default().to_owned();
                bound.entry(name).or_insert_with(|| token.clone());
                compare(&map["$jwt"], &parts, bound, path, out);
            }
            None => differ(&json!("a JWT"), got),
        },
        (Value::Object(expected), Value::Object(got)) => objects(expected, got, bound, path, out),
        (Value::Array(expected), Value::Array(got)) => {
            for place in 0..expected.len().max(got.len()) {
                let absent = json!(ABSENT);
                let (one, other) =
                    (expected.get(place).unwrap_or(&absent), got.get(place).unwrap_or(&absent));
                compare(one, other, bound, &format!("{path}/{place}"), out);
            }
        }
        _ if expected != got => differ(expected, got),
        _ => {}
    }
}

fn objects(
    expected: &Map<String, Value>,
    got: &Map<String, Value>,
    bound: &mut Bound,
    path: &str,
    out: &mut Vec<Difference>,
) {
    let place = |key: &str| format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
    for (key, value) in expected {
        // A key may hold a generated value.
        let found = match got.get_key_value(key) {
            None if key.contains("${") => got.iter().find(|(other, _)| matches(key, other, bound)),
            found => found,
        };
        match found {
            None => out.push(Difference { path: place(key), expected: value.clone(), got: json!(ABSENT) }),
            Some((_, found)) if key == "managedFields" => {
                compare(&by_manager(value), &by_manager(found), bound, &place(key), out);
            }
            Some((_, found)) => compare(value, found, bound, &place(key), out),
        }
    }
    let generated = expected.keys().any(|key| key.contains("${"));
    for (key, value) in got.iter().filter(|(key, _)| !generated && !expected.contains_key(*key)) {
        out.push(Difference { path: place(key), expected: json!(ABSENT), got: value.clone() });
    }
}

/// The server orders them by time.
fn by_manager(entries: &Value) -> Value {
    let Value::Array(list) = entries else { return entries.clone() };
    let mut list = list.clone();
    list.sort_by_key(|entry| {
        ["manager", "operation", "apiVersion", "subresource"]
            .map(|key| entry[key].as_str().unwrap_or("").to_owned())
    });
    list.into()
}

fn claims(token: &str) -> Option<Value> {
    let mut parts = token.split('.').map(|part| {
        let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
        serde_json::from_slice::<Value>(&bytes).ok()
    });
    Some(json!({"header": parts.next()??, "claims": parts.next()??}))
}

/// Whether a text fits a pattern with `*`, which stands for anything.
pub(super) fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(end) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(end)
}

#[test]
fn patterns() {
    let cases = [
        ("a", "a", true),
        ("a", "ab", false),
        ("*", "", true),
        ("/steps/*/body", "/steps/1/body", true),
        ("*/b*d", "/a/bcd", true),
        ("*/b*d", "/a/bc", false),
        ("a*a", "a", false),
    ];
    for (pattern, text, expected) in cases {
        assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
    }
}

#[test]
fn placeholders_bind_once() {
    let mut bound = Bound::new();
    let mut differences = Vec::new();
    let recorded =
        json!({"a": "${rv:1}", "b": "x-${gen:1}", "c": "${rv:2}", "d": "${time}", "e": ["${rv:1}", 1]});
    let answer =
        json!({"a": "7", "b": "x-abcde", "c": "5", "d": "2026-01-02T03:04:05Z", "e": ["8"], "f": null});
    compare(&recorded, &answer, &mut bound, "", &mut differences);
    let paths: Vec<&str> = differences.iter().map(|one| one.path.as_str()).collect();
    // An older revision under a higher number; another value under the same; one too few; one too many.
    assert_eq!(paths, ["/c", "/e/0", "/e/1", "/f"]);
    let request = substitute(&json!({"x": "${gen:1}/${rv:1}"}), &bound);
    assert_eq!((request, bound["${rv:1}"].as_str()), (Ok(json!({"x": "abcde/7"})), "7"));
    assert_eq!(substitute(&json!("${uid:1}"), &bound), Err("${uid:1}".to_owned()));
}
