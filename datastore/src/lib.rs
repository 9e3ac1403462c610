//! The datastore daemon: etcd v3 over SQLite.
//!
//! One writer commits all that waits in one transaction (`commit`), giving revisions there and nowhere else; watchers
//! are told straight from that path (`watch`); readers take one SQLite snapshot for one list (`sqlite`). What can be
//! decided without the file is decided in `revision`, `txn`, `compact` and `lease`.

use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, bail};
use daemon::{Context, Threads};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use attempt::Identity;
use commit::{Committer, Counts, Shared};
use compact::Marks;
use lease::Leases;
use serve::Service;
use sqlite::Database;
use watch::Hub;

mod attempt;
mod checksum;
mod commit;
mod compact;
pub mod config;
mod durability;
mod fault;
mod lease;
mod revision;
mod serve;
mod snapshot;
mod sqlite;
mod txn;
mod watch;

/// The daemon's name.
pub const NAME: &str = "datastore";

/// The largest request taken, in bytes: etcd's limit, which clients know.
pub(crate) const MOST_BYTES: usize = 3 * 512 * 1024;

/// How long the last commits may take at the end: less than what a draining process has.
const CLOSING: Duration = Duration::from_secs(15);

/// The file within the data directory.
const FILE: &str = "state.db";

/// Runs the daemon from its command line.
pub fn main(args: Vec<String>) -> ExitCode {
    daemon::main(NAME, Threads::One, args, run)
}

/// Runs until drained.
pub async fn run(settings: config::Settings, context: Context) -> anyhow::Result<()> {
    let config::Settings { data, listen, metrics, tls, policy, lazy } = settings;
    let gate = context.gate("the database");
    let _claim = claim(&data)?;
    let path = data.join(FILE);
    let (Database { mut writer, readers }, meta) = Database::open(&path).await?;
    let mut leases = Leases::default();
    for (id, ttl) in sqlite::leases(&mut writer).await.context("could not read the leases")? {
        leases.insert(id, ttl, Instant::now());
    }
    let shared = Shared {
        hub: Arc::new(Hub::new(meta.revision, meta.compacted)),
        leases: Arc::new(Mutex::new(leases)),
        full: Arc::default(),
        counts: Arc::default(),
        identity: Identity { cluster: meta.cluster, member: meta.member },
    };
    let (committer, commits) = Committer::new(writer, path, meta, shared.clone(), Marks::new(policy), lazy);
    let (open, closed) = oneshot::channel::<()>();
    let committing = committer.run(context.drain());
    context.spawn_draining("commit", async move {
        let outcome = committing.await;
        drop(open);
        outcome
    });
    let (hub, counts) = (Arc::clone(&shared.hub), Arc::clone(&shared.counts));
    context.metrics(move |out| metric(out, &hub, &counts));
    let service = Service {
        context: context.clone(),
        commits,
        readers,
        shared,
        data,
        urls: listen.iter().map(ToString::to_string).collect(),
    };
    for url in &listen {
        service.listen(url, tls.as_ref()).await?;
    }
    for address in metrics {
        context.serve_admin(address).await?;
    }
    drop(gate);
    context.finished().await?;
    // The directory is this process's own until the file is closed; an error means just that it is.
    drop(tokio::time::timeout(CLOSING, closed).await);
    Ok(())
}

/// Makes the data directory this process's own, and clears away what a crash left in it.
fn claim(data: &Path) -> anyhow::Result<File> {
    let named = || format!("could not use the data directory {}; choose another --data-dir", data.display());
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data).with_context(named)?;
    let lock = File::create(data.join("lock")).with_context(named)?;
    if lock.try_lock().is_err() {
        bail!(
            "the data directory {} is in use by another process; choose another --data-dir",
            data.display()
        );
    }
    for entry in std::fs::read_dir(data).with_context(named)? {
        let entry = entry.with_context(named)?;
        if entry.file_name().to_string_lossy().starts_with(snapshot::PREFIX) {
            std::fs::remove_file(entry.path()).with_context(named)?;
        }
    }
    Ok(lock)
}

fn metric(out: &mut String, hub: &Hub, counts: &Counts) {
    out.push_str("# TYPE etcd_debugging_mvcc_current_revision gauge\n");
    out.push_str(&format!("etcd_debugging_mvcc_current_revision {}\n", hub.revision()));
    out.push_str("# TYPE etcd_debugging_mvcc_watcher_total gauge\n");
    out.push_str(&format!("etcd_debugging_mvcc_watcher_total {}\n", hub.watchers()));
    out.push_str("# TYPE isopod_datastore_commits_total counter\n");
    for (disk, count) in [("waited", &counts.durable), ("later", &counts.lazy)] {
        let count = count.load(Ordering::Relaxed);
        out.push_str(&format!("isopod_datastore_commits_total{{disk=\"{disk}\"}} {count}\n"));
    }
}
