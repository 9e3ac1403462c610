//! Patches change objects, and fail, as a kube-apiserver 1.36 was seen to do.

use serde_json::json as value;

use super::*;

const DEPLOYMENT: &str = "k8s.io.api.apps.v1.Deployment";

#[test]
fn operations() {
    let object = value!({"data": {"a": "1", "b": null, "x.y/z": "s"}, "list": [1, 2, 3]});
    let cases = [
        (value!([]), object.clone()),
        (
            value!([{"op": "add", "path": "/data/c", "value": "3"}, {"op": "remove", "path": "/data/x.y~1z"}, {"op": "remove", "path": "/data/b"}]),
            value!({"data": {"a": "1", "c": "3"}, "list": [1, 2, 3]}),
        ),
        (
            value!([{"op": "add", "path": "/list/-", "value": 4}, {"op": "add", "path": "/list/0", "value": 0}, {"op": "remove", "path": "/list/-1"}]),
            value!({"data": {"a": "1", "b": null, "x.y/z": "s"}, "list": [0, 1, 2, 3]}),
        ),
        (
            value!([{"op": "replace", "path": "/data", "value": {}}, {"op": "replace", "path": "/data/new", "value": 1}, {"op": "replace", "path": "/list/1", "value": 9}]),
            value!({"data": {"new": 1}, "list": [1, 9, 3]}),
        ),
        (
            value!([{"op": "move", "from": "/list/0", "path": "/data/a"}, {"op": "copy", "from": "/data/a", "path": "/list/-"}, {"op": "test", "path": "/data/a", "value": 1}, {"op": "test", "path": "/data/none"}]),
            value!({"data": {"a": 1, "b": null, "x.y/z": "s"}, "list": [2, 3, 1]}),
        ),
    ];
    for (patch, expected) in cases {
        assert_eq!(json(&object, &patch), Ok(expected), "{patch}");
    }
}

#[test]
fn refused_operations() {
    let object = value!({"data": {"a": "1"}, "list": [1]});
    let cases = [
        (value!({}), "json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"),
        (value!([1]), "json: cannot unmarshal number into Go value of type handlers.jsonPatchOp"),
        (value!([{"op": "explode", "path": "/a"}]), "Unexpected kind: explode"),
        (value!([{"op": "add", "value": 1}]), "add operation failed to decode path: missing value"),
        (
            value!([{"op": "test"}]),
            "test operation failed to decode path: operation missing path field: missing value",
        ),
        (
            value!([{"op": "add", "path": "/x/y", "value": 1}]),
            "add operation does not apply: doc is missing path: \"/x/y\": missing value",
        ),
        (
            value!([{"op": "remove", "path": "/data/b"}]),
            "error in remove for path: '/data/b': Unable to remove nonexistent key: b: missing value",
        ),
        (
            value!([{"op": "remove", "path": "/list/5"}]),
            "error in remove for path: '/list/5': Unable to access invalid index: 5: invalid index referenced",
        ),
        (
            value!([{"op": "add", "path": "/list/9", "value": 1}]),
            "error in add for path: '/list/9': Unable to access invalid index: 9: invalid index referenced",
        ),
        (
            value!([{"op": "replace", "path": "/list/5", "value": 1}]),
            "replace operation does not apply: doc is missing key: /list/5: missing value",
        ),
        (
            value!([{"op": "test", "path": "/data/a", "value": "2"}]),
            "testing value /data/a failed: test failed",
        ),
        (
            value!([{"op": "move", "path": "/data/b"}]),
            "move operation failed to decode from: operation, missing from field: missing value",
        ),
        (
            value!([{"op": "copy", "from": "/x/y", "path": "/z"}]),
            "copy operation does not apply: doc is missing from path: /x/y: missing value",
        ),
    ];
    for (patch, expected) in cases {
        assert_eq!(json(&object, &patch).unwrap_err().to_string(), expected, "{patch}");
    }
    let many =
        Value::Array(vec![value!({"op": "test", "path": "/data/a", "value": "1"}); MAX_OPERATIONS + 1]);
    assert_eq!(json(&object, &many), Err(Error::TooManyOperations(MAX_OPERATIONS + 1)));
}

#[test]
fn copying_a_part_into_itself_is_bounded() {
    let mut path = String::new();
    let mut operations = Vec::new();
    for round in 0..12 {
        let deeper = format!("{path}/a{}", "/a".repeat((1 << round) - 1));
        operations.push(value!({"op": "copy", "from": "/a", "path": deeper}));
        path = deeper;
    }
    let error = json(&value!({"a": {}}), &Value::Array(operations)).unwrap_err();
    assert!(matches!(error, Error::Operation(_)), "{error}");
    let wide = value!({"a": "x".repeat(1 << 20)});
    let copies = Value::Array(vec![value!({"op": "copy", "from": "/a", "path": "/b"}); 4]);
    let error = json(&wide, &copies).unwrap_err().to_string();
    assert!(
        error.starts_with("Unable to complete the copy, the accumulated size increase of copy is "),
        "{error}"
    );
}

