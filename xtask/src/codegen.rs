//! Writes the tables of `proto` from the facts about the Kubernetes API.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

mod field;
mod kind;
mod source;
#[cfg(feature = "wire")]
pub(crate) mod wire;

/// Rewrites every generated table under `repo` from the facts in the folder `facts`.
pub(crate) fn run(facts: &Path, repo: &Path) -> Result<()> {
    let kinds = read(&facts.join("api-kinds-1.36.json"))?;
    write(&repo.join("proto/src/kind/table.rs"), &kind::table(&kinds)?)?;
    let fields = read(&facts.join("api-fields-1.36.json"))?;
    let (table, words) = field::table(&kinds, &fields)?;
    write(&repo.join("proto/src/field/words.txt"), &words)?;
    write(&repo.join("proto/src/field/table.rs"), &table)
}

fn read(path: &Path) -> Result<Value> {
    let bytes = fs::read(path).with_context(|| format!("could not read the facts {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is not JSON", path.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("could not write {}", path.display()))
}
