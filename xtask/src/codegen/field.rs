//! The table of messages and their fields: numbers into one text, so that it needs no relocation and no heap.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::source::{flag, rows, text, text_or_empty};

/// Kinds beside the served ones that are read or written: `(group, version)`, every kind in it.
const MORE: [(&str, &str); 7] = [
    ("meta.k8s.io", "v1"),
    ("apidiscovery.k8s.io", "v2"),
    ("admission.k8s.io", "v1"),
    ("apiextensions.k8s.io", "v1"),
    ("apiextensions.k8s.io", "v1beta1"),
    ("audit.k8s.io", "v1"),
    ("", "v1"),
];

/// Messages that no kind refers to.
const ROOTS: [&str; 2] =
    ["k8s.io.apimachinery.pkg.apis.meta.v1.WatchEvent", "k8s.io.apimachinery.pkg.apis.meta.v1.LabelSelector"];

/// The message number of a field that holds none.
const NONE: usize = 0xffff;

/// What the table's file begins with.
const HEADER: &str = "//! The messages of Kubernetes 1.36 and their fields. Written by `cargo xtask codegen`; do not edit.\n\n";

/// All words, each once, in one text.
#[derive(Default)]
struct Words {
    text: String,
    at: HashMap<String, usize>,
    lists: Vec<usize>,
    lists_at: HashMap<Vec<usize>, usize>,
}

impl Words {
    /// Where a word begins, above its length in the lowest byte.
    fn word(&mut self, word: &str) -> Result<usize> {
        if word.len() > 255 {
            bail!("a word of the table is too long: {word}");
        }
        let (text, at) = (&mut self.text, &mut self.at);
        let start = *at.entry(word.to_owned()).or_insert_with(|| {
            text.push_str(word);
            text.len() - word.len()
        });
        Ok(start << 8 | word.len())
    }

    /// Where a list of words begins, above its length in the lowest byte.
    fn list(&mut self, list: &Value) -> Result<usize> {
        let words: Vec<usize> = list
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(|word| self.word(word))
            .collect::<Result<_>>()?;
        let (lists, length) = (&mut self.lists, words.len());
        let start = *self.lists_at.entry(words.clone()).or_insert_with(|| {
            lists.extend(words);
            lists.len() - length
        });
        Ok(start << 8 | length)
    }
}

/// The source of `proto/src/field/table.rs`, and the text its numbers point into.
pub(super) fn table(kinds: &Value, facts: &Value) -> Result<(String, String)> {
    let all = messages(facts)?;
    let names: Vec<&str> = reached(kinds, facts, &all)?.into_iter().collect();
    let number: HashMap<&str, usize> = names.iter().enumerate().map(|(at, name)| (*name, at)).collect();
    let mut words = Words::default();
    words.word("")?;
    let (mut message_rows, mut field_rows, mut order, mut first) =
        (String::new(), String::new(), String::new(), 0);
    for name in &names {
        let row = all[name];
        let shape = shape(name, row);
        let fields: Vec<&Value> =
            rows(row, "fields")?.iter().filter(|field| shape == "Plain" && field["num"].is_u64()).collect();
        let gvk = &row["gvk"];
        writeln!(
            message_rows,
            "    Message({}, {first}, {}, Shape::{shape}, {}, {}, {}),",
            words.word(name)?,
            fields.len(),
            u8::from(flag(row, "typeMeta"))
                | u8::from(text_or_empty(row, "structType") == "atomic") << 1
                | u8::from(gvk.is_object()) << 2,
            words.word(text_or_empty(gvk, "group"))?,
            words.word(text_or_empty(gvk, "version"))?,
        )?;
        first += fields.len();
        let mut ascending: Vec<usize> = (0..fields.len()).collect();
        ascending.sort_by_key(|at| fields[*at]["num"].as_u64());
        for at in ascending {
            write!(order, "{at},")?;
        }
        for field in fields {
            writeln!(
                field_rows,
                "    {},",
                row_of(field, &number, &mut words).with_context(|| format!("in {name}"))?
            )?;
        }
    }
    let lists: Vec<String> = words.lists.iter().map(usize::to_string).collect();
    let table = format!(
        "{HEADER}use super::{{Card::*, Field, List::*, Message, Shape, Type::*}};\n\n/// Every message, ordered by name.\n\
         pub(super) static MESSAGES: &[Message] = &[\n{message_rows}];\n\n/// The fields of all messages, in the order of declaration.\n\
         pub(super) static FIELDS: &[Field] = &[\n{field_rows}];\n\n/// For each message the places of its fields by ascending number.\npub(super) static ORDER: &[u8] = &[{order}];\n\n/// Lists of words.\npub(super) static LISTS: &[u32] = &[{}];\n\n\
         /// All words.\npub(super) static WORDS: &str = include_str!(\"words.txt\");\n",
        lists.join(", "),
    );
    Ok((table, words.text))
}

/// Every message by the name of its protobuf message.
fn messages(facts: &Value) -> Result<BTreeMap<&str, &Value>> {
    Ok(rows(facts, "messages")?
        .iter()
        .filter_map(|row| Some((row["proto"]["message"].as_str()?, row)))
        .collect())
}

