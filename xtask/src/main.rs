//! What a developer runs: up, down, test, tidy, bench.

use std::path::Path;

use anyhow::{Context, Result, bail};

mod codegen;

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        Some("codegen") => {
            let facts = words
                .next()
                .context("usage: cargo xtask codegen FACTS (the folder with api-kinds-1.36.json)")?;
            let repo =
                Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the repository")?;
            codegen::run(Path::new(&facts), repo)
        }
        #[cfg(feature = "wire")]
        Some("codegen-wire") => {
            let usage =
                "usage: cargo xtask codegen-wire ETCD (etcd-client's folder proto) CRI (cri-api's api.proto)";
            let (etcd, cri) = (words.next().context(usage)?, words.next().context(usage)?);
            let repo =
                Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the repository")?;
            codegen::wire::run(Path::new(&etcd), Path::new(&cri), repo)
        }
        Some(word) => bail!("there is no command {word}; there is: codegen"),
        None => bail!("name a command: codegen"),
    }
}
