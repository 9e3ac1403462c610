//! The table of built-in API kinds.

use std::fmt::Write;

use anyhow::{Result, bail};
use serde_json::Value;

use super::source::{flag, rows, strings, text, text_or_empty};

/// The source of `proto/src/kind/table.rs`.
pub(super) fn table(facts: &Value) -> Result<String> {
    let mut out = String::from(
        "//! The built-in kinds, groups and feature gates of Kubernetes 1.36. Written by `cargo xtask codegen`; do not edit.\n\n\
         use super::{Encoding, FeatureGate, Group, GroupVersion, Kind, Served, Stage, Subresource};\n\n\
         /// Every built-in kind, ordered by group, version and plural.\npub static KINDS: &[Kind] = &[\n",
    );
    let mut kinds: Vec<&Value> = rows(facts, "kinds")?.iter().collect();
    kinds.sort_by_key(|row| ["group", "version", "plural"].map(|key| text_or_empty(row, key)));
    for row in kinds {
        writeln!(out, "    {},", kind(row)?)?;
    }
    out.push_str(
        "];\n\n/// Every built-in group, in the order of discovery.\npub static GROUPS: &[Group] = &[\n",
    );
    for row in rows(facts, "groups")? {
        writeln!(out, "    {},", group(row)?)?;
    }
    out.push_str(
        "];\n\n/// Every feature gate, ordered by name.\npub static FEATURE_GATES: &[FeatureGate] = &[\n",
    );
    let mut gates: Vec<&Value> = rows(facts, "featureGates")?.iter().collect();
    gates.sort_by_key(|row| text_or_empty(row, "name"));
    for row in gates {
        let stage = match text(row, "stage")? {
            "alpha" => "Alpha",
            "beta" => "Beta",
            "ga" => "Ga",
            "deprecated" => "Deprecated",
            other => bail!("unknown stage of a feature gate: {other}"),
        };
        let (name, default) = (text(row, "name")?, flag(row, "default"));
        writeln!(out, "    FeatureGate {{ name: {name:?}, stage: Stage::{stage}, default: {default} }},")?;
    }
    out.push_str("];\n");
    Ok(out)
}

fn kind(row: &Value) -> Result<String> {
    let served = match text(row, "served")? {
        "default" => "Served::Default".to_owned(),
        "api/all" => "Served::RuntimeConfig".to_owned(),
        "api/all+gate" => format!("Served::FeatureGate({:?})", text(row, "featureGate")?),
        other => bail!("unknown way of serving: {other}"),
    };
    let encoding = match text_or_empty(row, "storageEncoding") {
        "json" => "Json",
        _ => "Protobuf",
    };
    let message = text(row, "protoMessage")?;
    let list_kind = text_or_empty(row, "listKind");
    let list_message = match (list_kind, message.rsplit_once('.')) {
        ("", _) | (_, None) => String::new(),
        (list, Some((package, _))) => format!("{package}.{list}"),
    };
    let mut out = String::from("Kind { ");
    for (field, key) in [
        ("group", "group"),
        ("version", "version"),
        ("kind", "kind"),
        ("plural", "plural"),
        ("singular", "singular"),
    ] {
        write!(out, "{field}: {:?}, ", text(row, key)?)?;
    }
    for (field, key) in [("short_names", "shortNames"), ("categories", "categories"), ("verbs", "verbs")] {
        write!(out, "{field}: {}, ", strings(row, key))?;
    }
    write!(out, "namespaced: {}, subresources: &[", flag(row, "namespaced"))?;
    for sub in rows(row, "subresources")? {
        write!(out, "Subresource {{ name: {:?}, verbs: {}", text(sub, "name")?, strings(sub, "verbs"))?;
        for key in ["group", "version", "kind"] {
            write!(out, ", {key}: {:?}", text(&sub["kind"], key)?)?;
        }
        out.push_str(" }, ");
    }
    write!(
        out,
        "], message: {message:?}, list_kind: {list_kind:?}, list_message: {list_message:?}, served: {served}, stored: {}, ",
        flag(row, "stored")
    )?;
    for (field, key) in [
        ("storage_version", "storageVersion"),
        ("etcd_prefix", "etcdPrefix"),
        ("storage_version_hash", "storageVersionHash"),
    ] {
        write!(out, "{field}: {:?}, ", text_or_empty(row, key))?;
    }
    write!(out, "storage_encoding: Encoding::{encoding} }}")?;
    Ok(out)
}

fn group(row: &Value) -> Result<String> {
    let mut out = format!(
        "Group {{ name: {:?}, preferred: {:?}, priority: {}, versions: &[",
        text(row, "group")?,
        text(row, "preferred")?,
        row["groupPriorityMinimum"]
    );
    for version in rows(row, "versions")?.iter().filter_map(Value::as_str) {
        let default = rows(row, "defaultVersions")?.iter().any(|one| one == version);
        // The aggregator's own group has no row in upstream's priorities; it takes the lowest.
        let priority = row["versionPriority"][version].as_u64().unwrap_or(1);
        write!(out, "GroupVersion {{ version: {version:?}, priority: {priority}, default: {default} }}, ")?;
    }
    out.push_str("] }");
    Ok(out)
}
