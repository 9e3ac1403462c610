//! The subject of the tests: a server and an agent on a LAN, and the ways to speak to them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xtask::cluster::{Cluster, clear};
use xtask::host::Network;
use xtask::kubectl::{self, Kubectl};
use xtask::report::Step;
use xtask::site::Site;
use xtask::{bundle, lan};

use crate::script;

/// A server and an agent: pods on different nodes must reach each other.
pub const NODES: u8 = 2;

/// A running cluster.
#[derive(Debug)]
pub struct Stage {
    /// The cluster itself.
    pub cluster: Cluster,
    kubectl: PathBuf,
    keep: bool,
    /// Another run, of another clone perhaps, would make hosts of the same names.
    _alone: File,
}

impl Stage {
    /// Starts the cluster, or takes the one that an earlier run has kept, if that is wanted.
    ///
    /// # Errors
    /// Where it does not come up; what there was of it is gone, but its logs.
    pub fn start(keep: bool, nodes: u8) -> Result<Self> {
        let repo = Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .nth(2)
            .context("deploy/e2e lies in the repository")?;
        let alone = File::open("/run").context("could not open /run")?;
        alone.lock().context("could not wait for another run of these tests")?;
        let kubectl = kubectl::find(&repo.join("target"))?;
        let site = Site::e2e(repo);
        let kept = keep && !lan::namespaces(&site).is_empty();
        if !kept {
            clear(&site)?;
            if site.folder.exists() {
                fs::remove_dir_all(&site.folder)
                    .with_context(|| format!("could not remove {}", site.folder.display()))?;
            }
        }
        let (executable, _) = bundle::install(&built()?, &site.folder)?;
        let cluster = Cluster::new(site, nodes, Network::Lan, executable, kubectl.clone());
        let stage = Self { cluster, kubectl, keep, _alone: alone };
        if !kept && let Err(error) = stage.bring_up() {
            stage.end(true)?;
            return Err(error);
        }
        Ok(stage)
    }

    fn bring_up(&self) -> Result<()> {
        let step = Step::begin("the cluster starts");
        self.cluster.prepare()?;
        self.cluster.start(&self.cluster.hosts[0])?;
        self.cluster.await_api(&step)?;
        for host in &self.cluster.hosts[1..] {
            self.cluster.start(host)?;
        }
        self.cluster.await_nodes(&step)
    }

    /// Talks to the API as the administrator.
    pub fn kubectl(&self) -> &Kubectl {
        &self.cluster.kubectl
    }

    /// Plays a script; `$NODE1`, `$NODE2` are addresses, `$M` is the folder of manifests, `$TMP` one to write to.
    ///
    /// # Errors
    /// Those of the script.
    pub fn play(&self, text: &str) -> Result<()> {
        script::play(text, &self.variables()?)
    }

    fn variables(&self) -> Result<Vec<(&'static str, String)>> {
        let tmp = self.cluster.site.folder.join("tmp");
        fs::create_dir_all(&tmp).with_context(|| format!("could not make {}", tmp.display()))?;
        let folder = self.kubectl.parent().unwrap_or_else(|| Path::new("")).display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        Ok(vec![
            ("KUBECONFIG", self.kubectl().kubeconfig().display().to_string()),
            (
                "KUBECACHEDIR",
                self.kubectl().kubeconfig().with_file_name("kubectl-cache").display().to_string(),
            ),
            ("PATH", format!("{folder}:{path}")),
            ("NODE1", self.cluster.address(0)),
            ("NODE2", self.cluster.address(self.cluster.hosts.len() - 1)),
            ("M", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/manifest").to_owned()),
            ("TMP", tmp.display().to_string()),
        ])
    }

    /// Stops the cluster, unless it is to be kept; where something failed, the logs of all components stay in
    /// `target/e2e/logs`.
    ///
    /// # Errors
    /// Where something cannot be removed.
    pub fn end(&self, failed: bool) -> Result<()> {
        let folder = &self.cluster.site.folder;
        if failed {
            let logs = folder.join("logs");
            self.cluster.collect_logs(&logs)?;
            xtask::report::say(&format!("logs of all components: {}", logs.display()));
        }
        if self.keep {
            return Ok(());
        }
        clear(&self.cluster.site)?;
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()).filter(|path| !failed || !path.ends_with("logs")) {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.with_context(|| format!("could not remove {}", path.display()))?;
        }
        Ok(())
    }
}

/// The multi-call executable that cargo has built beside this one.
fn built() -> Result<PathBuf> {
    let own = std::env::current_exe().context("could not tell which executable this is")?;
    // target/debug/deps/it-... is this one.
    let folder = own.ancestors().nth(2).context("a test lies in target/debug/deps")?;
    let found = folder.join(bundle::NAME);
    anyhow::ensure!(found.exists(), "{} is not there; cargo build --workspace makes it", found.display());
    Ok(found)
}