#[test]
fn merges() {
    let object = value!({"a": {"b": 1, "c": {"d": 2}}, "l": [1, {"x": 1}]});
    let cases = [
        (value!({}), object.clone()),
        (value!({"a": {"b": null}}), value!({"a": {"c": {"d": 2}}, "l": [1, {"x": 1}]})),
        (value!({"a": {"c": 3}, "l": [null, {"y": null}]}), value!({"a": {"b": 1, "c": 3}, "l": [null, {}]})),
        (value!({"n": {"m": {"o": null}}, "a": null}), value!({"n": {"m": {}}, "l": [1, {"x": 1}]})),
    ];
    for (patch, expected) in cases {
        assert_eq!(merge(&object, &patch), Ok(expected), "{patch}");
    }
    let refused = "json: cannot unmarshal string into Go value of type map[string]interface {}";
    assert_eq!(merge(&object, &value!("str")).unwrap_err().to_string(), refused);
    assert_eq!(parse(b"x").unwrap_err().to_string(), "invalid character 'x' looking for beginning of value");
}

/// A deployment whose pods have this specification.
fn deployment(spec: &Value) -> Value {
    value!({"spec": {"template": {"spec": spec}}})
}

#[test]
fn strategic_merges_of_lists() {
    let before = value!({
        "containers": [
            {"name": "c", "image": "i", "args": ["1", "2"], "env": [{"name": "A", "value": "1"}, {"name": "B"}],
                "ports": [{"containerPort": 80, "protocol": "TCP"}]},
            {"name": "d", "image": "i"}],
        "volumes": [{"name": "v", "emptyDir": {}}],
        "tolerations": [{"key": "x"}],
        "imagePullSecrets": [{"name": "s1"}],
    });
    let c = &before["containers"][0];
    let d = &before["containers"][1];
    let cases = [
        (value!({"containers": [{"name": "c", "image": "j"}]}), "/containers/0/image", value!("j")),
        (value!({"containers": [{"name": "e"}]}), "/containers", value!([{"name": "e"}, c, d])),
        (value!({"containers": [{"name": "c", "$patch": "delete"}]}), "/containers", value!([d])),
        (
            value!({"containers": [{"$patch": "replace"}, {"name": "o"}]}),
            "/containers",
            value!([{"name": "o"}]),
        ),
        (
            value!({"$setElementOrder/containers": [{"name": "d"}, {"name": "c"}]}),
            "/containers",
            value!([d, c]),
        ),
        (
            value!({"$setElementOrder/containers": [{"name": "d"}, {"name": "e"}], "containers": [{"name": "e"}]}),
            "/containers",
            value!([c, d, {"name": "e"}]),
        ),
        (value!({"containers": [{"name": "c", "args": ["3"]}]}), "/containers/0/args", value!(["3"])),
        (
            value!({"containers": [{"name": "c", "env": [{"name": "B", "$patch": "delete"}, {"name": "N"}]}]}),
            "/containers/0/env",
            value!([{"name": "N"}, {"name": "A", "value": "1"}]),
        ),
        (
            value!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "name": "n"}]}]}),
            "/containers/0/ports",
            value!([{"containerPort": 80, "protocol": "TCP", "name": "n"}]),
        ),
        (
            value!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/q"}}]}),
            "/volumes",
            value!([{"name": "v", "hostPath": {"path": "/q"}}]),
        ),
        (value!({"tolerations": [{"key": "y"}]}), "/tolerations", value!([{"key": "y"}])),
        (value!({"imagePullSecrets": [{"name": "s1", "$patch": "delete"}]}), "/imagePullSecrets", value!([])),
        (value!({"imagePullSecrets": null}), "/imagePullSecrets", Value::Null),
        (value!({"nodeSelector": {"a": "b", "c": null}}), "/nodeSelector", value!({"a": "b"})),
    ];
    for (patch, path, expected) in cases {
        let after = strategic(DEPLOYMENT, &deployment(&before), &deployment(&patch)).unwrap();
        let found = after.pointer(&format!("/spec/template/spec{path}")).cloned().unwrap_or_default();
        assert_eq!(found, expected, "{patch}");
    }
}

#[test]
fn strategic_merges_of_maps_and_values() {
    let before = value!({"metadata": {"labels": {"x": "1", "y": "2"}, "finalizers": ["a", "b"]}, "spec": {"strategy": {"type": "R", "rollingUpdate": {}}}});
    let cases = [
        (value!({"metadata": {"labels": {"x": null}}}), "/metadata/labels", value!({"y": "2"})),
        (
            value!({"metadata": {"labels": {"$patch": "replace", "z": "3"}}}),
            "/metadata/labels",
            value!({"z": "3"}),
        ),
        (value!({"metadata": {"labels": {"$patch": "delete"}}}), "/metadata/labels", value!({})),
        (value!({"metadata": {"finalizers": ["c", "b"]}}), "/metadata/finalizers", value!(["c", "a", "b"])),
        (
            value!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}),
            "/metadata/finalizers",
            value!(["b"]),
        ),
        (
            value!({"metadata": {"$setElementOrder/finalizers": ["b", "a"]}}),
            "/metadata/finalizers",
            value!(["b", "a"]),
        ),
        (
            value!({"metadata": {"$deleteFromPrimitiveList/labels": ["a"]}}),
            "/metadata/labels",
            value!({"x": "1", "y": "2"}),
        ),
        (
            value!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
            "/spec/strategy",
            value!({"type": "Recreate"}),
        ),
        (value!({"$patch": "replace", "metadata": {"name": "a"}}), "", value!({"metadata": {"name": "a"}})),
        (value!({"$patch": "delete"}), "", value!({})),
    ];
    for (patch, path, expected) in cases {
        let after = strategic(DEPLOYMENT, &before, &patch).unwrap();
        assert_eq!(after.pointer(path), Some(&expected), "{patch}");
    }
}

