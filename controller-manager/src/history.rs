//! What tells one version of a pod template from another: equality, and a short hash for names.

use client::k8s_openapi::api::core::v1::PodTemplateSpec;
use serde::Serialize;

/// Letters and digits that make no words (upstream's, for names).
const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Whether two templates ask for the same pods.
pub(crate) fn equal(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    a == b || plain(a) == plain(b)
}

/// The template without the difference between what is absent and what is empty.
fn plain(template: &PodTemplateSpec) -> serde_json::Value {
    fn drop_empty(value: &mut serde_json::Value) -> bool {
        match value {
            serde_json::Value::Null => true,
            // An empty object can mean something (emptyDir: {}), an empty list or map of labels cannot.
            serde_json::Value::Object(fields) => {
                fields.retain(|name, value| {
                    let empty = drop_empty(value);
                    !(empty
                        || matches!(name.as_str(), "labels" | "annotations")
                            && value == &serde_json::json!({}))
                });
                false
            }
            serde_json::Value::Array(items) => {
                for item in items.iter_mut() {
                    drop_empty(item);
                }
                items.is_empty()
            }
            _ => false,
        }
    }
    let mut value = serde_json::to_value(template).unwrap_or_default();
    drop_empty(&mut value);
    value
}

/// A short name for a value, always the same for the same value and the same number of `collisions`.
pub(crate) fn hash(value: &impl Serialize, collisions: Option<i32>) -> String {
    // FNV-1a, 32 bits: short, and collisions are handled by who uses it.
    let fnv = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(16_777_619);
    let text = serde_json::to_vec(value).unwrap_or_default();
    let mut hash = text.iter().fold(2_166_136_261, fnv);
    if let Some(collisions) = collisions {
        hash = collisions.to_le_bytes().iter().fold(hash, fnv);
    }
    let letter = |digit: u8| char::from(SAFE[usize::from(digit) % SAFE.len()]);
    hash.to_string().bytes().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hashes_are_stable_safe_and_move_with_collisions() {
        let template = json!({"metadata": {"labels": {"app": "web"}}});
        assert_eq!(hash(&template, None), hash(&template, None));
        assert_ne!(hash(&template, None), hash(&template, Some(1)));
        assert!(hash(&template, None).bytes().all(|byte| SAFE.contains(&byte)));
    }

    #[test]
    fn absent_and_empty_are_equal() {
        let template = |value| serde_json::from_value::<PodTemplateSpec>(value).unwrap();
        let a =
            template(json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [], "volumes": []}}));
        let b = template(
            json!({"metadata": {"labels": {"a": "b"}, "annotations": {}}, "spec": {"containers": []}}),
        );
        let c = template(json!({"metadata": {"labels": {"a": "c"}}, "spec": {"containers": []}}));
        assert!(equal(&a, &b) && !equal(&a, &c));
    }
}
