//! Laws of ranges: order, limits, the past, compaction.

use super::{Subject, Verdict, ensure, failed, same, text};
use crate::{Error, Interval};

pub(super) async fn order(subject: Subject) -> Verdict {
    for name in ["b", "a/2", "c", "a", "a/1", "a0", "b\0"] {
        subject.put(name, name).await?;
    }
    let cases: &[(&str, &str, &[&str])] = &[
        ("", "~", &["a", "a/1", "a/2", "a0", "b", "b\0", "c"]),
        ("a/", "a0", &["a/1", "a/2"]),
        ("a", "b", &["a", "a/1", "a/2", "a0"]),
        ("b", "b\0", &["b"]),
        ("aa", "ab", &[]),
        ("c", "a", &[]),
        ("b", "b", &[]),
    ];
    for (start, end, expected) in cases {
        let keys = Interval { start: subject.key(start).into(), end: subject.key(end).into() };
        let page = subject.store.range(keys, 0, 0).await?;
        let names: Vec<String> = page.items.iter().map(|item| subject.name(&item.key)).collect();
        same(names.iter().map(String::as_str).collect::<Vec<_>>(), expected.to_vec())?;
        same(page.count, expected.len() as i64)?;
    }
    let open = Interval { start: subject.key("b").into(), end: "".into() };
    let page = subject.store.range(open, 3, 0).await?;
    let names: Vec<String> = page.items.iter().map(|item| subject.name(&item.key)).collect();
    same(names, vec!["b".into(), "b\0".into(), "c".into()])
}

pub(super) async fn limit(subject: Subject) -> Verdict {
    for name in ["a", "b", "c"] {
        subject.put(name, "v").await?;
    }
    for (limit, expected) in [(0, 3), (1, 1), (2, 2), (3, 3), (9, 3)] {
        let page = subject.store.range(subject.all(), limit, 0).await?;
        same((page.items.len(), page.count), (expected, 3))?;
    }
    Ok(())
}

pub(super) async fn past(subject: Subject) -> Verdict {
    let entry = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut states = vec![
        (subject.put("a", "1").await?, vec![entry("a", "1")]),
        (subject.put("b", "1").await?, vec![entry("a", "1"), entry("b", "1")]),
        (subject.put("a", "2").await?, vec![entry("a", "2"), entry("b", "1")]),
        (subject.delete("a").await?, vec![entry("b", "1")]),
        (subject.put("a", "3").await?, vec![entry("a", "3"), entry("b", "1")]),
        (subject.delete("b").await?, vec![entry("a", "3")]),
    ];
    states.reverse();
    for (revision, expected) in states {
        same(subject.list(revision).await?, expected)?;
        let page = subject.store.range(subject.all(), 1, revision).await?;
        ensure(page.revision >= revision, || "the answer's revision is not the store's".into())?;
    }
    Ok(())
}

pub(super) async fn pages(subject: Subject) -> Verdict {
    for number in 0..10 {
        subject.put(&format!("{number}"), "old").await?;
    }
    let mut names = Vec::new();
    let mut keys = subject.all();
    let mut at = 0;
    loop {
        let page = subject.store.range(keys.clone(), 3, at).await?;
        at = if at == 0 { page.revision } else { at };
        let Some(last) = page.items.last() else { break };
        keys.start = [&last.key[..], b"\0"].concat().into();
        names.extend(page.items.iter().map(|item| (subject.name(&item.key), text(&item.value))));
        subject.delete(&format!("{}", names.len() % 10)).await?;
        subject.put(&format!("{}x", names.len()), "new").await?;
        subject.put("9", "new").await?;
    }
    same(names, (0..10).map(|number| (number.to_string(), "old".to_owned())).collect())
}

pub(super) async fn future(subject: Subject) -> Verdict {
    let now = subject.put("a", "1").await?;
    let asked = now + 1_000;
    let error = failed(subject.store.range(subject.all(), 0, asked).await)?;
    ensure(matches!(error, Error::Future { .. }), || format!("the refusal is {error:?}"))
}

pub(super) async fn compacted(subject: Subject) -> Verdict {
    let first = subject.put("a", "1").await?;
    subject.put("kept", "from before").await?;
    subject.put("gone", "from before").await?;
    subject.delete("gone").await?;
    let second = subject.put("a", "2").await?;
    let third = subject.put("a", "3").await?;
    subject.store.compact(second).await?;
    let error = failed(subject.store.range(subject.all(), 0, first).await)?;
    ensure(matches!(error, Error::Compacted { .. }), || format!("the refusal is {error:?}"))?;
    let kept =
        |value: &str| vec![("a".to_owned(), value.to_owned()), ("kept".to_owned(), "from before".to_owned())];
    same(subject.list(second).await?, kept("2"))?;
    same(subject.list(third).await?, kept("3"))?;
    same(subject.list(0).await?, kept("3"))
}

pub(super) async fn compacts_forward(subject: Subject) -> Verdict {
    let first = subject.put("a", "1").await?;
    let second = subject.put("a", "2").await?;
    subject.store.compact(second).await?;
    for revision in [first, second] {
        let error = failed(subject.store.compact(revision).await)?;
        ensure(matches!(error, Error::Compacted { .. }), || format!("the refusal is {error:?}"))?;
    }
    let error = failed(subject.store.compact(second + 1_000).await)?;
    ensure(matches!(error, Error::Future { .. }), || format!("the refusal is {error:?}"))?;
    subject.put("a", "3").await?;
    same(subject.list(second).await?, vec![("a".into(), "2".into())])
}