#[test]
fn refused_strategic_merges() {
    let object = deployment(&value!({"containers": [{"name": "c", "image": "i"}]}));
    let cases = [
        (value!([]), "json: cannot unmarshal array into Go value of type map[string]interface {}"),
        (
            deployment(&value!({"containers": [{"image": "no name"}]})),
            "map: map[image:no name] does not contain declared merge key: name",
        ),
        (
            deployment(&value!({"containers": [{"name": "c", "$patch": "explode"}]})),
            "unknown patch type: explode in map: map[$patch:explode name:c]",
        ),
        (
            value!({"spec": {"$setElementOrder/nope": ["a"]}}),
            "unable to find api field in struct DeploymentSpec for the json field \"nope\"",
        ),
        (
            value!({"spec": {"$retainKeys": ["selector"], "replicas": 1}}),
            "invalid patch format of retainKeys",
        ),
        (
            deployment(
                &value!({"$setElementOrder/containers": [{"name": "nope"}], "containers": [{"name": "c", "image": "x"}]}),
            ),
            "The order in patch list:\n[map[image:x name:c]]\n doesn't match $setElementOrder list:\n[map[name:nope]]\n",
        ),
    ];
    for (patch, expected) in cases {
        assert_eq!(strategic(DEPLOYMENT, &object, &patch).unwrap_err().to_string(), expected, "{patch}");
    }
}

/// The object without what the server itself changes.
fn own(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|key, _| !["resourceVersion", "generation", "managedFields"].contains(&key.as_str()));
    }
    object
}

/// Whether the answer only adds defaults to an object.
fn defaulted(object: &Value, answer: &Value) -> bool {
    match (object, answer) {
        (Value::Object(object), Value::Object(answer)) => {
            object.iter().all(|(key, value)| answer.get(key).is_some_and(|answer| defaulted(value, answer)))
        }
        (Value::Array(object), Value::Array(answer)) => {
            object.len() == answer.len()
                && object.iter().zip(answer).all(|(value, answer)| defaulted(value, answer))
        }
        _ => object == answer || *object == value!(0),
    }
}

#[test]
fn what_a_real_server_made_of_patches() {
    let (mut same, mut completed, mut different) = (0, 0, Vec::new());
    for scenario in crate::golden::scenarios().iter().filter(|scenario| scenario["area"] == "patch") {
        let mut last = std::collections::HashMap::new();
        for step in scenario["steps"].as_array().unwrap() {
            let (path, answer) = (step["path"].as_str().unwrap_or_default(), &step["expect"]["body"]);
            let known = || {
                let (group, version) = crate::kind::split_api_version(answer["apiVersion"].as_str()?)?;
                crate::field::of_kind(group, version, answer["kind"].as_str()?)
            };
            let (Some(message), Some(name)) = (known(), answer["metadata"]["name"].as_str()) else {
                continue;
            };
            let form = step["headers"]["Content-Type"].as_str().unwrap_or_default();
            let before = last.get(path);
            if let (Some("PATCH"), Some(before)) = (step["method"].as_str(), before) {
                let patched = match form {
                    "application/json-patch+json" => json(before, &step["body"]),
                    "application/merge-patch+json" => merge(before, &step["body"]),
                    "application/strategic-merge-patch+json" => {
                        strategic(message.name(), before, &step["body"])
                    }
                    _ => Ok(answer.clone()),
                };
                let (patched, answer) =
                    (crate::golden::concrete(&patched.unwrap()), crate::golden::concrete(answer));
                let normal =
                    crate::codec::normalize_value(message.name(), &patched).map(|(value, _)| own(&value));
                let answer = own(&answer);
                // A change of a service's type also clears what the other type had.
                let cleared = step["body"]["spec"]["type"] == "ExternalName";
                match normal {
                    Ok(normal) if normal == answer => same += 1,
                    Ok(normal) if cleared || defaulted(&normal, &answer) => completed += 1,
                    other => different.push(format!("{path}: {}\n  {answer}\n  {other:?}", step["body"])),
                }
            }
            let place = if step["method"] == "POST" { format!("{path}/{name}") } else { path.to_owned() };
            if !step["query"].as_str().unwrap_or_default().contains("dryRun") {
                last.insert(place, answer.clone());
            }
        }
    }
    println!("{same} patches as the server applied them, {completed} before it added defaults");
    assert!(different.is_empty(), "{}", different.join("\n"));
}
