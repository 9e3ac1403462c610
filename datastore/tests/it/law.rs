//! The law suite on etcd, the reference, and on our datastore.

use crate::etcd::Etcd;
use crate::ours::Ours;

/// etcd before 3.4.25 may report progress ahead of events that it has not delivered yet.
const EXCUSED: &[&str] = &["progress is reported on request, once everything before it is delivered"];

#[tokio::test(flavor = "multi_thread")]
async fn etcd_obeys_the_laws() {
    let etcd = Etcd::start().await;
    let broken = store::law::check_all(|| etcd.store(), EXCUSED).await;
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn our_datastore_obeys_the_laws() {
    let data = tempfile::tempdir().unwrap();
    let ours = Ours::start(data.path(), &[]).await;
    let broken = store::law::check_all(|| ours.store(), &[]).await;
    ours.stop().await;
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
