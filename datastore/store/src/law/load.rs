//! Laws that only concurrency can break.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::future::{join_all, try_join, try_join_all};

use super::{Broken, Subject, Verdict, ensure, same, text};
use crate::Commit;

/// Writers at once: more than a group commit needs to form groups.
const WRITERS: usize = 8;

/// What each writer does.
const ROUNDS: usize = 10;

impl Subject {
    /// Adds one to the number in a key, trying again as long as others are faster.
    async fn increment(&self, name: &str) -> Verdict {
        let key = self.key(name);
        let mut current = self.get(name).await?;
        loop {
            let number: u64 =
                current.as_ref().map_or(Ok(0), |c| text(&c.value).parse()).map_err(|error| {
                    Broken(format!("the value of {name} is not the number that was written: {error}"))
                })?;
            let expected = current.as_ref().map_or(0, |current| current.mod_revision);
            let value = Bytes::from((number + 1).to_string());
            match self.store.put(&key, value, expected, 0).await? {
                Commit::Made(_) => return Ok(()),
                Commit::Refused(other) => current = other,
            }
        }
    }
}

pub(super) async fn no_lost_update(subject: Subject) -> Verdict {
    try_join_all((0..WRITERS).map(|_| async {
        for _ in 0..ROUNDS {
            subject.increment("sum").await?;
        }
        Ok::<_, Broken>(())
    }))
    .await?;
    let found = subject.get("sum").await?;
    let expected = (WRITERS * ROUNDS) as i64;
    same(found.map(|f| (text(&f.value), f.version)), Some((expected.to_string(), expected)))
}

pub(super) async fn one_creator(subject: Subject) -> Verdict {
    for round in 0..ROUNDS {
        let key = subject.key(&round.to_string());
        let tries = (0..WRITERS).map(|writer| subject.store.put(&key, writer.to_string().into(), 0, 0));
        let mut winners = Vec::new();
        for (writer, commit) in join_all(tries).await.into_iter().enumerate() {
            if let Commit::Made(revision) = commit? {
                winners.push((writer.to_string(), revision));
            }
        }
        let found = subject.get(&round.to_string()).await?;
        same(winners, found.map(|f| (text(&f.value), f.mod_revision)).into_iter().collect())?;
    }
    Ok(())
}

pub(super) async fn watch_is_the_history(subject: Subject) -> Verdict {
    let mut tails = Vec::new();
    for _ in 0..3 {
        tails.push(subject.watch(0).await?);
    }
    let writing = try_join_all((0..WRITERS).map(|writer| {
        let subject = &subject;
        async move {
            let mut made = Vec::new();
            for round in 0..ROUNDS {
                let (name, value) = (format!("{writer}"), format!("{round}"));
                made.push((subject.put(&name, &value).await?, format!("{name}={value}")));
            }
            Ok::<_, Broken>(made)
        }
    }));
    let reading = try_join_all(tails.iter_mut().map(|tail| tail.events(WRITERS * ROUNDS)));
    let (made, told) = try_join(writing, reading).await?;
    let made: BTreeMap<_, _> = made.into_iter().flatten().collect();
    same(made.len(), WRITERS * ROUNDS)?;
    let expected: Vec<String> =
        made.iter().map(|(revision, change)| format!("{revision} {change}")).collect();
    for events in told {
        same(subject.tell(&events), expected.clone())?;
    }
    Ok(())
}

pub(super) async fn list_then_watch(subject: Subject) -> Verdict {
    let writing = async {
        for round in 0..ROUNDS * WRITERS {
            subject.put(&format!("{}", round % 7), &round.to_string()).await?;
            if round % 5 == 0 {
                subject.delete(&format!("{}", round % 7)).await?;
            }
        }
        subject.put("end", "").await?;
        Ok::<_, Broken>(())
    };
    let readers = (0..WRITERS).map(|skip| {
        let subject = &subject;
        async move {
            // Each reader begins at another moment.
            for _ in 0..skip * 3 {
                subject.get("end").await?;
            }
            let page = subject.store.range(subject.all(), 0, 0).await?;
            let mut state: BTreeMap<String, String> =
                page.items.iter().map(|item| (subject.name(&item.key), text(&item.value))).collect();
            let mut tail = subject.watch(page.revision + 1).await?;
            while !state.contains_key("end") {
                for event in tail.events(1).await? {
                    let name = subject.name(&event.now.key);
                    let held = state.contains_key(&name);
                    ensure(event.before.is_some() == held, || format!("{name} was held: {held}; {event:?}"))?;
                    match event.deleted {
                        true => state.remove(&name),
                        false => state.insert(name, text(&event.now.value)),
                    };
                }
            }
            Ok::<_, Broken>(state)
        }
    });
    let ((), states) = try_join(writing, try_join_all(readers)).await?;
    let expected: BTreeMap<String, String> = subject.list(0).await?.into_iter().collect();
    for state in states {
        same(state, expected.clone())?;
    }
    Ok(())
}
