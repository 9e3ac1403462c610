//! Bodies as scenarios have them: JSON, text, and protobuf taken apart without a schema.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// The body of a recorded request.
pub(super) fn request(body: &Value) -> Option<Vec<u8>> {
    match body {
        Value::Null => None,
        Value::String(text) => Some(text.clone().into_bytes()),
        Value::Object(map) if map.contains_key("$base64") => {
            Some(STANDARD.decode(map["$base64"].as_str().unwrap()).unwrap())
        }
        Value::Object(map) if map.contains_key("$repeat") => {
            let part = |place: usize| map["$repeat"][place].as_str().unwrap();
            let count = usize::try_from(map["$repeat"][2].as_u64().unwrap()).unwrap();
            Some(format!("{}{}{}", part(0), part(1).repeat(count), part(3)).into_bytes())
        }
        other => Some(other.to_string().into_bytes()),
    }
}

/// The body of an answer, to be compared.
pub(super) fn answer(media_type: &str, body: &[u8]) -> Value {
    let base64 = || json!({"base64": STANDARD.encode(body)});
    if media_type.contains("protobuf") {
        let message = body.get(4..).and_then(message);
        let magic: String = body.iter().take(4).map(|byte| char::from(*byte)).collect();
        return message.map_or_else(base64, |wire| json!({"magic": magic, "wire": wire}));
    }
    let looks = [b"{\"", b"{\n", b"[{", b"[\n"].iter().any(|head| body.starts_with(*head));
    if let Some(value) =
        (media_type.contains("json") || looks).then(|| serde_json::from_slice(body).ok()).flatten()
    {
        return value;
    }
    std::str::from_utf8(body).map_or_else(|_| base64(), Value::from)
}

/// The fields of a message by their numbers; nothing where it is none.
fn message(bytes: &[u8]) -> Option<Value> {
    let mut fields: Map<String, Value> = Map::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let value = match tag & 7 {
            0 => varint(&mut rest)?.into(),
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                blob(take(&mut rest, length)?)
            }
            1 => fixed(take(&mut rest, 8)?),
            5 => fixed(take(&mut rest, 4)?),
            _ => return None,
        };
        if tag >> 3 == 0 {
            return None;
        }
        let list = fields.entry((tag >> 3).to_string()).or_insert_with(|| json!([]));
        list.as_array_mut()?.push(value);
    }
    Some(fields.into())
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(count)?;
    *rest = tail;
    Some(head)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 127).checked_shl(shift)?;
        if byte < 128 {
            return Some(value);
        }
    }
    None
}

fn fixed(bytes: &[u8]) -> Value {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("fixed:{digits}").into()
}

/// A text, a message, or bytes.
fn blob(bytes: &[u8]) -> Value {
    if bytes.iter().all(|byte| (32..127).contains(byte)) {
        return String::from_utf8_lossy(bytes).into();
    }
    message(bytes).unwrap_or_else(|| match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => format!("base64:{}", STANDARD.encode(bytes)).into(),
    })
}

#[test]
fn messages_without_a_schema() {
    let body = b"k8s\0\x0a\x02v1\x12\x02\x08\x05\x1a\x01\xff";
    let expected = json!({"magic": "k8s\0", "wire": {"1": ["v1"], "2": [{"1": [5]}], "3": ["base64:/w=="]}});
    assert_eq!(answer("application/vnd.kubernetes.protobuf", body), expected);
}
