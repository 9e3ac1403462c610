//! Pairs of tables and the text that leads from one to the other.

use super::*;
use crate::rule::{Rule, Verdict};
use crate::set::{Set, key};
use crate::table::Hook;

const INPUT: Hook = Hook { kind: "filter", point: "input", priority: 0 };

/// Builds a table from a few words a line, so that cases read as what they are:
/// `chain NAME: rule; rule`, `base NAME PRIORITY: rule`, `set NAME SECONDS`, `in SET: key`, `map NAME`, `to MAP: key = chain`.
fn table(text: &str) -> Table {
    let mut table = Table::new(Family::Ip, "t");
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (head, body) = line.split_once(':').unwrap_or((line, ""));
        let rules = || body.split(';').map(str::trim).filter(|rule| !rule.is_empty()).map(Rule::from);
        match *head.split_whitespace().collect::<Vec<_>>() {
            ["chain", name] => table.chain(name, Chain::of(rules())),
            ["base", name, priority] => {
                let hook = Hook { priority: priority.parse().unwrap(), ..INPUT };
                table.chain(name, Chain::at(hook, rules()));
            }
            ["set", name] => table.set(name, Set::of("ipv4_addr")),
            ["set", name, seconds] => table.set(name, Set::of("ipv4_addr").dynamic(seconds.parse().unwrap())),
            ["map", name] => table.set(name, Set::map("inet_service", "verdict")),
            ["in", set] => table.element(set, body.trim()),
            ["to", map] => {
                let (key, chain) = body.split_once('=').unwrap();
                table.verdict(map, key.trim(), &Verdict::Goto(chain.trim().to_owned()));
            }
            _ => panic!("not understood: {line}"),
        }
    }
    table
}

#[test]
fn only_what_differs_is_touched() {
    let cases: &[(&str, &str, &str, &[&str])] = &[
        (
            "nothing",
            "chain a: accept\n set s\n in s: 1.1.1.1",
            "chain a: accept\n set s\n in s: 1.1.1.1",
            &[],
        ),
        (
            "one element more",
            "set s\n in s: 1.1.1.1",
            "set s\n in s: 1.1.1.1\n in s: 2.2.2.2",
            &["add element ip t s { 2.2.2.2 }"],
        ),
        (
            "one element elsewhere",
            "map m\n chain a:\n chain b:\n to m: 80 = a\n to m: 81 = a",
            "map m\n chain a:\n chain b:\n to m: 80 = b\n to m: 81 = a",
            &["delete element ip t m { 80 }", "add element ip t m { 80 : goto b }"],
        ),
        (
            "a chain takes another's place",
            "map m\n chain a: drop\n to m: 80 = a",
            "map m\n chain b: accept; drop\n to m: 80 = b",
            &[
                "add chain ip t b",
                "flush chain ip t a",
                "delete element ip t m { 80 }",
                "add element ip t m { 80 : goto b }",
                "add rule ip t b accept",
                "add rule ip t b drop",
                "delete chain ip t a",
            ],
        ),
        (
            "a set with another definition takes the rules that name it along",
            "set s 10\n chain a: update @s { ip saddr }\n chain b: accept",
            "set s 20\n chain a: update @s { ip saddr }\n chain b: accept",
            &[
                "flush chain ip t a",
                "delete set ip t s",
                "add set ip t s { type ipv4_addr ; flags dynamic,timeout ; timeout 20s ; size 65535 ; }",
                "add rule ip t a update @s { ip saddr }",
            ],
        ),
        (
            "a base chain moves",
            "base a 0: accept",
            "base a 5: accept",
            &[
                "flush chain ip t a",
                "delete chain ip t a",
                "add chain ip t a { type filter hook input priority 5 ; }",
                "add rule ip t a accept",
            ],
        ),
        (
            "all of a set goes",
            "set s\n in s: 1.1.1.1\n chain a: ip saddr @s drop",
            "",
            &["flush chain ip t a", "delete set ip t s", "delete chain ip t a"],
        ),
    ];
    for (name, old, new, expected) in cases {
        let transaction = diff(&table(old), &table(new));
        assert_eq!(transaction.commands, *expected, "{name}");
    }
}

#[test]
fn a_table_is_built_from_nothing() {
    let mut table = table("base in 0: ct state new jump a\n map m\n chain a:\n to m: 80 = a");
    table.chains.get_mut("a").unwrap().rules.push(Rule::new("tcp dport vmap @m").comment("why"));
    let expected = "\
add table ip t
delete table ip t
add table ip t
add chain ip t a
add chain ip t in { type filter hook input priority 0 ; }
add map ip t m { type inet_service : verdict ; }
add element ip t m { 80 : goto a }
add rule ip t a tcp dport vmap @m comment \"why\"
add rule ip t in ct state new jump a
";
    assert_eq!(replace(&table).text(), expected);
    assert!(diff(&table, &table).is_empty());
}

#[test]
fn parts_of_a_table_share_its_sets() {
    let mut whole = table("map m\n chain a:\n to m: 80 = a");
    let part = table("chain b:\n to m: 81 = b\n to m: 80 = b");
    whole.merge(&part);
    let elements: Vec<_> = whole.elements["m"].iter().collect();
    let goto = |chain: &str| Some(format!("goto {chain}"));
    assert_eq!(elements, [(&"80".to_owned(), &goto("a")), (&"81".to_owned(), &goto("b"))]);
    assert!(whole.chains.contains_key("b"));
}

#[test]
fn many_elements_are_several_commands() {
    let mut full = table("set s");
    for number in 0..ELEMENTS_PER_COMMAND + 1 {
        full.element("s", format!("10.0.{}.{}", number / 256, number % 256));
    }
    assert_eq!(diff(&table("set s"), &full).len(), 2);
}

#[test]
fn keys_are_concatenations() {
    assert_eq!(key(&[&"10.43.0.1", &"tcp", &443]), "10.43.0.1 . tcp . 443");
}
