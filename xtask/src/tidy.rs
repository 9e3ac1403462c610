//! `cargo xtask tidy`: what holds for the whole tree and no compiler checks.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use xtask::report::say;

/// Everything that may lie at the top level, besides dot-files.
const TOP: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "LICENSE",
    "rust-toolchain.toml",
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "apiserver",
    "scheduler",
    "controller-manager",
    "kubelet",
    "kubeproxy",
    "flannel",
    "dns",
    "ingress",
    "datastore",
    "proto",
    "deploy",
    "xtask",
];

/// Which of our crates a crate may depend on, tests apart. Daemons depend on contracts, never on daemons.
const EDGES: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("nft", &[]),
    ("daemon", &[]),
    ("client", &["proto"]),
    ("store", &["proto"]),
    ("datastore", &["store", "proto", "daemon"]),
    ("apiserver", &["store", "client", "proto", "daemon"]),
    ("testkit", &["apiserver", "store", "client", "proto", "daemon"]),
    ("scheduler", &["client", "proto", "daemon"]),
    ("controller-manager", &["client", "proto", "daemon"]),
    ("kubelet", &["client", "proto", "daemon"]),
    ("dns", &["client", "proto", "daemon"]),
    ("kubeproxy", &["client", "proto", "daemon", "nft"]),
    ("flannel", &["client", "proto", "daemon", "nft"]),
    ("supervisor", &["client", "proto", "daemon"]),
    ("ingress", &["client", "proto", "daemon"]),
    (
        "bundle",
        &[
            "apiserver",
            "controller-manager",
            "daemon",
            "datastore",
            "dns",
            "flannel",
            "ingress",
            "kubelet",
            "kubeproxy",
            "scheduler",
            "supervisor",
        ],
    ),
    ("e2e", &["xtask"]),
    ("xtask", &[]),
];

/// Names that say nothing of what is inside.
const BANNED: &[&str] = &["common.rs", "helpers.rs", "misc.rs", "mod.rs", "util.rs", "utils.rs"];

/// What a file of pure decisions may not mention: it has no clock, no I/O and nothing to wait for.
const IMPURE: &[&str] = &["async fn", "tokio::", "std::fs", "Instant::now", "SystemTime::now"];

/// The longest a `main.rs` of a daemon may be: it is a door, not a room. Lines.
const DOOR: usize = 50;

/// Checks the tree.
///
/// # Errors
/// With the number of findings, each of which has been printed.
pub(crate) fn run(repo: &Path) -> Result<()> {
    let listing = output(repo, "git", &["ls-files"])?;
    let files: Vec<&str> = listing.lines().filter(|file| repo.join(file).exists()).collect();
    let mut findings = top_level(&files);
    for file in files.iter().filter(|file| file.ends_with(".rs")) {
        let text =
            std::fs::read_to_string(repo.join(file)).with_context(|| format!("could not read {file}"))?;
        findings.extend(source(file, &text));
    }
    let metadata = output(repo, "cargo", &["metadata", "--format-version", "1", "--no-deps"])?;
    findings.extend(edges(&serde_json::from_str(&metadata).context("cargo metadata is not JSON")?));
    for finding in &findings {
        say(finding);
    }
    if findings.is_empty() { Ok(()) } else { bail!("{} findings", findings.len()) }
}

fn output(repo: &Path, program: &str, words: &[&str]) -> Result<String> {
    let output = Command::new(program).args(words).current_dir(repo).output();
    let output = output.with_context(|| format!("could not run {program}"))?;
    if !output.status.success() {
        bail!("{program} {} failed: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8(output.stdout).with_context(|| format!("{program} did not answer in UTF-8"))
}

fn top_level(files: &[&str]) -> Vec<String> {
    let seen: BTreeSet<&str> = files.iter().filter_map(|file| file.split('/').next()).collect();
    let odd = seen.into_iter().filter(|name| !name.starts_with('.') && !TOP.contains(name));
    odd.map(|name| format!("{name}: nothing of that name belongs at the top level")).collect()
}

fn source(file: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let name = file.rsplit('/').next().unwrap_or(file);
    if !text.starts_with("//!") {
        findings.push(format!("{file}: the first line says what the file is for (//!)"));
    }
    if BANNED.contains(&name) {
        findings.push(format!("{file}: the name says nothing of what is inside"));
    }
    if file.ends_with("src/main.rs") && file != "xtask/src/main.rs" && text.lines().count() > DOOR {
        findings.push(format!("{file}: a main.rs is a door of at most {DOOR} lines"));
    }
    if matches!(name, "plan.rs" | "cycle.rs" | "answer.rs") {
        let impure = IMPURE.iter().filter(|word| text.contains(**word));
        findings.extend(impure.map(|word| format!("{file}: a pure file mentions {word}")));
    }
    // Written apart, so that this file does not find itself.
    for word in [concat!("#[", "ignore"), concat!("FIX", "ME"), concat!("XX", "X:")] {
        if text.contains(word) {
            findings.push(format!("{file}: {word} has no place here"));
        }
    }
    findings
}

fn edges(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ours: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let mut findings = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = EDGES.iter().find(|(crate_, _)| *crate_ == name) else {
            findings.push(format!("{name}: the table of crate edges has no row for it"));
            continue;
        };
        let dependencies = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
        for dependency in dependencies.iter().filter(|dependency| dependency["kind"] != "dev") {
            let other = dependency["name"].as_str().unwrap_or_default();
            if ours.contains(other) && !allowed.contains(&other) {
                findings.push(format!("{name}: may not depend on {other}"));
            }
        }
    }
    findings
}

#[cfg(test)]
mod checks {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_found_in_a_file() {
        let cases: &[(&str, &str, usize)] = &[
            ("dns/src/zone.rs", "//! Zones.\n", 0),
            ("dns/src/zone.rs", "use std::fmt;\n", 1),
            ("dns/src/util.rs", "//! Things.\n", 1),
            ("dns/src/plan.rs", "//! Plans.\nuse tokio::time;\n", 1),
        ];
        for (file, text, expected) in cases {
            assert_eq!(source(file, text).len(), *expected, "{file}: {text}");
        }
    }

    #[test]
    fn an_edge_between_daemons_is_found() {
        let package = |name: &str, on: &str, kind: Value| json!({"name": name, "dependencies": [{"name": on, "kind": kind}]});
        let found = |kind| {
            edges(
                &json!({"packages": [package("kubelet", "kubeproxy", kind), package("kubeproxy", "nft", Value::Null)]}),
            )
        };
        assert_eq!(found(Value::Null), ["kubelet: may not depend on kubeproxy"]);
        assert!(found(json!("dev")).is_empty());
    }
}
