//! From OpenAPI v3 to v2: paths and schemas in the older form.

use serde_json::{Map, Value, json};

use super::schema::COMPONENTS;

/// What stands before the name of a definition in a reference.
const DEFINITIONS: &str = "#/definitions/";

/// Media types in the order v2 has them; the others follow.
const ORDER: &[&str] = &[
    "text/plain",
    "application/json",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];

/// A schema: without defaults, with references in their old place.
pub(super) fn schema(new: Value) -> Value {
    let Value::Object(new) = new else { return new };
    let mut old = Map::new();
    for (key, value) in new {
        match (key.as_str(), value) {
            ("default", _) => {}
            ("$ref", Value::String(to)) => {
                old.insert(key, to.replace(COMPONENTS, DEFINITIONS).into());
            }
            ("allOf", Value::Array(references)) => {
                let references = references.into_iter().map(schema);
                old.extend(references.filter_map(|one| Some(("$ref".to_owned(), one.get("$ref")?.clone()))));
            }
            ("oneOf", _) => {
                old.insert("type".into(), "string".into());
            }
            ("properties", Value::Object(all)) => {
                let all: Map<String, Value> =
                    all.into_iter().map(|(name, one)| (name, schema(one))).collect();
                old.insert(key, all.into());
            }
            ("items" | "additionalProperties", value) => {
                old.insert(key, schema(value));
            }
            (_, value) => {
                old.insert(key, value);
            }
        }
    }
    old.into()
}

/// A path with its operations.
pub(super) fn path(item: Value) -> Value {
    let Value::Object(item) = item else { return item };
    let old: Map<String, Value> = item
        .into_iter()
        .map(|(key, value)| {
            let old = if key == "parameters" { parameters(value) } else { operation(value) };
            (key, old)
        })
        .collect();
    old.into()
}

fn parameters(new: Value) -> Value {
    let Value::Array(new) = new else { return new };
    new.into_iter().map(parameter).collect()
}

fn parameter(mut new: Value) -> Value {
    let schema = new["schema"].take();
    if let (Value::Object(old), Value::Object(schema)) = (&mut new, schema) {
        old.remove("schema");
        old.extend(schema);
    }
    new
}

fn operation(new: Value) -> Value {
    let Value::Object(mut operation) = new else { return new };
    let mut all = operation.remove("parameters").map_or_else(|| json!([]), parameters);
    let mut consumes = json!(["*/*"]);
    if let Some(body) = operation.remove("requestBody") {
        let (types, content) = content(&body);
        consumes = types;
        let mut parameter = json!({"name": "body", "in": "body", "schema": content});
        if body["required"] == true {
            parameter["required"] = true.into();
        }
        if let Value::Array(all) = &mut all {
            all.insert(0, parameter);
        }
    }
    let mut produces = Value::Null;
    let responses = operation.remove("responses").unwrap_or_default();
    let Value::Object(responses) = responses else { return operation.into() };
    let responses: Map<String, Value> = responses
        .into_iter()
        .map(|(code, new)| {
            let mut old = json!({"description": new["description"]});
            if new.get("content").is_some() {
                let (types, body) = content(&new);
                produces = types;
                old["schema"] = body;
            }
            (code, old)
        })
        .collect();
    if !operation.contains_key("x-kubernetes-action") {
        consumes.clone_from(&produces);
    }
    operation.insert("consumes".into(), consumes);
    operation.insert("produces".into(), produces);
    operation.insert("schemes".into(), json!(["https"]));
    operation.insert("responses".into(), responses.into());
    if all.as_array().is_some_and(|all| !all.is_empty()) {
        operation.insert("parameters".into(), all);
    }
    operation.into()
}

/// The media types of a body or an answer, and what it is in all of them.
fn content(of: &Value) -> (Value, Value) {
    let Some(content) = of["content"].as_object() else { return (Value::Null, Value::Null) };
    let mut types: Vec<&str> = content.keys().map(String::as_str).collect();
    types.sort_by_key(|kind| ORDER.iter().position(|known| known == kind).unwrap_or(ORDER.len()));
    let body = content.values().next().map(|one| schema(one["schema"].clone())).unwrap_or_default();
    (types.into(), body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_in_the_older_form() {
        let reference = json!({"$ref": "#/components/schemas/a"});
        let old = json!({"$ref": "#/definitions/a"});
        let cases = [
            (reference.clone(), old.clone()),
            (json!({"allOf": [reference], "default": {}, "description": "x"}), {
                let mut old = old.clone();
                old["description"] = "x".into();
                old
            }),
            (json!({"type": "array", "items": reference}), json!({"type": "array", "items": old})),
            (
                json!({"format": "int-or-string", "oneOf": [{"type": "integer"}]}),
                json!({"format": "int-or-string", "type": "string"}),
            ),
        ];
        for (new, expected) in cases {
            assert_eq!(schema(new), expected);
        }
    }

    #[test]
    fn paths_in_the_older_form() {
        let new = json!({
            "post": {
                "operationId": "x",
                "x-kubernetes-action": "post",
                "parameters": [{"name": "q", "in": "query", "schema": {"type": "string"}}],
                "requestBody": {"content": {"*/*": {"schema": {"type": "object"}}}, "required": true},
                "responses": {
                    "200": {"description": "OK", "content": {"application/json": {"schema": {"type": "string"}}}},
                },
            },
        });
        let old = json!({
            "post": {
                "operationId": "x",
                "x-kubernetes-action": "post",
                "consumes": ["*/*"],
                "produces": ["application/json"],
                "schemes": ["https"],
                "parameters": [
                    {"name": "body", "in": "body", "required": true, "schema": {"type": "object"}},
                    {"name": "q", "in": "query", "type": "string"},
                ],
                "responses": {"200": {"description": "OK", "schema": {"type": "string"}}},
            },
        });
        assert_eq!(path(new), old);
    }
}
