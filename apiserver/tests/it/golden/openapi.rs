//! The recorded OpenAPI documents, which have no descriptions.

use std::io::Read;

use serde_json::{Value, json};

use super::compare::{Bound, compare};
use super::recorded;
use crate::subject::Subject;

#[tokio::test]
async fn documents_are_as_recorded() {
    let Some(golden) = recorded() else { return };
    let subject = Subject::start().await;
    let index = subject.send("GET", "/openapi/v3", Value::Null).await.body;
    let mut failed = Vec::new();
    for (name, place) in index["paths"].as_object().unwrap() {
        let file = golden.join(format!("openapi/v3-{}.json.gz", name.replace('/', "_")));
        let mut text = String::new();
        flate2::read::GzDecoder::new(std::fs::File::open(&file).unwrap()).read_to_string(&mut text).unwrap();
        let document =
            subject.send("GET", place["serverRelativeURL"].as_str().unwrap(), Value::Null).await.body;
        let mut found = Vec::new();
        let recorded: Value = serde_json::from_str(&text).unwrap();
        compare(&recorded, &undescribed(&document, false), &mut Bound::new(), name, &mut found);
        failed.extend(found.iter().map(|one| format!("{}: {} {}", one.path, one.expected, one.got)));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// A document without descriptions; what stands below a name is not one.
fn undescribed(value: &Value, named: bool) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, value)| named || *key != "description" || !value.is_string());
            let names = |key: &str| !named && matches!(key, "properties" | "schemas" | "paths");
            kept.map(|(key, value)| (key.clone(), undescribed(value, names(key))))
                .collect::<serde_json::Map<_, _>>()
                .into()
        }
        Value::Array(list) => list.iter().map(|one| undescribed(one, false)).collect(),
        other => other.clone(),
    }
}

#[test]
fn only_descriptions_go() {
    let document =
        json!({"description": "x", "properties": {"description": {"description": "x", "type": "string"}}});
    assert_eq!(undescribed(&document, false), json!({"properties": {"description": {"type": "string"}}}));
}
