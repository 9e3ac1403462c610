//! What a real kube-apiserver answered, for tests: read where it is there, skipped with a line where it is not.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// The folder with what a real server answered, if it is there.
pub(crate) fn golden() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shared = std::env::var_os("ISOPOD_SHARED").map_or(beside, PathBuf::from);
    let golden = shared.join("reference/golden");
    if golden.is_dir() {
        return Some(golden);
    }
    println!("skipped: there is no {}; set ISOPOD_SHARED", golden.display());
    None
}

/// Every recorded scenario.
pub(crate) fn scenarios() -> Vec<Value> {
    let folders =
        golden().into_iter().flat_map(|golden| std::fs::read_dir(golden.join("scenarios")).unwrap());
    let files = folders.flat_map(|area| std::fs::read_dir(area.unwrap().path()).unwrap());
    files.map(|file| serde_json::from_slice(&std::fs::read(file.unwrap().path()).unwrap()).unwrap()).collect()
}

/// The value with something of the right form for each placeholder.
pub(crate) fn concrete(value: &Value) -> Value {
    match value {
        Value::String(text) if text == "${time}" => json!("2026-01-02T03:04:05Z"),
        Value::String(text) if text == "${time.us}" => json!("2026-01-02T03:04:05.000006Z"),
        Value::String(text)
            if ["${nodeport", "${num", "${unixtime"].iter().any(|form| text.starts_with(form)) =>
        {
            json!(30000)
        }
        Value::Object(map) if map.contains_key("$jwt") => json!("token"),
        Value::Array(list) => list.iter().map(concrete).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), concrete(value))).collect(),
        other => other.clone(),
    }
}