/// The messages that the served kinds and the roots need.
fn reached<'a>(
    kinds: &'a Value,
    facts: &'a Value,
    all: &BTreeMap<&'a str, &'a Value>,
) -> Result<BTreeSet<&'a str>> {
    let mut wanted: BTreeSet<(&str, &str, &str)> = BTreeSet::new();
    for row in rows(kinds, "kinds")? {
        let (group, version) = (text(row, "group")?, text(row, "version")?);
        wanted.insert((group, version, text(row, "kind")?));
        wanted.insert((group, version, text_or_empty(row, "listKind")));
        for sub in rows(row, "subresources")? {
            let kind = &sub["kind"];
            wanted.insert((text(kind, "group")?, text(kind, "version")?, text(kind, "kind")?));
        }
    }
    let mut open: Vec<&str> = ROOTS.to_vec();
    for row in rows(facts, "messages")? {
        let gvk = &row["gvk"];
        let key = (text_or_empty(gvk, "group"), text_or_empty(gvk, "version"), text_or_empty(gvk, "kind"));
        let meta = text_or_empty(&row["go"], "pkg") == "k8s.io/apimachinery/pkg/apis/meta/v1";
        let asked = gvk.is_object() && (wanted.contains(&key) || MORE.contains(&(key.0, key.1)));
        if let (true, Some(name)) = (asked || meta && !flag(row, "leaf"), row["proto"]["message"].as_str()) {
            open.push(name);
        }
    }
    let mut reached = BTreeSet::new();
    while let Some(name) = open.pop() {
        let Some((name, row)) = all.get_key_value(name) else { bail!("there is no message {name}") };
        if reached.insert(*name) {
            let types = rows(row, "fields")?.iter().filter_map(|field| field["protoType"].as_str());
            open.extend(types.filter(|name| name.contains('.')));
        }
    }
    Ok(reached)
}

fn shape(name: &str, row: &Value) -> &'static str {
    if row["wrapper"].is_object() {
        return "Strings";
    }
    match name.rsplit('.').next().unwrap_or_default() {
        "JSON" => "Raw",
        _ if !flag(row, "leaf") => "Plain",
        "Time" => "Time",
        "MicroTime" => "MicroTime",
        "Duration" => "Duration",
        "Quantity" | "QuantityValue" => "Quantity",
        "IntOrString" => "IntOrString",
        "RawExtension" | "Unknown" => "RawExtension",
        "FieldsV1" => "Raw",
        "JSONSchemaPropsOrBool" => "SchemaOrBool",
        "JSONSchemaPropsOrArray" => "SchemaOrArray",
        "JSONSchemaPropsOrStringArray" => "SchemaOrStrings",
        // Envelopes and what is in no message of a kind.
        _ => "Plain",
    }
}

/// The bits of a field's row; `proto::field` names them.
fn bits(field: &Value) -> u32 {
    let strategy = text_or_empty(field, "patchStrategy");
    [
        flag(field, "omitempty"),
        flag(field, "omitzero"),
        flag(field, "required"),
        strategy.contains("merge"),
        strategy.contains("retainKeys"),
        text_or_empty(field, "mapType") == "atomic",
        text_or_empty(field, "structType") == "atomic",
        // What is written though it is zero.
        text_or_empty(field, "pbWrite") == "always",
        strategy == "replace",
    ]
    .iter()
    .enumerate()
    .fold(0, |bits, (at, set)| bits | u32::from(*set) << at)
}

fn row_of(field: &Value, number: &HashMap<&str, usize>, words: &mut Words) -> Result<String> {
    let proto = text(field, "protoType")?;
    let card = match (flag(field, "inline"), text_or_empty(field, "card"), text_or_empty(field, "kind")) {
        (true, ..) => "Inline",
        (_, "map", _) => "Map",
        (_, "repeated", _) => "Many",
        (_, _, "ptr") => "Pointer",
        // A wrapper is a list in Go: absent when it is empty.
        (_, _, "slice") => "Pointer",
        _ => "One",
    };
    let kind = match proto {
        "string" => "Text",
        "int32" => "Int32",
        "int64" => "Int64",
        "bool" => "Bool",
        "double" => "Double",
        "bytes" => "Bytes",
        _ => "Nested",
    };
    let list = match text_or_empty(field, "listType") {
        "" => "Whole",
        "atomic" => "Atomic",
        "set" => "Set",
        "map" => "Keyed",
        other => bail!("unknown list type {other}"),
    };
    let message =
        if kind == "Nested" { *number.get(proto).context("a field of an unknown message")? } else { NONE };
    let default = match &field["default"] {
        Value::Null => String::new(),
        value => value.to_string(),
    };
    Ok(format!(
        "Field({},{},{},{message},{kind},{card},{},{list},{},{},{},{})",
        words.word(text_or_empty(field, "json"))?,
        words.word(&short(text_or_empty(field, "type")))?,
        field["num"],
        bits(field),
        words.list(&field["listMapKeys"])?,
        words.word(text_or_empty(field, "patchMergeKey"))?,
        words.word(&default)?,
        words.list(&field["enum"])?,
    ))
}

/// A Go type as Go's reflection prints it: packages by their last name, pointers followed.
fn short(go: &str) -> String {
    let mut out = String::new();
    for part in go.trim_start_matches('*').split_inclusive(['[', ']', '*']) {
        out.push_str(part.rsplit('/').next().unwrap_or(part));
    }
    out
}
