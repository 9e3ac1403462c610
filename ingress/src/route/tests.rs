//! Hosts, paths and turns as tables.

use super::*;

fn name(text: &str) -> BackendName {
    BackendName { service: Key::new("d", text), port: PortName::Number(80) }
}

/// A table whose backends are told apart by their port; `rules` are `host kind path` and a port.
fn table(rules: &[(&str, Match, &str, u16)], fallback: Option<u16>) -> Table {
    let rules = rules.iter().map(|(host, kind, path, port)| Rule {
        host: (*host).to_owned(),
        kind: *kind,
        path: (*path).to_owned(),
        to: name(&port.to_string()),
    });
    let fallback = fallback.map(|port| name(&port.to_string()));
    let addresses =
        |name: &BackendName| vec![SocketAddr::from(([10, 0, 0, 1], name.service.name.parse().unwrap()))];
    Table::new(rules.collect(), fallback.as_ref(), addresses, &Table::default())
}

fn port(table: &Table, host: &str, path: &str) -> u16 {
    table.find(host, path).map_or(0, |upstream| upstream.addresses()[0].port())
}

#[test]
fn paths_as_the_specification_lists_them() {
    use Match::{Exact, Prefix, Specific};
    // The table of https://kubernetes.io/docs/concepts/services-networking/ingress/#examples, and a little more.
    type Case<'a> = (&'a [(Match, &'a str)], &'a str, usize);
    let cases: &[Case<'_>] = &[
        (&[(Prefix, "/")], "/anything/at/all", 1),
        (&[(Exact, "/foo")], "/foo", 1),
        (&[(Exact, "/foo")], "/bar", 0),
        (&[(Exact, "/foo")], "/foo/", 0),
        (&[(Exact, "/foo/")], "/foo", 0),
        (&[(Prefix, "/foo")], "/foo", 1),
        (&[(Prefix, "/foo")], "/foo/", 1),
        (&[(Prefix, "/foo/")], "/foo", 1),
        (&[(Prefix, "/foo/")], "/foo/", 1),
        (&[(Prefix, "/aaa/bb")], "/aaa/bbb", 0),
        (&[(Prefix, "/aaa/bbb")], "/aaa/bbb", 1),
        (&[(Prefix, "/aaa/bbb/")], "/aaa/bbb", 1),
        (&[(Prefix, "/aaa/bbb")], "/aaa/bbb/", 1),
        (&[(Prefix, "/aaa/bbb")], "/aaa/bbb/ccc", 1),
        (&[(Prefix, "/aaa/bbb")], "/aaa/bbbxyz", 0),
        (&[(Prefix, "/"), (Prefix, "/aaa")], "/aaa/ccc", 2),
        (&[(Prefix, "/"), (Prefix, "/aaa")], "/ccc", 1),
        (&[(Prefix, "/aaa"), (Prefix, "/aaa/bbb"), (Prefix, "/")], "/aaa/bbb", 2),
        (&[(Prefix, "/foo"), (Exact, "/foo")], "/foo", 2),
        (&[(Specific, "/foo"), (Prefix, "/foo")], "/foo/x", 2),
        (&[(Exact, "/foo"), (Prefix, "/foo")], "/foo/x", 2),
        (&[(Prefix, "/foo"), (Prefix, "/foo")], "/foo", 1),
        (&[(Specific, "")], "/anything", 1),
        (&[(Prefix, "/Foo")], "/foo", 0),
        (&[(Prefix, "/café au lait")], "/caf%C3%A9%20au%20lait/1", 1),
        (&[(Prefix, "/a/b")], "/a%2Fb", 0),
        (&[(Exact, "/100%")], "/100%", 1),
    ];
    for (rules, path, expected) in cases {
        let rules: Vec<_> =
            rules.iter().zip(1..).map(|((kind, path), port)| ("h.com", *kind, *path, port)).collect();
        assert_eq!(usize::from(port(&table(&rules, None), "h.com", path)), *expected, "{rules:?} {path}");
    }
}

#[test]
fn hosts_as_the_specification_lists_them() {
    let rules = [
        ("foo.com", Match::Prefix, "/a", 1),
        ("*.foo.com", Match::Prefix, "/", 2),
        ("bar.foo.com", Match::Prefix, "/a", 3),
        ("", Match::Prefix, "/b", 4),
        ("UPPER.com", Match::Prefix, "/", 5),
    ];
    let cases: &[(&str, &str, u16)] = &[
        ("foo.com", "/a", 1),
        ("foo.com", "/b", 4),
        ("foo.com", "/c", 9),
        ("x.foo.com", "/a", 2),
        ("y.x.foo.com", "/a", 9),
        ("bar.foo.com", "/a", 3),
        ("bar.foo.com", "/c", 2),
        ("other.com", "/b/c", 4),
        ("other.com", "/c", 9),
        ("", "/b", 4),
        ("upper.com", "/", 5),
    ];
    for (host, path, expected) in cases {
        assert_eq!(port(&table(&rules, Some(9)), host, path), *expected, "{host}{path}");
    }
    assert!(table(&rules, None).find("other.com", "/c").is_none());
}

#[test]
fn turns() {
    let all: Vec<SocketAddr> = (1..=3).map(|port| SocketAddr::from(([10, 0, 0, 1], port))).collect();
    let upstream = Upstream::new(all.clone());
    let picks = |tried: &[SocketAddr], avoided: &[SocketAddr], times: usize| -> Vec<u16> {
        let pick =
            |_| upstream.pick(tried, |address| avoided.contains(address)).map_or(0, |found| found.port());
        (0..times).map(pick).collect()
    };
    assert_eq!(picks(&[], &[], 4), [1, 2, 3, 1]);
    assert_eq!(picks(&[], &all[1..2], 2), [3, 3], "the second is avoided");
    assert_eq!(picks(&all[..2], &all, 2), [3, 3], "what is avoided is better than nothing");
    assert_eq!(picks(&all, &[], 1), [0]);
    assert_eq!(Upstream::new(Vec::new()).pick(&[], |_| false), None);
}

#[test]
fn turns_go_on_in_the_next_table() {
    let addresses = |_: &BackendName| (1..=3).map(|port| SocketAddr::from(([10, 0, 0, 1], port))).collect();
    let rule = || Rule { host: String::new(), kind: Match::Prefix, path: "/".to_owned(), to: name("a") };
    let mut table = Table::default();
    let ports = [(); 4].map(|()| {
        table = Table::new(vec![rule()], None, addresses, &table);
        table.find("h", "/").unwrap().pick(&[], |_| false).unwrap().port()
    });
    assert_eq!(ports, [1, 2, 3, 1]);
}
