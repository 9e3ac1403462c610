//! How values look in cells: durations, labels, selectors, containers, lists that are too long.

use jiff::Timestamp;
use proto::selector::Selector;
use serde_json::Value;

use crate::kind::fill;

/// How many items a cell shows before it says how many more there are.
const SHOWN: usize = 3;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// How long ago a time is.
pub(super) fn since(time: &str, now: Timestamp) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => duration(now.as_millisecond().saturating_sub(time.as_millisecond()) / 1000),
        Err(_) => "<unknown>".to_owned(),
    }
}

/// Seconds as people read them, in two units at most.
pub(super) fn duration(seconds: i64) -> String {
    let two = |unit: i64, name: char, below: i64, below_name: char| {
        let (whole, rest) = (seconds / unit, seconds % unit / below);
        if rest == 0 { format!("{whole}{name}") } else { format!("{whole}{name}{rest}{below_name}") }
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        _ if seconds < 2 * MINUTE => format!("{seconds}s"),
        _ if seconds < 10 * MINUTE => two(MINUTE, 'm', 1, 's'),
        _ if seconds < 3 * HOUR => format!("{}m", seconds / MINUTE),
        _ if seconds < 8 * HOUR => two(HOUR, 'h', MINUTE, 'm'),
        _ if seconds < 2 * DAY => format!("{}h", seconds / HOUR),
        _ if seconds < 8 * DAY => two(DAY, 'd', HOUR, 'h'),
        _ if seconds < 2 * YEAR => format!("{}d", seconds / DAY),
        _ if seconds < 8 * YEAR => two(YEAR, 'y', DAY, 'd'),
        _ => format!("{}y", seconds / YEAR),
    }
}

/// How many items a list or a map has.
pub(super) fn count(object: &Value, path: &str) -> usize {
    match fill::find(object, path) {
        Some(Value::Array(items)) => items.len(),
        Some(Value::Object(items)) => items.len(),
        _ => 0,
    }
}

/// The text, or `<none>`.
pub(super) fn or_none(text: &str) -> String {
    if text.is_empty() { "<none>".to_owned() } else { text.to_owned() }
}

/// Labels as a selector writes them.
pub(super) fn labels(object: &Value, path: &str) -> String {
    let map = fill::find(object, path).and_then(Value::as_object);
    let mut pairs: Vec<String> = map
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.sort();
    or_none(&pairs.join(","))
}

/// A label selector as text; `None` where it makes no sense.
pub(super) fn selector(object: &Value, path: &str) -> Option<String> {
    let Some(found) = fill::find(object, path) else { return Some(String::new()) };
    Selector::from_json(found).ok().map(|selector| selector.to_string())
}

/// A label selector as most tables show it.
pub(super) fn selector_or_none(object: &Value, path: &str) -> String {
    selector(object, path).map_or_else(|| "<error>".to_owned(), |text| or_none(&text))
}

/// One field of each item of a list.
pub(super) fn each<'a>(object: &'a Value, path: &str, field: &'a str) -> impl Iterator<Item = &'a str> {
    fill::list(object, path).iter().map(move |item| fill::text(item, field))
}

/// One field of each item of a list, with commas.
pub(super) fn joined(object: &Value, path: &str, field: &str) -> String {
    each(object, path, field).collect::<Vec<_>>().join(",")
}

/// The texts of a list.
pub(super) fn texts<'a>(object: &'a Value, path: &str) -> Vec<&'a str> {
    fill::list(object, path).iter().filter_map(Value::as_str).collect()
}

/// The first items of a list, and how many more there are.
pub(super) fn some(items: &[String]) -> String {
    let shown = items.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(",");
    if items.len() > SHOWN { format!("{shown} + {} more...", items.len() - SHOWN) } else { shown }
}

/// The addresses that a load balancer has, in order.
pub(super) fn load_balancer(object: &Value) -> Vec<&str> {
    let mut found: Vec<&str> = fill::list(object, "status.loadBalancer.ingress")
        .iter()
        .map(|ingress| match fill::text(ingress, "ip") {
            "" => fill::text(ingress, "hostname"),
            ip => ip,
        })
        .filter(|text| !text.is_empty())
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The condition of a type.
pub(super) fn condition<'a>(object: &'a Value, path: &str, kind: &str) -> Option<&'a Value> {
    fill::list(object, path).iter().find(|condition| fill::text(condition, "type") == kind)
}

/// Whether the condition of a type says yes.
pub(super) fn is_true(object: &Value, path: &str, kind: &str) -> bool {
    condition(object, path, kind).is_some_and(|condition| fill::text(condition, "status") == "True")
}

/// Whether an object is on its way out.
pub(super) fn is_going(object: &Value) -> bool {
    fill::find(object, "metadata.deletionTimestamp").is_some()
}

/// The value of an annotation.
pub(super) fn annotation<'a>(object: &'a Value, name: &str) -> &'a str {
    fill::find(object, "metadata.annotations")
        .and_then(|annotations| annotations.get(name))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// A number or a percentage, or `other` where it is not said.
pub(super) fn number_or_text(object: &Value, path: &str, other: &str) -> String {
    match fill::find(object, path) {
        Some(Value::String(text)) => text.clone(),
        Some(number) => number.to_string(),
        None => other.to_owned(),
    }
}
