//! Bytes come out as Go's encoders write them; what a real server answered comes through unchanged.

use serde_json::{Value, json};

use super::*;
use crate::golden::{concrete, golden, scenarios};
use crate::kind;

const POD: &str = "k8s.io.api.core.v1.Pod";

#[test]
fn normal_form() {
    let cases = [
        (
            json!({"apiVersion": "v1", "kind": "Pod", "zz": 1}),
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{},"spec":{"containers":null},"status":{}}"#,
        ),
        (
            json!({"metadata": {"name": "<a>", "creationTimestamp": null, "labels": {}, "finalizers": []},
                "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": 0.5}}, "command": []}],
                    "nodeName": "", "hostNetwork": false, "terminationGracePeriodSeconds": 0, "volumes": [{"name": "v", "emptyDir": {}}]}}),
            r#"{"metadata":{"name":"\u003ca\u003e"},"spec":{"volumes":[{"name":"v","emptyDir":{}}],"containers":[{"name":"c","resources":{"limits":{"cpu":"500m"}}}],"terminationGracePeriodSeconds":0},"status":{}}"#,
        ),
        (
            json!({"spec": {"containers": [null]}, "status": {"startTime": "2026-01-02T03:04:05.678+01:00"}}),
            r#"{"metadata":{},"spec":{"containers":[{"name":"","resources":{}}]},"status":{"startTime":"2026-01-02T02:04:05Z"}}"#,
        ),
    ];
    for (value, expected) in cases {
        let normal = normalize(POD, value.to_string().as_bytes()).unwrap();
        assert_eq!(String::from_utf8(normal.bytes).unwrap(), expected);
    }
}

#[test]
fn problems_are_told() {
    let text = r#"{"kind":"Pod","kind":"Pod","metadata":{"labels":{"a":"1","a":"2"},"zz":1},
        "spec":{"containers":[{"name":"a","x":{"y":1}},{"x":2,"x":3}]},"Spec":1}"#;
    let expected = [
        "duplicate field \"kind\"",
        "duplicate field \"metadata.labels.a\"",
        "unknown field \"metadata.zz\"",
        "unknown field \"spec.containers[0].x\"",
        "unknown field \"spec.containers[1].x\"",
        "unknown field \"Spec\"",
    ];
    assert_eq!(normalize(POD, text.as_bytes()).unwrap().problems, expected);
}

