//! The table says of well-known fields what the API's types say.

use super::*;

#[test]
fn every_kind_has_its_messages() {
    for row in crate::kind::KINDS {
        let found = message(row.message).unwrap_or_else(|| panic!("{}", row.message));
        assert_eq!(found.kind(), Some((row.group, row.version, row.kind)));
        assert!(std::ptr::eq(of_kind(row.group, row.version, row.kind).unwrap(), found));
        assert!(row.list_message.is_empty() || message(row.list_message).is_some(), "{}", row.list_message);
        for sub in row.subresources {
            assert!(of_kind(sub.group, sub.version, sub.kind).is_some(), "{sub:?}");
        }
    }
    assert!(of_kind("apps", "v1", "DeleteOptions").is_some());
    assert!(of_kind("", "v1", "Status").is_some());
    assert!(of_kind("apps", "v1", "ObjectMeta").is_none());
}

#[test]
fn every_row_is_sound() {
    assert!(messages().is_sorted_by_key(Message::name));
    for message in messages() {
        for field in message.fields() {
            assert_eq!(field.kind() == Type::Nested, field.message().is_some());
            assert_eq!(field.json().is_empty(), field.card() == Card::Inline, "{message:?} {field:?}");
            assert!(
                field.default().is_empty()
                    || serde_json::from_str::<serde_json::Value>(field.default()).is_ok()
            );
        }
    }
}

#[test]
fn fields_of_pods_and_services() {
    let spec = message("k8s.io.api.core.v1.PodSpec").unwrap();
    let containers = spec.field("containers").unwrap();
    assert_eq!(
        (containers.number(), containers.card(), containers.go_type()),
        (2, Card::Many, "[]v1.Container")
    );
    assert!(containers.is_required() && containers.merges() && !containers.omits_empty());
    assert_eq!((containers.list(), containers.merge_key()), (List::Keyed, "name"));
    assert_eq!(containers.list_keys().collect::<Vec<_>>(), ["name"]);
    let volumes = spec.field("volumes").unwrap();
    assert!(volumes.retains_keys());
    assert!(volumes.message().unwrap().field("emptyDir").is_some(), "an inline field is found");
    let policy = spec.field("restartPolicy").unwrap();
    assert_eq!(policy.values().collect::<Vec<_>>(), ["Always", "Never", "OnFailure"]);
    let ports = message("k8s.io.api.core.v1.ServiceSpec").unwrap().field("ports").unwrap();
    assert_eq!(
        (ports.merge_key(), ports.list_keys().collect::<Vec<_>>()),
        ("port", vec!["port", "protocol"])
    );
    assert!(spec.field("nodeSelector").unwrap().is_atomic());
    assert_eq!(ports.message().unwrap().field("protocol").unwrap().default(), "\"TCP\"");
}
