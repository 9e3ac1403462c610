//! The files of a volume from the objects they follow: values in, values out.

use std::collections::BTreeMap;

use client::k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Pod};

use super::layout::{Files, Source};
use crate::pod::downward::{self, Facts};
use crate::pod::env::Objects;
use crate::pod::namespace;

/// A file to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub bytes: Vec<u8>,
    pub mode: u32,
    /// Who owns it, where that is not root.
    pub owner: Option<u32>,
}

/// Files by their path below the volume.
pub type Content = BTreeMap<String, File>;

/// A service account token, and the user who alone may read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    pub owner: Option<u32>,
    pub private: bool,
}

/// The files of a volume.
///
/// # Errors
/// What is missing, in upstream's words.
pub fn content(
    files: &Files,
    pod: &Pod,
    facts: &Facts,
    objects: &Objects,
    tokens: &BTreeMap<String, Token>,
) -> Result<Content, String> {
    let mut out = Content::new();
    for source in &files.sources {
        match source {
            Source::ConfigMap { name, items, optional } => {
                let data = objects.config_maps.get(name).map(|map| {
                    let text = map.data.iter().flatten().map(|(key, text)| (key, text.as_bytes()));
                    let bytes =
                        map.binary_data.iter().flatten().map(|(key, bytes)| (key, bytes.0.as_slice()));
                    text.chain(bytes).map(|(key, bytes)| (key.clone(), bytes.to_vec())).collect()
                });
                out.extend(keyed("configmap", name, data, items.as_ref(), *optional, files.mode, pod)?);
            }
            Source::Secret { name, items, optional } => {
                let data = objects.secrets.get(name).map(|secret| {
                    let data = secret.data.iter().flatten();
                    data.map(|(key, bytes)| (key.clone(), bytes.0.clone())).collect()
                });
                out.extend(keyed("secret", name, data, items.as_ref(), *optional, files.mode, pod)?);
            }
            Source::Downward { items } => {
                for item in items {
                    let bytes = fact(pod, facts, item)?.into_bytes();
                    let mode = chosen(item.mode, files.mode);
                    out.insert(item.path.clone(), File { bytes, mode, owner: None });
                }
            }
            Source::Token { path, .. } => {
                let token = tokens.get(path).ok_or("the token has not been issued")?;
                let mode = if token.private { 0o600 } else { files.mode };
                out.insert(
                    path.clone(),
                    File { bytes: token.text.clone().into_bytes(), mode, owner: token.owner },
                );
            }
        }
    }
    Ok(out)
}

fn chosen(own: Option<i32>, otherwise: u32) -> u32 {
    own.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(otherwise)
}

fn fact(pod: &Pod, facts: &Facts, item: &DownwardAPIVolumeFile) -> Result<String, String> {
    match (&item.field_ref, &item.resource_field_ref) {
        (Some(from), _) => downward::field(pod, facts, &from.field_path),
        (None, Some(from)) => downward::resource(pod, None, facts, from),
        (None, None) => Err(format!("the downward API file {} has no source", item.path)),
    }
}

/// The keys of an object as files: all under their own names, or those that are listed.
fn keyed(
    kind: &str,
    name: &str,
    data: Option<BTreeMap<String, Vec<u8>>>,
    items: Option<&Vec<KeyToPath>>,
    optional: bool,
    mode: u32,
    pod: &Pod,
) -> Result<Content, String> {
    let data = match data {
        Some(data) => data,
        None if optional => BTreeMap::new(),
        None => return Err(format!("{kind} \"{name}\" not found")),
    };
    let file = |bytes: Vec<u8>, mode: u32| File { bytes, mode, owner: None };
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        return Ok(data.into_iter().map(|(key, bytes)| (key, file(bytes, mode))).collect());
    };
    let mut out = Content::new();
    for item in items {
        match data.get(&item.key) {
            Some(bytes) => {
                out.insert(item.path.clone(), file(bytes.clone(), chosen(item.mode, mode)));
            }
            None if optional => {}
            None => {
                let place = format!("{}/{name}", namespace(pod));
                return Err(format!("references non-existent {kind} key: {} in {place}", item.key));
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::volume::layout::{Layout, layout};

    fn files(volume: serde_json::Value) -> Result<String, String> {
        let volume = serde_json::from_value(volume).unwrap();
        let pod: Pod = serde_json::from_value(
            json!({"metadata": {"name": "p", "namespace": "d", "labels": {"a": "b"}}}),
        )
        .unwrap();
        let map = json!({"data": {"k": "v", "l": "w"}});
        let objects = Objects {
            config_maps: [("cm".to_owned(), std::sync::Arc::new(serde_json::from_value(map).unwrap()))]
                .into(),
            ..Objects::default()
        };
        let token = Token { text: "t".to_owned(), owner: Some(7), private: true };
        let tokens = [("token".to_owned(), token)].into();
        let Layout::Files(files) = layout(&volume)? else { panic!("not files") };
        let found = content(&files, &pod, &Facts::default(), &objects, &tokens)?;
        let lines = found
            .iter()
            .map(|(path, file)| format!("{path}={} {:o}", String::from_utf8_lossy(&file.bytes), file.mode));
        Ok(lines.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn files_of_every_source() {
        let cases = [
            (json!({"name": "v", "configMap": {"name": "cm"}}), Ok("k=v 644 l=w 644")),
            (
                json!({"name": "v", "configMap": {"name": "cm", "defaultMode": 256, "items": [{"key": "k", "path": "a/b"}]}}),
                Ok("a/b=v 400"),
            ),
            (json!({"name": "v", "configMap": {"name": "no"}}), Err("configmap \"no\" not found")),
            (json!({"name": "v", "secret": {"secretName": "no", "optional": true}}), Ok("")),
            (
                json!({"name": "v", "configMap": {"name": "cm", "items": [{"key": "x", "path": "a"}]}}),
                Err("references non-existent configmap key: x in d/cm"),
            ),
            (
                json!({"name": "v", "projected": {"sources": [
                    {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
                    {"serviceAccountToken": {"path": "token"}},
                ]}}),
                Ok("labels=a=\"b\" 644 token=t 600"),
            ),
        ];
        for (volume, expected) in cases {
            let found = files(volume.clone());
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{volume}");
        }
    }
}
