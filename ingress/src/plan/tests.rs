//! Classes and rules as tables.

use serde_json::{Value, json};

use super::*;

fn class(name: &str, controller: &str, default: bool) -> Arc<IngressClass> {
    let value = json!({"metadata": {"name": name, "annotations": {DEFAULT_CLASS: default.to_string()}},
        "spec": {"controller": controller}});
    Arc::new(serde_json::from_value(value).unwrap())
}

fn ingress(name: &str, made: u32, spec: Value) -> Arc<Ingress> {
    let value = json!({"metadata": {"namespace": "d", "name": name,
        "creationTimestamp": format!("2026-01-01T00:00:{made:02}Z")}, "spec": spec});
    Arc::new(serde_json::from_value(value).unwrap())
}

#[test]
fn whose_an_ingress_is() {
    let (ours, other) = (CONTROLLER, "k8s.io/ingress-nginx");
    let default = [class("isopod", ours, true), class("nginx", other, false), class("inner", ours, false)];
    let plain = [class("isopod", ours, false), class("nginx", other, true)];
    let taken = [class("isopod", other, true)];
    type Case<'a> = (&'a [Arc<IngressClass>], Option<&'a str>, Option<&'a str>, bool);
    let cases: &[Case<'_>] = &[
        (&default, Some("isopod"), None, true),
        (&default, Some("inner"), None, true),
        (&default, Some("nginx"), None, false),
        (&default, Some("gone"), None, false),
        (&default, None, None, true),
        (&default, None, Some("nginx"), false),
        (&default, None, Some("isopod"), true),
        (&plain, None, None, false),
        (&plain, Some("isopod"), None, true),
        (&[], Some("isopod"), None, true),
        (&[], None, None, false),
        (&taken, Some("isopod"), None, false),
        (&taken, None, None, false),
    ];
    for (classes, field, annotation, expected) in cases {
        let annotations = annotation.map(|name| json!({CLASS_ANNOTATION: name}));
        let ingress = serde_json::from_value(
            json!({"metadata": {"annotations": annotations}, "spec": {"ingressClassName": field}}),
        );
        let found = Classes::of(classes, "isopod").has(&ingress.unwrap());
        assert_eq!(found, *expected, "{field:?} {annotation:?} of {}", classes.len());
    }
}

fn to(service: &str) -> Value {
    json!({"service": {"name": service, "port": {"number": 80}}})
}

#[test]
fn rules_and_defaults() {
    let young = ingress(
        "a",
        2,
        json!({"defaultBackend": to("young"), "rules": [
        {"host": "a.com", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": to("one")}]}}]}),
    );
    let old = ingress(
        "b",
        1,
        json!({
            "defaultBackend": {"service": {"name": "old", "port": {"name": "web"}}},
            "rules": [
                {"http": {"paths": [{"pathType": "ImplementationSpecific", "backend": {"resource": {"kind": "B", "name": "b"}}}]}},
                {"host": "b.com"},
            ],
            "tls": [{"hosts": ["B.com", "c.com"], "secretName": "s"}, {"secretName": "t"}, {"hosts": ["d.com"]}],
        }),
    );
    let plan = plan(vec![young, old]);
    let rules: Vec<_> = plan
        .rules
        .iter()
        .map(|rule| (rule.host.as_str(), rule.kind, rule.path.as_str(), rule.to.service.to_string()))
        .collect();
    assert_eq!(
        rules,
        [
            ("", Match::Specific, "", "d/".to_owned()),
            ("b.com", Match::Specific, "", "d/old".to_owned()),
            ("a.com", Match::Prefix, "/", "d/one".to_owned()),
        ]
    );
    let fallback = plan.fallback.clone().unwrap();
    assert_eq!(
        (fallback.service.to_string(), fallback.port),
        ("d/old".to_owned(), PortName::Name("web".to_owned()))
    );
    let certificates: Vec<_> = plan.certificates.iter().map(|(host, key)| format!("{host}={key}")).collect();
    assert_eq!(certificates, ["b.com=d/s", "c.com=d/s", "=d/t"]);
    let services: Vec<_> = plan.services().iter().map(ToString::to_string).collect();
    assert_eq!(services, ["d/", "d/old", "d/one"]);
}
