//! The look-ups find what the table holds, and keys come out as kube-apiserver writes them.

use super::*;

#[test]
fn tables_are_ordered_as_the_look_ups_need() {
    assert!(KINDS.is_sorted_by_key(|row| (row.group, row.version, row.plural)));
    assert!(FEATURE_GATES.is_sorted_by_key(|gate| gate.name));
    for row in KINDS {
        assert_eq!(find(row.group, row.version, row.plural), Some(row));
        assert_eq!(find_kind(row.group, row.version, row.kind), Some(row));
        assert!(
            group(row.group).is_some_and(|group| group.versions.iter().any(|one| one.version == row.version))
        );
        assert_eq!(row.stored, row.etcd_prefix.starts_with("/registry/") && row.etcd_prefix.ends_with('/'));
    }
    assert_eq!(find("", "v1", "pod"), None);
    assert!(feature_gate("SidecarContainers").is_some());
}

#[test]
fn keys() {
    let cases = [
        ("", "v1", "pods", Some("default"), "a", "/registry/pods/default/a"),
        ("", "v1", "nodes", None, "n", "/registry/minions/n"),
        ("", "v1", "nodes", Some("ignored"), "n", "/registry/minions/n"),
        ("", "v1", "services", Some("default"), "kubernetes", "/registry/services/specs/default/kubernetes"),
        (
            "",
            "v1",
            "endpoints",
            Some("default"),
            "kubernetes",
            "/registry/services/endpoints/default/kubernetes",
        ),
        ("", "v1", "replicationcontrollers", Some("d"), "rc", "/registry/controllers/d/rc"),
        ("events.k8s.io", "v1", "events", Some("d"), "e", "/registry/events/d/e"),
        ("networking.k8s.io", "v1", "ingresses", Some("d"), "i", "/registry/ingress/d/i"),
        (
            "apiextensions.k8s.io",
            "v1",
            "customresourcedefinitions",
            None,
            "x.y",
            "/registry/apiextensions.k8s.io/customresourcedefinitions/x.y",
        ),
        (
            "apiregistration.k8s.io",
            "v1",
            "apiservices",
            None,
            "v1.",
            "/registry/apiregistration.k8s.io/apiservices/v1.",
        ),
    ];
    for (group, version, plural, namespace, name, expected) in cases {
        assert_eq!(find(group, version, plural).unwrap().storage_key(namespace, name), expected);
    }
    assert_eq!(find("", "v1", "pods").unwrap().storage_prefix(None), "/registry/pods/");
    assert_eq!(find("", "v1", "pods").unwrap().storage_prefix(Some("a")), "/registry/pods/a/");
}

#[test]
fn api_versions() {
    assert_eq!(find("apps", "v1", "deployments").unwrap().api_version(), "apps/v1");
    assert_eq!(find("", "v1", "pods").unwrap().api_version(), "v1");
    assert_eq!(split_api_version("apps/v1"), Some(("apps", "v1")));
    assert_eq!(split_api_version("v1"), Some(("", "v1")));
    assert_eq!(split_api_version("a/b/c"), None);
}
