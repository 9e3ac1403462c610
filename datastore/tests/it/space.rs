//! A full disk: writes fail and say why, reads go on, and writes go on as soon as there is space.

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use store::{Commit, Error};

use crate::ours::Ours;

/// A file system in memory of a few mebibytes, unmounted when dropped.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    fn mount(place: &'a Path) -> Self {
        let small = Self(place);
        small.run("mount", &["-t", "tmpfs", "-o", "size=4m", "tmpfs"]);
        small
    }

    fn grow(&self) {
        self.run("mount", &["-o", "remount,size=64m"]);
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let status = Command::new(program).args(arguments).arg(self.0).status().unwrap();
        assert!(status.success(), "{program} {arguments:?}: {status}; the test needs root");
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        self.run("umount", &["--lazy"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_writes_alone() {
    let place = tempfile::tempdir().unwrap();
    let small = Small::mount(place.path());
    let ours = Ours::start(&place.path().join("data"), &[]).await;
    let store = ours.store().await;
    let value = Bytes::from(vec![7; 100_000]);
    let mut written = 0;
    let refusal = loop {
        match store.put(format!("/{written:03}").as_bytes(), value.clone(), 0, 0).await {
            Ok(Commit::Made(_)) => written += 1,
            Ok(Commit::Refused(current)) => panic!("{current:?}"),
            Err(error) => break error,
        }
        assert!(written < 100, "four mebibytes took {written} values");
    };
    let Error::Unavailable(said) = &refusal else { panic!("{refusal}") };
    assert!(said.contains("database space exceeded"), "{said}");
    let all = store::Interval { start: "/".into(), end: "0".into() };
    assert_eq!(store.range(all.clone(), 0, 0).await.unwrap().count, written);
    small.grow();
    let commit = store.put(format!("/{written:03}").as_bytes(), value, 0, 0).await.unwrap();
    assert!(matches!(commit, Commit::Made(_)), "{commit:?}");
    assert_eq!(store.range(all, 0, 0).await.unwrap().count, written + 1);
    ours.stop().await;
}
