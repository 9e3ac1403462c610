//! Takes the descriptions of kinds and fields out of the sources of `k8s-openapi`, for `kubectl explain`.
//!
//! That crate has them as the schemas of a feature that is off: switched on, it costs minutes of compilation and
//! megabytes of program. Its sources are generated and regular, so they are read as text. What comes out is one
//! compressed text: a record for each definition, its name, its description, then names and descriptions of fields.

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Ends a record.
const RECORD: char = '\u{1e}';

/// Ends a part of a record.
const UNIT: char = '\u{1f}';

/// The folder of the version we serve, in the sources.
const VERSION: &str = "src/v1_36";

/// What the generated sources say before the name of a definition.
const DEFINITION: &str = "// Generated from definition ";

/// A definition's description, and those of its fields.
#[derive(Default)]
struct Words {
    own: String,
    fields: Vec<(String, String)>,
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../Cargo.lock");
    let mut all = BTreeMap::new();
    collect(&sources()?.join(VERSION), &mut all)?;
    if all.len() < 500 {
        return Err(
            format!("only {} definitions found in k8s-openapi: is it laid out anew?", all.len()).into()
        );
    }
    let mut text = String::new();
    for (name, words) in all {
        text.push_str(&name);
        text.push(UNIT);
        text.push_str(&words.own);
        for (field, description) in words.fields {
            text.extend([UNIT.to_string(), field, UNIT.to_string(), description]);
        }
        text.push(RECORD);
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let file = std::fs::File::create(out.join("descriptions"))?;
    let mut encoder = flate2::write::DeflateEncoder::new(file, flate2::Compression::best());
    encoder.write_all(text.as_bytes())?;
    encoder.finish()?;
    Ok(())
}

/// Where cargo keeps the sources of `k8s-openapi`.
fn sources() -> Result<PathBuf, Box<dyn Error>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let output = Command::new(cargo).args(["metadata", "--format-version=1", "--offline"]).output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let mut packages = metadata["packages"].as_array().into_iter().flatten();
    let package = packages.find(|package| package["name"] == "k8s-openapi");
    let manifest = package.and_then(|package| package["manifest_path"].as_str());
    let manifest = Path::new(manifest.ok_or("cargo metadata knows no k8s-openapi")?);
    Ok(manifest.parent().ok_or("the manifest of k8s-openapi is in no folder")?.to_owned())
}

fn collect(folder: &Path, all: &mut BTreeMap<String, Words>) -> Result<(), Box<dyn Error>> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, all)?;
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && let Some((name, words)) = definition(&std::fs::read_to_string(&path)?)
        {
            all.insert(name, words);
        }
    }
    Ok(())
}

/// The definition in a source file: schemas stand there one property a line, indented by how deep they are.
fn definition(source: &str) -> Option<(String, Words)> {
    let name = source.lines().find_map(|line| line.strip_prefix(DEFINITION))?;
    let mut words = Words::default();
    let mut field = None;
    let schema = source.lines().skip_while(|line| !line.ends_with("json_schema!({"));
    for line in schema.take_while(|line| *line != "}") {
        let text = line.trim_start();
        match line.len() - text.len() {
            12 => {
                if let Some(rest) = text.strip_prefix("\"description\": ") {
                    words.own = literal(rest)?;
                }
            }
            16 if text.starts_with('"') && text.ends_with('{') => field = Some(literal(text)?),
            20 => {
                let rest = text.strip_prefix("\"description\": ").or_else(|| {
                    text.strip_prefix("schema_obj.ensure_object().insert(\"description\".into(), ")
                });
                if let (Some(rest), Some(field)) = (rest, field.take_if(|_| rest.is_some())) {
                    words.fields.push((field, literal(rest)?));
                }
            }
            _ => {}
        }
    }
    Some((name.trim().to_owned(), words))
}

/// The text of the literal that a line begins with.
fn literal(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = text.strip_prefix('"')?.chars();
    loop {
        match rest.next()? {
            '"' => return Some(out),
            '\\' => match rest.next()? {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                'u' => {
                    let digits: String = rest.by_ref().skip(1).take_while(|letter| *letter != '}').collect();
                    out.push(u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32)?);
                }
                other => out.push(other),
            },
            other => out.push(other),
        }
    }
}
