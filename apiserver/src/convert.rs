//! Versions of one resource into each other: mostly a renaming, for a few kinds more.

use proto::kind::Kind;
use serde_json::Value;

use crate::object;

/// Fields that `events.k8s.io` calls otherwise than the core group: there, here.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// Whether two versions differ in nothing but `apiVersion`.
pub fn is_renaming(from: &Kind, to: &Kind) -> bool {
    std::ptr::eq(from, to)
        || !(from.plural == "events" && from.group != to.group
            || from.group == "autoscaling" && from.version != to.version)
}

/// Makes an object of one version one of another.
pub fn convert(value: &mut Value, from: &Kind, to: &Kind) {
    if std::ptr::eq(from, to) {
        return;
    }
    if from.plural == "events" && from.group != to.group {
        let into_core = to.group.is_empty();
        let object = object::as_map(value);
        for (core, other) in EVENT_FIELDS {
            let (old, new) = if into_core { (*other, *core) } else { (*core, *other) };
            if let Some(field) = object.remove(old) {
                object.insert(new.to_owned(), field);
            }
        }
    }
    object::set_type(value, &to.api_version(), to.kind);
}

#[cfg(test)]
mod tests {
    use proto::kind::find;
    use serde_json::json;

    use super::*;

    #[test]
    fn events_have_two_faces() {
        let (core, other) =
            (find("", "v1", "events").unwrap(), find("events.k8s.io", "v1", "events").unwrap());
        let mut event =
            json!({"apiVersion": "v1", "kind": "Event", "message": "m", "count": 1, "reason": "r"});
        let original = event.clone();
        convert(&mut event, core, other);
        assert_eq!(
            event,
            json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "note": "m", "deprecatedCount": 1, "reason": "r"})
        );
        convert(&mut event, other, core);
        assert_eq!(event, original);
        assert!(!is_renaming(core, other));
    }
}
