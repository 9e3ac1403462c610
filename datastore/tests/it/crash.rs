//! SIGKILL of the real process in the middle of concurrent writes: nothing acknowledged is lost.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use store::{Commit, Interval, Store};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::ours;

/// Writers at once, so that a kill meets group commits of many.
const WRITERS: usize = 16;

/// How often the process is killed.
const KILLS: usize = 5;

/// Acknowledged writes before each kill.
const WRITES: usize = 60;

async fn start(data: &Path) -> (Child, Arc<dyn Store>) {
    let mut process = Command::new(env!("CARGO_BIN_EXE_isopod-datastore"))
        .arg("--data-dir")
        .arg(data)
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (out, err) = (process.stdout.take().unwrap(), process.stderr.take().unwrap());
    let mut lines = BufReader::new(tokio::io::AsyncReadExt::chain(err, out)).lines();
    let mut log = String::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.contains("is ready") {
            // The log is read to its end, so that the process never waits for a full pipe.
            #[expect(clippy::disallowed_methods, reason = "ends with the process it reads from")]
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            let endpoint = format!("unix://{}", data.join("datastore.sock").display());
            return (process, ours::connect(&endpoint).await);
        }
        log = log + &line + "\n";
    }
    panic!("the datastore did not start:\n{log}");
}

/// Creates keys until the store fails; notes each that was acknowledged, with its revision.
async fn write(
    store: Arc<dyn Store>,
    round: usize,
    writer: usize,
    acknowledged: &parking_lot::Mutex<Vec<(String, i64)>>,
) {
    for number in 0.. {
        // Every other one writes what does not wait for the disk; a killed process takes nothing of that with it.
        let place = if writer.is_multiple_of(2) { "/crash" } else { "/registry/events" };
        let key = format!("{place}/{round}/{writer}/{number}");
        match store.put(key.as_bytes(), Bytes::from(vec![7; 500]), 0, 0).await {
            Ok(Commit::Made(revision)) => acknowledged.lock().push((key, revision)),
            Ok(Commit::Refused(_)) => panic!("{key} exists already"),
            Err(_) => return,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost() {
    let data = tempfile::tempdir().unwrap();
    let acknowledged = parking_lot::Mutex::new(Vec::<(String, i64)>::new());
    let mut seen = 0;
    for round in 0..KILLS {
        let (mut process, store) = start(data.path()).await;
        let page = store.range(Interval::prefix("/"), 0, 0).await.unwrap();
        assert!(page.revision >= seen, "the revision went back from {seen} to {}", page.revision);
        for (key, revision) in acknowledged.lock().iter() {
            let place = page.items.binary_search_by(|item| item.key[..].cmp(key.as_bytes()));
            let found = place.ok().map(|place| page.items[place].mod_revision);
            assert_eq!(found, Some(*revision), "{key} after {round} kills");
        }
        let before = acknowledged.lock().len();
        let mut writers: FuturesUnordered<_> =
            (0..WRITERS).map(|writer| write(Arc::clone(&store), round, writer, &acknowledged)).collect();
        let mut killed = false;
        let mut watch = store.watch(Interval::prefix("/"), 0).await.unwrap();
        loop {
            tokio::select! {
                update = watch.next(), if !killed => drop(update),
                ended = writers.next() => if ended.is_none() { break },
            }
            if !killed && acknowledged.lock().len() >= before + WRITES {
                process.start_kill().unwrap();
                killed = true;
            }
        }
        process.wait().await.unwrap();
        seen = acknowledged.lock().iter().map(|(_, revision)| *revision).max().unwrap_or(0);
    }
    let revisions: std::collections::BTreeSet<i64> = acknowledged.lock().iter().map(|(_, r)| *r).collect();
    assert_eq!(revisions.len(), acknowledged.lock().len(), "a revision was given twice");
    assert!(revisions.len() >= KILLS * WRITES);
}
