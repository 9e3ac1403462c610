//! A power cut: what waited for the disk is there, the end of what did not may be gone, and no revision comes again.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use bytes::Bytes;
use futures::StreamExt;
use store::{Commit, Error, Interval, Revision, Store, Update};

use crate::ours::{self, Ours};
use crate::start::execute;

/// Renewals after the last write that waited for the disk.
const RENEWALS: usize = 40;

/// Where the log is cut off: parts of what came after the last durable write, in sixteenths.
const PARTS: u64 = 16;

async fn put(store: &dyn Store, key: &str, expected: Revision) -> Revision {
    match store.put(key.as_bytes(), Bytes::from(vec![7; 300]), expected, 0).await.unwrap() {
        Commit::Made(revision) => revision,
        Commit::Refused(current) => panic!("{key}: {current:?}"),
    }
}

fn log(data: &Path) -> std::path::PathBuf {
    data.join("state.db-wal")
}

/// The counters of commits: those that waited for the disk and those that did not.
fn commits(port: u16) -> (u64, u64) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let value = |disk: &str| {
        let name = format!("isopod_datastore_commits_total{{disk=\"{disk}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().trim().parse().unwrap()
    };
    (value("waited"), value("later"))
}

/// Everything up to `keep` bytes of the log reached the disk; of the rest, nothing readable.
fn cut(from: &Path, to: &Path, keep: u64) {
    std::fs::copy(ours::file(from), ours::file(to)).unwrap();
    let mut bytes = std::fs::read(log(from)).unwrap();
    bytes[usize::try_from(keep).unwrap()..].fill(0x5a);
    std::fs::write(log(to), bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_takes_no_revision_back() {
    let data = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ours = Ours::start(data.path(), &[&format!("--listen-metrics-urls=http://127.0.0.1:{port}")]).await;
    let store = ours.store().await;
    let durable = put(&*store, "/registry/pods/a", 0).await;
    let settled = std::fs::metadata(log(data.path())).unwrap().len();
    let before = asked(port).await;
    let mut seen = vec![durable];
    for renewal in 0..RENEWALS {
        seen.push(put(&*store, &format!("/registry/leases/kube-node-lease/{renewal:03}"), 0).await);
    }
    let after = asked(port).await;
    assert_eq!(
        (after.0, after.1),
        (before.0, before.1 + RENEWALS as u64),
        "renewals do not wait for the disk"
    );
    let copy = tempfile::tempdir().unwrap();
    for file in [ours::file(data.path()), log(data.path())] {
        std::fs::copy(&file, copy.path().join(file.file_name().unwrap())).unwrap();
    }
    drop(store);
    ours.stop().await;
    let end = std::fs::metadata(log(copy.path())).unwrap().len();
    assert!(settled < end);
    for part in 0..=PARTS {
        let scratch = tempfile::tempdir().unwrap();
        cut(copy.path(), scratch.path(), settled + (end - settled) * part / PARTS);
        // Another run of the machine.
        execute(&ours::file(scratch.path()), "UPDATE meta SET value = 1 WHERE name = 'boot'").await;
        after_the_cut(scratch.path(), &seen, true).await;
    }
    // The process alone was killed: everything is there, and who watches goes on.
    let scratch = tempfile::tempdir().unwrap();
    cut(copy.path(), scratch.path(), end);
    after_the_cut(scratch.path(), &seen, false).await;
}

async fn asked(port: u16) -> (u64, u64) {
    tokio::task::spawn_blocking(move || commits(port)).await.unwrap()
}

/// Starts on what is left, and looks whether it can be lived with.
async fn after_the_cut(data: &Path, seen: &[Revision], rebooted: bool) {
    let last = seen[seen.len() - 1];
    let ours = Ours::start(data, &[]).await;
    let store = ours.store().await;
    let page = store.range(Interval::prefix("/registry/"), 0, 0).await.unwrap();
    assert!(page.revision > last, "the revision went back from {last} to {}", page.revision);
    let mut left: Vec<Revision> = page.items.iter().map(|item| item.mod_revision).collect();
    left.sort_unstable();
    assert_eq!(left, seen[..left.len()], "what is left is not the beginning of what was");
    assert!(!left.is_empty(), "what waited for the disk is gone");
    // Who watches from what it has seen last must list anew: part of that may not have happened.
    assert!(rebooted || left.len() == seen.len());
    for from in [seen[0] + 1, last + 1].into_iter().filter(|_| rebooted) {
        let told = store.watch(Interval::prefix("/registry/"), from).await.unwrap().next().await;
        assert!(matches!(told, Some(Err(Error::Compacted { .. }))), "{from}: {told:?}");
    }
    let from = if rebooted { page.revision } else { last } + 1;
    let mut watch = store.watch(Interval::prefix("/registry/"), from).await.unwrap();
    let next = put(&*store, "/registry/pods/b", 0).await;
    assert_eq!(next, page.revision + 1);
    let Some(Ok(Update::Events(events))) = watch.next().await else { panic!("no events") };
    assert_eq!(events.iter().map(|event| event.now.mod_revision).collect::<Vec<_>>(), [next]);
    drop((watch, store));
    ours.stop().await;
}
