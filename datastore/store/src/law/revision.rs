//! Laws of single keys: revisions, comparison, sizes.

use bytes::Bytes;

use super::{Subject, Verdict, ensure, failed, made, refused, same, text};
use crate::Error;

pub(super) async fn grow(subject: Subject) -> Verdict {
    let mut last = 0;
    for round in 0..5 {
        for name in ["a", "b"] {
            let revision = subject.put(name, &round.to_string()).await?;
            ensure(revision > last, || format!("revision {revision} came after {last}"))?;
            let (found, now) = subject.store.get(&subject.key(name)).await?;
            same(found.map(|found| found.mod_revision), Some(revision))?;
            ensure(now >= revision, || format!("the store is at {now} after a commit at {revision}"))?;
            last = revision;
        }
        let revision = subject.delete("b").await?;
        ensure(revision > last, || format!("revision {revision} came after {last}"))?;
        last = revision;
    }
    Ok(())
}

pub(super) async fn lineage(subject: Subject) -> Verdict {
    let created = subject.put("a", "1").await?;
    subject.put("a", "2").await?;
    let changed = subject.put("a", "3").await?;
    let found = subject.get("a").await?;
    let lineage = found.map(|found| (found.create_revision, found.mod_revision, found.version, found.lease));
    same(lineage, Some((created, changed, 3, 0)))?;
    subject.delete("a").await?;
    same(subject.get("a").await?, None)?;
    let again = subject.put("a", "4").await?;
    let found = subject.get("a").await?;
    same(
        found.map(|found| (found.create_revision, found.mod_revision, found.version)),
        Some((again, again, 1)),
    )
}

pub(super) async fn creates_once(subject: Subject) -> Verdict {
    let created = subject.put("a", "first").await?;
    let current = refused(subject.store.put(&subject.key("a"), "second".into(), 0, 0).await?)?;
    same(current.map(|current| (current.mod_revision, text(&current.value))), Some((created, "first".into())))
}

pub(super) async fn put_compares(subject: Subject) -> Verdict {
    let key = subject.key("a");
    same(refused(subject.store.put(&key, "v".into(), 7, 0).await?)?, None)?;
    let stale = subject.put("a", "1").await?;
    let fresh = made(subject.store.put(&key, "2".into(), stale, 0).await?)?;
    let current = refused(subject.store.put(&key, "3".into(), stale, 0).await?)?;
    same(current.map(|current| (current.mod_revision, text(&current.value))), Some((fresh, "2".into())))?;
    same(subject.list(0).await?, vec![("a".into(), "2".into())])
}

pub(super) async fn delete_compares(subject: Subject) -> Verdict {
    let key = subject.key("a");
    same(refused(subject.store.delete(&key, 7).await?)?, None)?;
    same(refused(subject.store.delete(&key, 0).await?)?, None)?;
    let stale = subject.put("a", "1").await?;
    let fresh = subject.put("a", "2").await?;
    let current = refused(subject.store.delete(&key, stale).await?)?;
    same(current.map(|current| current.mod_revision), Some(fresh))?;
    made(subject.store.delete(&key, fresh).await?)?;
    same(subject.list(0).await?, vec![])
}

pub(super) async fn refusals_are_free(subject: Subject) -> Verdict {
    let before = subject.put("a", "1").await?;
    let key = subject.key("a");
    refused(subject.store.put(&key, "2".into(), 0, 0).await?)?;
    refused(subject.store.delete(&key, before - 1).await?)?;
    refused(subject.store.delete(&subject.key("absent"), 0).await?)?;
    same(subject.store.get(&key).await?.1, before)
}

pub(super) async fn bytes_are_bytes(subject: Subject) -> Verdict {
    let every: Vec<u8> = (0..=u8::MAX).collect();
    for (name, value) in [(&every[..], &every[..]), (b"empty", b""), (b"nul\0", b"\0"), (b"nul\0\0", b"\xff")]
    {
        let key = [subject.prefix.as_bytes(), name].concat();
        made(subject.store.put(&key, Bytes::copy_from_slice(value), 0, 0).await?)?;
        let found = subject.store.get(&key).await?.0;
        same(found.map(|found| (found.key.to_vec(), found.value.to_vec())), Some((key, value.to_vec())))?;
    }
    same(subject.store.range(subject.all(), 0, 0).await?.count, 4)
}

pub(super) async fn big_values(subject: Subject) -> Verdict {
    const MEBIBYTE: usize = 1024 * 1024;
    let value = Bytes::from((0..MEBIBYTE).map(|place| place as u8).collect::<Vec<_>>());
    let created = made(subject.store.put(&subject.key("a"), value.clone(), 0, 0).await?)?;
    ensure(subject.get("a").await?.is_some_and(|found| found.value == value), || {
        "it changed on its way".into()
    })?;
    let replayed = subject.watch(created).await?.events(1).await?;
    ensure(replayed[0].now.value == value, || "it changed on its way through a watch".into())?;
    for name in ["b", "c", "d", "e", "f"] {
        made(subject.store.put(&subject.key(name), value.clone(), 0, 0).await?)?;
    }
    same(subject.store.range(subject.all(), 0, 0).await?.items.len(), 6)?;
    let huge = Bytes::from(vec![0; 4 * MEBIBYTE]);
    let error = failed(subject.store.put(&subject.key("huge"), huge, 0, 0).await)?;
    ensure(matches!(error, Error::TooLarge), || format!("the refusal is {error:?}"))?;
    same(subject.store.range(subject.all(), 0, 0).await?.count, 6)
}
