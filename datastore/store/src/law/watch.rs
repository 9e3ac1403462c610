//! Laws of watches: completeness, order, before-values, compaction, progress.

use std::time::Duration;

use futures::StreamExt;

use super::{Broken, SILENCE, Subject, Tail, Verdict, ensure, same, text};
use crate::{Error, Interval, Update};

pub(super) async fn replays(subject: Subject) -> Verdict {
    let first = subject.put("a", "1").await?;
    let second = subject.put("b", "1").await?;
    let third = subject.put("a", "2").await?;
    let fourth = subject.delete("b").await?;
    let all = [
        format!("{first} a=1"),
        format!("{second} b=1"),
        format!("{third} a=2"),
        format!("{fourth} b deleted"),
    ];
    for (skip, from) in [first, second, third, fourth].into_iter().enumerate() {
        let mut tail = subject.watch(from).await?;
        let events = tail.events(all.len() - skip).await?;
        same(subject.tell(&events), all[skip..].to_vec())?;
    }
    // Replay goes over into what comes next without a seam.
    let mut tail = subject.watch(third).await?;
    let fifth = subject.put("c", "1").await?;
    same(subject.tell(&tail.events(3).await?)[2].clone(), format!("{fifth} c=1"))
}

pub(super) async fn misses_nothing(subject: Subject) -> Verdict {
    for round in 0..20 {
        let name = format!("{round}");
        let mut tail = subject.watch(0).await?;
        let revision = subject.put(&name, "v").await?;
        same(subject.tell(&tail.events(1).await?), vec![format!("{revision} {name}=v")])?;
    }
    Ok(())
}

pub(super) async fn shows_before(subject: Subject) -> Verdict {
    let mut tail = subject.watch(0).await?;
    let created = subject.put("a", "1").await?;
    let changed = subject.put("a", "2").await?;
    let deleted = subject.delete("a").await?;
    subject.put("a", "3").await?;
    let mut replay = subject.watch(created).await?;
    for tail in [&mut tail, &mut replay] {
        let events = tail.events(4).await?;
        let before: Vec<_> = events
            .iter()
            .map(|event| event.before.as_ref().map(|before| (before.mod_revision, text(&before.value))))
            .collect();
        same(before, vec![None, Some((created, "1".into())), Some((changed, "2".into())), None])?;
        let deletion = &events[2];
        same((deletion.deleted, deletion.now.mod_revision, deletion.now.value.len()), (true, deleted, 0))?;
        same((events[1].now.create_revision, events[1].now.version), (created, 2))?;
    }
    Ok(())
}

pub(super) async fn keeps_to_its_keys(subject: Subject) -> Verdict {
    let from = subject.put("a/0", "v").await?;
    let keys = Interval::prefix(subject.key("a/"));
    let mut live = Tail { updates: subject.store.watch(keys.clone(), 0).await? };
    for name in ["a", "a0", "a/1", "b", "a/2"] {
        subject.put(name, "v").await?;
    }
    let mut replay = Tail { updates: subject.store.watch(keys, from + 1).await? };
    for tail in [&mut live, &mut replay] {
        let names: Vec<_> = tail.events(2).await?.iter().map(|event| subject.name(&event.now.key)).collect();
        same(names, vec!["a/1".to_owned(), "a/2".to_owned()])?;
    }
    let single = Interval { start: subject.key("a").into(), end: subject.key("a\0").into() };
    let mut tail = Tail { updates: subject.store.watch(single, from).await? };
    same(subject.name(&tail.events(1).await?[0].now.key), "a".to_owned())
}

pub(super) async fn waits_for_the_future(subject: Subject) -> Verdict {
    let now = subject.put("a", "0").await?;
    let mut tail = subject.watch(now + 3).await?;
    for value in ["1", "2", "3"] {
        subject.put("a", value).await?;
    }
    same(subject.tell(&tail.events(1).await?), vec![format!("{} a=3", now + 3)])
}

pub(super) async fn compacted(subject: Subject) -> Verdict {
    let first = subject.put("a", "1").await?;
    subject.put("a", "2").await?;
    let third = subject.put("a", "3").await?;
    subject.store.compact(third).await?;
    let refusal = match subject.store.watch(subject.all(), first).await {
        Err(error) => error,
        Ok(mut updates) => match tokio::time::timeout(SILENCE, updates.next()).await {
            Ok(Some(Err(error))) => {
                ensure(updates.next().await.is_none(), || "the watch went on after its error".into())?;
                error
            }
            other => return Err(Broken(format!("the watch went on with {other:?}"))),
        },
    };
    ensure(matches!(refusal, Error::Compacted { .. }), || format!("the refusal is {refusal:?}"))?;
    same(subject.tell(&subject.watch(third).await?.events(1).await?), vec![format!("{third} a=3")])
}

pub(super) async fn survives_compaction(subject: Subject) -> Verdict {
    let mut tail = subject.watch(0).await?;
    let mut idle = Tail { updates: subject.store.watch(Interval::prefix(subject.key("idle")), 0).await? };
    subject.put("a", "1").await?;
    tail.events(1).await?;
    subject.put("a", "2").await?;
    let third = subject.put("a", "3").await?;
    tail.events(2).await?;
    subject.store.compact(third).await?;
    let fourth = subject.put("a", "4").await?;
    same(subject.tell(&tail.events(1).await?), vec![format!("{fourth} a=4")])?;
    let fifth = subject.put("idle", "1").await?;
    same(subject.tell(&idle.events(1).await?), vec![format!("{fifth} idle=1")])
}

pub(super) async fn progress(subject: Subject) -> Verdict {
    // Beside the watch with events stands one without: it is told of progress all the same.
    let mut busy = subject.watch(0).await?;
    let mut idle = Tail { updates: subject.store.watch(Interval::prefix(subject.key("idle")), 0).await? };
    for round in 0..20 {
        let revision = subject.put("a", &round.to_string()).await?;
        subject.store.request_progress().await?;
        let mut seen = 0;
        loop {
            match busy.next().await? {
                Update::Events(events) => seen = events.last().map_or(seen, |event| event.now.mod_revision),
                Update::Progress(at) if at >= revision => break,
                Update::Progress(_) => {}
            }
        }
        ensure(seen >= revision, || format!("progress past {revision} was told after events up to {seen}"))?;
        loop {
            match idle.next().await? {
                Update::Progress(at) if at >= revision => break,
                Update::Progress(_) => {}
                Update::Events(events) => return Err(Broken(format!("an idle watch told of {events:?}"))),
            }
        }
    }
    Ok(())
}

pub(super) async fn many(subject: Subject) -> Verdict {
    let mut tails = Vec::new();
    for _ in 0..25 {
        tails.push(subject.watch(0).await?);
    }
    let mut expected = Vec::new();
    for round in 0..20 {
        expected.push(format!("{} a={round}", subject.put("a", &round.to_string()).await?));
    }
    // Some watchers go away; the others do not notice.
    tails.truncate(20);
    expected.push(format!("{} a deleted", subject.delete("a").await?));
    for tail in &mut tails {
        same(subject.tell(&tail.events(21).await?), expected.clone())?;
        let quiet = tokio::time::timeout(Duration::from_millis(1), tail.updates.next()).await;
        ensure(quiet.is_err(), || format!("a watch went on with {quiet:?}"))?;
    }
    Ok(())
}
