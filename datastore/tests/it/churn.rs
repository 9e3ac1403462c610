//! As many updates of few keys as five a second make in half an hour: the file stops growing.

use bytes::Bytes;
use futures::future::join_all;
use store::{Commit, Store};

use crate::ours::{self, Ours};

/// Keys that are written over and over, one writer each.
const KEYS: usize = 8;

/// Updates of each key in one round.
const UPDATES: usize = 150;

/// Rounds: the first ones fill the file to its level, the later ones must not raise it.
const ROUNDS: usize = 8;

/// Revisions that stay; a round makes three times as many.
const RETENTION: &str = "--auto-compaction-retention=400";

/// Updates a key `UPDATES` times, beginning with the revision it has.
async fn churn(store: &dyn Store, key: usize) {
    let name = format!("/churn/{key}");
    let mut revision = store.get(name.as_bytes()).await.unwrap().0.map_or(0, |found| found.mod_revision);
    for update in 0..UPDATES {
        let value = Bytes::from(vec![update as u8; 2_000]);
        match store.put(name.as_bytes(), value, revision, 0).await.unwrap() {
            Commit::Made(made) => revision = made,
            Commit::Refused(current) => panic!("somebody else wrote {name}: {current:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_levels_off() {
    let data = tempfile::tempdir().unwrap();
    let ours = Ours::start(data.path(), &["--auto-compaction-mode=revision", RETENTION]).await;
    let store = ours.store().await;
    let mut sizes = Vec::new();
    for _ in 0..ROUNDS {
        join_all((0..KEYS).map(|key| churn(&*store, key))).await;
        sizes.push(std::fs::metadata(ours::file(data.path())).unwrap().len());
    }
    drop(store);
    ours.stop().await;
    // Without compaction every round would add its updates' bytes.
    let round = (KEYS * UPDATES * 2_000) as u64;
    let (level, last) = (sizes[ROUNDS / 2], sizes[ROUNDS - 1]);
    assert!(last < level + round / 2, "the file grew on from {level} to {last} bytes: {sizes:?}");
    assert!(last < 3 * round, "the file has {last} bytes: {sizes:?}");
}
