//! The figures of a release build: memory, idle work, times, creates per second, sizes.
//!
//! A figure is a row: what it is, what was measured, and what the design asks for. Later ones are further rows.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xtask::cluster::{Cluster, clear};
use xtask::host::Network;
use xtask::report::{say, step};
use xtask::site::Site;
use xtask::{bundle, kubectl, up, web};

use crate::session::Identity;

mod chart;
mod idle;
mod load;
mod pods;
mod start;

/// One figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
    /// What the design asks for, where it asks.
    pub target: Option<f64>,
    /// Whether more is better.
    pub more_is_better: bool,
}

impl Figure {
    fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, target: None, more_is_better: false }
    }

    fn target(mut self, target: f64) -> Self {
        self.target = Some(target);
        self
    }

    fn more_is_better(mut self) -> Self {
        self.more_is_better = true;
        self
    }
}

/// Measures everything, prints the table and writes `target/bench/figures.svg`.
///
/// # Errors
/// Where something cannot be measured; the cluster is gone in any case.
pub fn run(repo: &Path, executable: &Path) -> Result<()> {
    let site = Site::bench(repo);
    let kubectl = kubectl::find(&repo.join("target"))?;
    clear(&site)?;
    let measured = measure(&site, executable, kubectl);
    clear(&site)?;
    if site.folder.exists() {
        std::fs::remove_dir_all(&site.folder)
            .with_context(|| format!("could not remove {}", site.folder.display()))?;
    }
    let figures = measured?;
    say("");
    for line in chart::table(&figures) {
        say(&line);
    }
    let drawing = repo.join("target/bench/figures.svg");
    std::fs::write(&drawing, chart::svg(&figures))
        .with_context(|| format!("could not write {}", drawing.display()))?;
    say(&format!("\n{}", drawing.display()));
    Ok(())
}

fn measure(site: &Site, executable: &Path, kubectl: PathBuf) -> Result<Vec<Figure>> {
    let (installed, _) = bundle::install(executable, &site.folder)?;
    let mut figures = vec![size(executable)?];
    let cluster = Cluster::new(site.clone(), 1, Network::Lan, installed, kubectl);
    figures.extend(start::measure(&cluster)?);
    let identity = Identity::of(&cluster.kubectl)?;
    figures.extend(idle::measure(&cluster)?);
    figures.extend(pods::measure(&cluster, &identity)?);
    clear(site)?;
    figures.extend(load::measure(&cluster)?);
    Ok(figures)
}

fn size(executable: &Path) -> Result<Figure> {
    let bytes = std::fs::metadata(executable)
        .with_context(|| format!("could not look at {}", executable.display()))?
        .len();
    Ok(Figure::new("all-in-one executable", mebibytes(bytes), "MiB").target(30.0))
}

#[expect(clippy::cast_precision_loss, reason = "figures have three digits")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Whether the demo answers by its node port.
fn demo_answers(cluster: &Cluster) -> Option<()> {
    let address = format!("{}:{}", cluster.address(0), up::DEMO_PORT);
    web::get(&address, up::DEMO_HOST, "/").ok().filter(|answer| answer.status == 200).map(drop)
}

/// How long to wait for what takes a while on a small machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Does a step and prints its line, with what the figures say.
fn told(name: &str, work: impl FnOnce() -> Result<Vec<Figure>>) -> Result<Vec<Figure>> {
    step(name, |_| {
        let figures = work()?;
        ensure!(!figures.is_empty(), "nothing was measured");
        let said = figures.iter().map(|figure| format!("{:.2} {}", figure.value, figure.unit));
        let said = said.collect::<Vec<_>>().join(", ");
        Ok((figures, said))
    })
}