#[test]
fn refused_json() {
    let unmarshal = |rest: &str| format!("json: cannot unmarshal {rest}");
    let cases = [
        ("", "unexpected end of JSON input".to_owned()),
        ("{", "unexpected end of JSON input".to_owned()),
        ("x", "invalid character 'x' looking for beginning of value".to_owned()),
        ("{} t", "invalid character 't' after top-level value".to_owned()),
        ("{\"a\" 1}", "invalid character '1' after object key".to_owned()),
        ("{\"a\":1 \"b\":2}", "invalid character '\"' after object key:value pair".to_owned()),
        ("{\"a\":[1 2]}", "invalid character '2' after array element".to_owned()),
        ("{\"a\":nul}", "invalid character '}' in literal null (expecting 'l')".to_owned()),
        ("[]", unmarshal("array into Go value of type v1.Pod")),
        (
            r#"{"metadata":{"name":true}}"#,
            unmarshal("bool into Go struct field ObjectMeta.metadata.name of type string"),
        ),
        (
            r#"{"metadata":{"labels":{"a":1}}}"#,
            unmarshal("number into Go struct field ObjectMeta.metadata.labels of type string"),
        ),
        (r#"{"spec":"x"}"#, unmarshal("string into Go struct field Pod.spec of type v1.PodSpec")),
        (
            r#"{"spec":{"containers":{}}}"#,
            unmarshal("object into Go struct field PodSpec.spec.containers of type []v1.Container"),
        ),
        (
            r#"{"spec":{"priority":1.5}}"#,
            unmarshal("number 1.5 into Go struct field PodSpec.spec.priority of type int32"),
        ),
        (
            r#"{"status":{"startTime":"x"}}"#,
            "parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\"".to_owned(),
        ),
        (
            r#"{"spec":{"overhead":{"cpu":"1x"}}}"#,
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
                .to_owned(),
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(normalize(POD, text.as_bytes()).unwrap_err().to_string(), expected, "{text}");
    }
    let deep = "[".repeat(MAX_DEPTH + 1);
    assert!(
        normalize(POD, format!("{{\"zz\":{deep}").as_bytes()).unwrap_err().to_string().ends_with("max depth")
    );
}

#[test]
fn leaves() {
    let crd = "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
    let schema = json!({"$ref": "x", "items": [{"type": "a"}], "additionalProperties": false, "default": {"a": [1, null]},
        "dependencies": {"d": ["a"], "e": {"type": "x"}}, "additionalItems": {"type": "b"}, "minimum": 1.5, "multipleOf": 1e-7,
        "enum": [1, "a", null], "x-kubernetes-int-or-string": true, "properties": {"b": {}, "a": {"items": {"type": "s"}}}});
    let read = normalize(crd, schema.to_string().as_bytes()).unwrap();
    assert_eq!(read.problems, Vec::<String>::new());
    assert_eq!(serde_json::from_slice::<Value>(&read.bytes).unwrap(), schema);
    let there_and_back = proto_to_json(crd, &json_to_proto(crd, &read.bytes).unwrap(), None).unwrap();
    assert_eq!(String::from_utf8(there_and_back), String::from_utf8(read.bytes));
}

#[test]
fn maps_come_in_order() {
    let map = "k8s.io.api.core.v1.ConfigMap";
    // So many, the wrong way round, would take minutes if each were put in its place.
    let entries: Vec<String> = (0..60_000).rev().map(|at| format!("\"k{at:05}\":\"\"")).collect();
    let text = format!("{{\"data\":{{\"z\":\"1\",{},\"z\":\"2\"}}}}", entries.join(","));
    let normal = normalize(map, text.as_bytes()).unwrap();
    assert_eq!(normal.problems, ["duplicate field \"data.z\""]);
    let shown = String::from_utf8(normal.bytes).unwrap();
    assert!(shown.starts_with(r#"{"metadata":{},"data":{"k00000":"","k00001":"""#), "{}", &shown[..80]);
    assert!(shown.ends_with(r#""k59999":"","z":"2"}}"#));
    let proto = json_to_proto(map, shown.as_bytes()).unwrap();
    // The same message with its entries the wrong way round.
    let mut entries: Vec<&[u8]> = Vec::new();
    let mut rest = &proto[..];
    while let [first, length, ..] = rest {
        let (entry, after) = rest.split_at(2 + usize::from(*length));
        assert!([0x0a, 0x12].contains(first));
        entries.push(entry);
        rest = after;
    }
    entries.reverse();
    assert_eq!(String::from_utf8(proto_to_json(map, &entries.concat(), None).unwrap()).unwrap(), shown);
}

#[test]
fn envelopes() {
    let bytes = wrap("apps/v1", "Deployment", b"raw");
    let found = unwrap(&bytes).unwrap();
    assert_eq!((found.api_version, found.kind, found.raw), ("apps/v1", "Deployment", &b"raw"[..]));
    assert!(unwrap(b"k8s").is_err());
    let status = encode(
        "k8s.io.apimachinery.pkg.apis.meta.v1.Status",
        br#"{"kind":"Status","apiVersion":"v1","status":"Failure","code":404}"#,
    );
    let status = status.unwrap();
    let expected = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","code":404}"#;
    assert_eq!(String::from_utf8(decode(&status).unwrap()).unwrap(), expected);
    let event = watch_event("ADDED", &status);
    let shown = proto_to_json("k8s.io.apimachinery.pkg.apis.meta.v1.WatchEvent", &event, None).unwrap();
    assert_eq!(String::from_utf8(shown).unwrap(), format!(r#"{{"type":"ADDED","object":{expected}}}"#));
    assert_eq!(frame(&event)[..4], (event.len() as u32).to_be_bytes());
}

/// Every object in a value that was answered, without placeholders that no type accepts.
fn objects(value: &Value, found: &mut Vec<Value>) {
    let text = |name: &str| value[name].as_str();
    let known = || {
        let (group, version) = kind::split_api_version(text("apiVersion")?)?;
        field::of_kind(group, version, text("kind")?)
    };
    // What has a name and no uid was not made by a server.
    let made = value["metadata"].is_object()
        && (value["metadata"].get("name").is_none() || value["metadata"].get("uid").is_some());
    if made && known().is_some() {
        found.push(concrete(value));
    }
    match value {
        Value::Array(list) => list.iter().for_each(|value| objects(value, found)),
        Value::Object(map) => map.values().for_each(|value| objects(value, found)),
        _ => {}
    }
}

#[test]
fn what_a_real_server_answered() {
    let Some(golden) = golden() else { return };
    let mut found = Vec::new();
    for file in std::fs::read_dir(golden.join("bootstrap")).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        objects(&serde_json::from_slice(&bytes).unwrap(), &mut found);
    }
    for scenario in scenarios() {
        for step in scenario["steps"].as_array().unwrap() {
            objects(&step["expect"]["body"], &mut found);
            objects(&step["expect"]["events"], &mut found);
        }
    }
    let (mut checked, mut failed) = (0, Vec::new());
    for value in found {
        let (group, version) = kind::split_api_version(value["apiVersion"].as_str().unwrap()).unwrap();
        let message = field::of_kind(group, version, value["kind"].as_str().unwrap()).unwrap();
        let bytes = serde_json::to_vec(&value).unwrap();
        let normal = match normalize(message.name(), &bytes) {
            Ok(normal) => normal,
            Err(error) => {
                failed.push(format!("{message:?}: {error}"));
                continue;
            }
        };
        checked += 1;
        if serde_json::from_slice::<Value>(&normal.bytes).unwrap() != value || !normal.problems.is_empty() {
            let shown = String::from_utf8_lossy(&normal.bytes).into_owned();
            failed.push(format!("{message:?}: {:?}\n  {value}\n  {shown}", normal.problems));
            continue;
        }
        let proto = encode(message.name(), &normal.bytes).unwrap();
        assert_eq!(write_value(message.name(), &value), Ok(normal.clone()));
        assert_eq!(decode(&encode_value(message.name(), &value).unwrap()), decode(&proto));
        let back = decode(&proto).unwrap();
        // Protobuf does not tell an empty list from none, nor the kinds of a list's items; nothing else may differ.
        let may_differ = value["kind"] == "PartialObjectMetadataList"
            || String::from_utf8_lossy(&normal.bytes).contains("[]");
        if back != normal.bytes && !may_differ {
            let at = back.iter().zip(&normal.bytes).take_while(|(a, b)| a == b).count();
            let near = |bytes: &[u8]| {
                String::from_utf8_lossy(&bytes[at.saturating_sub(60)..(at + 60).min(bytes.len())])
                    .into_owned()
            };
            failed.push(format!("{message:?} there and back:\n  {}\n  {}", near(&normal.bytes), near(&back)));
        }
    }
    println!("{checked} objects checked, {} failed", failed.len());
    failed.sort_by_key(String::len);
    assert!(failed.is_empty(), "{}", failed[..failed.len().min(12)].join("\n"));
    assert!(checked > 1000, "{checked}");
}

/// Every envelope in a value that was answered.
fn recorded(value: &Value, found: &mut Vec<Vec<u8>>) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| recorded(value, found)),
        Value::Object(map) => {
            let bytes = |text: &Value| {
                base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text.as_str()?).ok()
            };
            found.extend(map.get("base64").and_then(bytes).filter(|bytes| bytes.starts_with(&MAGIC)));
            map.values().for_each(|value| recorded(value, found));
        }
        _ => {}
    }
}

/// The envelopes of all recorded answers.
fn envelopes_recorded() -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for file in
        golden().into_iter().flat_map(|golden| std::fs::read_dir(golden.join("scenarios/protobuf")).unwrap())
    {
        recorded(&serde_json::from_slice(&std::fs::read(file.unwrap().path()).unwrap()).unwrap(), &mut found);
    }
    found
}

#[test]
fn what_a_real_server_sent() {
    let found = envelopes_recorded();
    for bytes in &found {
        let Envelope { api_version, kind, .. } = unwrap(bytes).unwrap();
        let (group, version) = kind::split_api_version(api_version).unwrap();
        let Some(message) = field::of_kind(group, version, kind) else { panic!("{api_version} {kind}") };
        let shown = decode(bytes).unwrap();
        let again = encode(message.name(), &shown).unwrap();
        assert_eq!(decode(&again).unwrap(), shown);
        assert!(again == *bytes, "{kind}: {}", String::from_utf8_lossy(&shown));
    }
    println!("{} envelopes read and written again", found.len());
}

#[test]
fn foreign_bytes_never_panic() {
    let mut seeds = envelopes_recorded();
    seeds.truncate(20);
    seeds.push(encode(POD, br#"{"kind":"Pod","apiVersion":"v1","spec":{"containers":[{"name":"a","ports":[{"containerPort":1}]}]}}"#).unwrap());
    let mut state = 11u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for _ in 0..20_000 {
        let mut bytes = seeds[random(seeds.len())].clone();
        let mut json = decode(&bytes).unwrap();
        for _ in 0..=random(4) {
            let (at, to) = (random(bytes.len()), random(256) as u8);
            bytes[at] = to;
            let (at, to) = (random(json.len()), b"{}[]\",:0-e.tn\\u\x00\xff"[random(17)]);
            json[at] = to;
        }
        let outcome = std::panic::catch_unwind(|| (decode(&bytes).is_ok(), normalize(POD, &json).is_ok()));
        assert!(outcome.is_ok(), "{bytes:?} {}", String::from_utf8_lossy(&json));
    }
}
