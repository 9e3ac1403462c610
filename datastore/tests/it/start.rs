//! What is wrong at the start is named, with its mend, and changes nothing.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use daemon::Context;
use datastore::config::Settings;
use futures::StreamExt;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use store::{Commit, Error, Interval, Update};

use crate::ours::{self, Ours};

/// Starts a datastore that is to fail, and returns what it says.
async fn failure(flags: &[&str]) -> String {
    let line: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let settings = match daemon::flag::parse::<Settings>(&line) {
        Ok((settings, _, _)) => settings,
        Err(mistakes) => return mistakes.join("; "),
    };
    let (context, _trigger) = Context::new(datastore::NAME);
    format!("{:#}", datastore::run(settings, context).await.unwrap_err())
}

pub(crate) async fn execute(file: &Path, sql: &str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn mistakes_are_named() {
    let scratch = tempfile::tempdir().unwrap();
    let place = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    std::fs::write(place("file"), "").unwrap();
    std::fs::create_dir(place("foreign")).unwrap();
    execute(
        &ours::file(Path::new(&place("foreign"))),
        "CREATE TABLE kine (id INTEGER); PRAGMA user_version = 7",
    )
    .await;
    std::fs::create_dir(place("garbage")).unwrap();
    std::fs::write(ours::file(Path::new(&place("garbage"))), [7; 8192]).unwrap();
    let data = |name: &str| format!("--data-dir={}", place(name));
    let (listen, tls) =
        (format!("--listen-client-urls=http://{address}"), "--listen-client-urls=https://127.0.0.1:0");
    let cases: &[(&[&str], &[&str])] = &[
        (&[&data("a"), &listen], &["could not listen on", "is the port in use?"]),
        (&[&data("b"), &format!("--listen-metrics-urls=http://{address}")], &["is the port in use?"]),
        (&[&data("file/below")], &["could not use the data directory", "choose another --data-dir"]),
        (&[&data("foreign")], &["it is not a file of isopod-datastore"]),
        (&[&data("garbage")], &["state.db", "file is not a database"]),
        (&[&data("c"), tls], &["--cert-file and --key-file"]),
        (&[&data("d"), tls, "--cert-file=/nowhere", "--key-file=/nowhere"], &["/nowhere", "No such file"]),
        (&[&data("e"), "--client-cert-auth"], &["--client-cert-auth needs --trusted-ca-file"]),
        (&[&data("f"), "--auto-compaction-mode=never"], &["use periodic or revision"]),
        (&[&data("g"), "--listen-client-urls=127.0.0.1:1"], &["--listen-client-urls", "write unix:///path"]),
        (&[&data("h"), "--no-such-flag"], &["--no-such-flag is not a known flag"]),
    ];
    for (flags, parts) in cases {
        let said = failure(flags).await;
        for part in *parts {
            assert!(said.contains(part), "{flags:?}: {said}");
        }
    }
    // The foreign file is as it was.
    execute(&ours::file(Path::new(&place("foreign"))), "INSERT INTO kine VALUES (1)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_refused_and_kept() {
    let data = tempfile::tempdir().unwrap();
    let flag = format!("--data-dir={}", data.path().display());
    Ours::start(data.path(), &[]).await.stop().await;
    execute(&ours::file(data.path()), "PRAGMA user_version = 2").await;
    let said = failure(&[&flag]).await;
    assert!(said.contains("written by a newer isopod-datastore (schema 2, this one knows 1)"), "{said}");
    execute(&ours::file(data.path()), "PRAGMA user_version = 1").await;
    Ours::start(data.path(), &[]).await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_has_one_owner() {
    let data = tempfile::tempdir().unwrap();
    let first = Ours::start(data.path(), &[]).await;
    let said = failure(&[&format!("--data-dir={}", data.path().display())]).await;
    assert!(said.contains("is in use by another process"), "{said}");
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_everything() {
    let data = tempfile::tempdir().unwrap();
    let first = Ours::start(data.path(), &[]).await;
    let store = first.store().await;
    let lease = store.grant(Duration::from_secs(600)).await.unwrap();
    store.put(b"/a", "1".into(), 0, 0).await.unwrap();
    let put = store.put(b"/leased", "2".into(), 0, lease).await.unwrap();
    let Commit::Made(revision) = put else { panic!("{put:?}") };
    store.compact(revision).await.unwrap();
    drop(store);
    first.stop().await;
    let second = Ours::start(data.path(), &[]).await;
    let store = second.store().await;
    let all = Interval::prefix("/");
    let page = store.range(all.clone(), 0, 0).await.unwrap();
    assert_eq!((page.count, page.revision), (2, revision));
    let past = store.range(all.clone(), 0, revision - 1).await;
    assert!(matches!(past, Err(Error::Compacted { .. })), "{past:?}");
    let mut late = store.watch(all.clone(), revision - 1).await.unwrap();
    let told = late.next().await;
    assert!(matches!(told, Some(Err(Error::Compacted { .. }))), "{told:?}");
    let mut watch = store.watch(all, revision + 1).await.unwrap();
    store.revoke(lease).await.unwrap();
    let Some(Ok(Update::Events(events))) = watch.next().await else { panic!("no events") };
    assert_eq!((&events[0].now.key[..], events[0].now.mod_revision), (&b"/leased"[..], revision + 1));
    drop((store, watch, late));
    second.stop().await;
}
