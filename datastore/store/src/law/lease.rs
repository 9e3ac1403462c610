//! Laws of leases.

use std::time::Duration;

use super::{Subject, Verdict, ensure, failed, made, same};
use crate::Error;

/// Long enough that no lease ends by itself while a law looks at it.
const LONG: Duration = Duration::from_secs(600);

pub(super) async fn must_exist(subject: Subject) -> Verdict {
    let unknown = 0x0123_4567;
    let error = failed(subject.store.put(&subject.key("a"), "v".into(), 0, unknown).await)?;
    ensure(matches!(error, Error::NoLease(_)), || format!("the refusal is {error:?}"))?;
    let error = failed(subject.store.revoke(unknown).await)?;
    ensure(matches!(error, Error::NoLease(_)), || format!("the refusal is {error:?}"))?;
    same(subject.list(0).await?, vec![])
}

pub(super) async fn revoke(subject: Subject) -> Verdict {
    let lease = subject.store.grant(LONG).await?;
    let other = subject.store.grant(LONG).await?;
    ensure(lease != other && lease != 0, || format!("leases {lease} and {other} were granted"))?;
    for (name, lease) in [("a", lease), ("b", lease), ("moved", lease), ("other", other), ("free", 0)] {
        made(subject.store.put(&subject.key(name), "v".into(), 0, lease).await?)?;
    }
    same(subject.get("a").await?.map(|found| found.lease), Some(lease))?;
    subject.put("moved", "off the lease").await?;
    let mut tail = subject.watch(0).await?;
    subject.store.revoke(lease).await?;
    let events = tail.events(2).await?;
    let mut gone: Vec<_> = events.iter().map(|event| subject.name(&event.now.key)).collect();
    gone.sort();
    same(gone, vec!["a".to_owned(), "b".to_owned()])?;
    same(events.iter().all(|event| event.deleted), true)?;
    same(events[0].now.mod_revision, events[1].now.mod_revision)?;
    let names: Vec<String> = subject.list(0).await?.into_iter().map(|(name, _)| name).collect();
    same(names, vec!["free".to_owned(), "moved".to_owned(), "other".to_owned()])?;
    let error = failed(subject.store.revoke(lease).await)?;
    ensure(matches!(error, Error::NoLease(_)), || format!("the refusal is {error:?}"))
}

pub(super) async fn expire(subject: Subject) -> Verdict {
    let lease = subject.store.grant(Duration::from_secs(1)).await?;
    made(subject.store.put(&subject.key("a"), "v".into(), 0, lease).await?)?;
    let mut tail = subject.watch(0).await?;
    let events = tail.events(1).await?;
    same(events.iter().map(|event| event.deleted).collect::<Vec<_>>(), vec![true])?;
    same(subject.list(0).await?, vec![])
}
