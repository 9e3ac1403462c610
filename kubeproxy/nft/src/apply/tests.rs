//! Transactions against the kernel, in a network namespace of the test's own.

use std::process::Command;

use super::*;
use crate::rule::{Rule, Verdict};
use crate::set::{Set, key};
use crate::table::{Chain, Family, Hook, Table};
use crate::{diff, ensure, remove, replace, withdraw};

/// A named network namespace that goes with the value.
struct Namespace(String);

impl Namespace {
    fn new(name: &str) -> Self {
        let name = format!("nft-{name}-{}", std::process::id());
        let made = Command::new("ip").args(["netns", "add", &name]).status().unwrap();
        assert!(made.success());
        Self(name)
    }

    fn nft(&self) -> Nft {
        Nft::inside(&format!("/run/netns/{}", self.0))
    }

    fn list(&self) -> String {
        let namespace = format!("--net=/run/netns/{}", self.0);
        let output =
            Command::new("nsenter").args([&namespace, "nft", "-s", "list", "ruleset"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(Command::new("ip").args(["netns", "delete", &self.0]).status());
    }
}

/// A table with one of everything; `ports` lead to one chain each.
fn sample(ports: &[u16], timeout: u64) -> Table {
    let mut table = Table::new(Family::Ip, "sample");
    let hook = Hook { kind: "nat", point: "prerouting", priority: -100 };
    table.set("services", Set::map("ipv4_addr . inet_proto . inet_service", "verdict"));
    table.set("clients", Set::of("ipv4_addr").dynamic(timeout));
    table.chain("in", Chain::at(hook, ["ip daddr . meta l4proto . th dport vmap @services"]));
    for port in ports {
        let name = format!("service-demo/web/tcp/{port}");
        let rules = [
            Rule::new("update @clients { ip saddr }").comment("seen"),
            Rule::new("meta l4proto tcp dnat to 10.42.0.2:80"),
        ];
        table.verdict("services", key(&[&"10.43.0.1", &"tcp", port]), &Verdict::Goto(name.clone()));
        table.chain(name, Chain::of(rules));
    }
    table
}

#[tokio::test]
async fn the_kernel_holds_what_the_value_says_however_it_got_there() {
    let (steps, direct) = (Namespace::new("steps"), Namespace::new("direct"));
    let stages = [sample(&[80], 10), sample(&[80, 81], 10), sample(&[81, 82], 30), sample(&[], 30)];
    steps.nft().apply(&replace(&stages[0])).await.unwrap();
    for pair in stages.windows(2) {
        steps.nft().apply(&diff(&pair[0], &pair[1])).await.unwrap();
        direct.nft().apply(&replace(&pair[1])).await.unwrap();
        let sorted = |text: String| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(steps.list()), sorted(direct.list()));
    }
    steps.nft().apply(&remove(Family::Ip, "sample")).await.unwrap();
    assert_eq!(steps.list(), "");
}

#[tokio::test]
async fn a_refused_transaction_changes_nothing_and_names_the_line() {
    let namespace = Namespace::new("refused");
    let good = sample(&[80], 10);
    namespace.nft().apply(&replace(&good)).await.unwrap();
    let before = namespace.list();
    let mut bad = sample(&[80, 81], 10);
    bad.chain("extra", Chain::of(["jump nowhere"]));
    let error = namespace.nft().apply(&diff(&good, &bad)).await.unwrap_err();
    let ApplyError::Refused { line, words } = error else { panic!("{error}") };
    assert_eq!(line, "add rule ip sample extra jump nowhere");
    assert!(words.contains("No such file or directory"), "{words}");
    assert_eq!(namespace.list(), before);
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let nft = Nft { program: "/nonexistent/nft".into(), arguments: Vec::new() };
    let error = nft.apply(&remove(Family::Ip, "sample")).await.unwrap_err();
    assert_eq!(error.to_string(), "the program /nonexistent/nft is missing; install the package nftables");
}

#[tokio::test]
async fn parts_come_and_go_beside_others_any_number_of_times() {
    let namespace = Namespace::new("parts");
    let (nft, one, two) = (namespace.nft(), sample(&[80], 10), sample(&[81], 10));
    nft.apply(&ensure(&one)).await.unwrap();
    let before = namespace.list();
    let part = |whole: &Table, port: u16| {
        let mut part = whole.clone();
        part.chains.retain(|name, _| name.ends_with(&port.to_string()));
        part
    };
    for _ in 0..2 {
        nft.apply(&ensure(&one)).await.unwrap();
        nft.apply(&ensure(&part(&two, 81))).await.unwrap();
        assert!(namespace.list().contains("goto service-demo/web/tcp/81"));
    }
    for _ in 0..2 {
        nft.apply(&withdraw(&part(&two, 81))).await.unwrap();
        assert_eq!(namespace.list(), before);
    }
}
