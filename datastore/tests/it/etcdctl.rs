//! Debian's etcdctl against our datastore: what it prints is what it prints of Debian's etcd.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use crate::etcd::{Etcd, free_ports};
use crate::ours::Ours;

/// Commands whose output is the same on every store that began empty, with what is typed into them.
const COMMANDS: &[(&str, &str)] = &[
    ("put /k/a 1", ""),
    ("put /k/a 2 --prev-kv", ""),
    ("put /k/b two", ""),
    ("put /k/c", "from standard input"),
    ("put /k/d 4 --ignore-value", ""),
    ("put /k/a --ignore-value", ""),
    ("get /k/a", ""),
    ("get /k/a -w json", ""),
    ("get /k/a -w fields", ""),
    ("get /k/absent", ""),
    ("get --prefix /k", ""),
    ("get --prefix /k --keys-only", ""),
    ("get --prefix /k --limit 2", ""),
    ("get --prefix /k --limit 2 -w json", ""),
    ("get --prefix /k --sort-by MODIFY --order DESCEND", ""),
    ("get --prefix /k --sort-by VALUE", ""),
    ("get --prefix /k --sort-by VERSION --limit 1", ""),
    ("get --from-key /k/b", ""),
    ("get /k/a /k/c", ""),
    ("get /k/a --rev 2", ""),
    ("get --prefix /k --rev 3 -w json", ""),
    ("get /k/a --rev 99", ""),
    ("get /k/a --print-value-only", ""),
    ("txn", "mod(\"/k/a\") > \"0\"\n\nput /k/e 5\nget /k/e\n\nget /k/b\n\n"),
    ("txn", "value(\"/k/a\") = \"no\"\n\nput /k/f 6\n\nget /k/b\ndel /k/e\n\n"),
    ("txn", "create(\"/k/new\") = \"0\"\nversion(\"/k/a\") = \"3\"\n\nput /k/new 7\n\n\n\n"),
    ("txn", "\nput /k/a 1\nput /k/a 2\n\n\n\n"),
    ("get --prefix /k -w json", ""),
    ("del /k/b --prev-kv", ""),
    ("del /k/absent", ""),
    ("del --prefix /k/c", ""),
    ("get --prefix /k --keys-only", ""),
    ("get --prefix /k --rev 5 --keys-only", ""),
    ("compact 4", ""),
    ("compact 4", ""),
    ("compact 99", ""),
    ("get /k/a --rev 3", ""),
    ("get /k/a --rev 4", ""),
    ("lease revoke 1234", ""),
    ("lease timetolive 1234", ""),
    ("lease list", ""),
    ("put /k/g 8 --lease 1234", ""),
    ("alarm list", ""),
    ("role list", ""),
    ("del --from-key /", ""),
];

/// Rows of [`COMMANDS`] that ours answers otherwise: it has no users and roles.
const DIFFERENT: &[&str] = &["role list"];

/// Runs etcdctl and returns what it printed, on both outputs, without its log lines.
async fn run(endpoint: &str, line: &str, input: &str) -> String {
    let mut process =
        etcdctl(endpoint, line).stdin(Stdio::piped()).spawn().expect("install Debian's etcd-client");
    let mut stdin = process.stdin.take().unwrap();
    // A command that reads nothing may be gone before it could be told.
    drop(stdin.write_all(input.as_bytes()).await);
    drop(stdin);
    let output = process.wait_with_output().await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text)
        .lines()
        .filter(|line| !line.starts_with("{\"level\""))
        .fold(String::new(), |all, line| all + line + "\n")
}

fn etcdctl(endpoint: &str, line: &str) -> Command {
    let mut command = Command::new("etcdctl");
    command.env("ETCDCTL_API", "3").args(["--endpoints", endpoint]).args(line.split_whitespace());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Blanks the numbers that name a cluster and its member, which are each store's own.
fn anonymous(text: &str) -> String {
    let mut out = text.to_owned();
    for name in [
        "\"cluster_id\":",
        "\"member_id\":",
        "\"raft_term\":",
        "\"ClusterID\" : ",
        "\"MemberID\" : ",
        "\"RaftTerm\" : ",
    ] {
        if let Some(start) = out.find(name).map(|at| at + name.len()) {
            let digits = out[start..].bytes().take_while(u8::is_ascii_digit).count();
            out.replace_range(start..start + digits, "N");
        }
    }
    out
}

/// Our datastore on loopback, and its address without a scheme.
async fn ours_on_loopback(data: &std::path::Path) -> (Ours, String) {
    let [port] = free_ports();
    let url = format!("--listen-client-urls=http://127.0.0.1:{port}");
    (Ours::start(data, &[&url]).await, format!("127.0.0.1:{port}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn it_prints_the_same_of_ours_as_of_etcd() {
    let data = tempfile::tempdir().unwrap();
    let etcd = Etcd::start().await;
    let (ours, address) = ours_on_loopback(data.path()).await;
    let mut different = Vec::new();
    for (line, input) in COMMANDS {
        let (expected, found) = tokio::join!(run(&etcd.endpoint, line, input), run(&address, line, input));
        let (expected, found) = (anonymous(&expected), anonymous(&found));
        if (expected == found) == DIFFERENT.contains(line) {
            different.push(format!("etcdctl {line}\n--- etcd\n{expected}--- ours\n{found}"));
        }
    }
    ours.stop().await;
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_watches_leases_and_maintains() {
    let data = tempfile::tempdir().unwrap();
    let socket = data.path().join("d.sock");
    let [port] = free_ports();
    let address = format!("127.0.0.1:{port}");
    let urls = format!("--listen-client-urls=http://{address},unix://{}", socket.display());
    let ours = Ours::start(data.path(), &[&urls]).await;
    let say = async |line: &str| run(&address, line, "").await;

    for line in ["put /k/a 1", "put /k/b 2", "del /k/a"] {
        say(line).await;
    }
    let mut watching = etcdctl(&address, "watch --prefix /k --rev 2").spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    for expected in ["PUT", "/k/a", "1", "PUT", "/k/b", "2", "DELETE", "/k/a", ""] {
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some(expected));
    }
    say("put /k/c 3").await;
    for expected in ["PUT", "/k/c", "3"] {
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some(expected));
    }
    watching.kill().await.unwrap();

    let granted = say("lease grant 100").await;
    let lease = granted.split_whitespace().nth(1).unwrap();
    assert_eq!(granted, format!("lease {lease} granted with TTL(100s)\n"));
    say(&format!("put /k/leased v --lease {lease}")).await;
    assert_eq!(say("lease list").await, format!("found 1 leases\n{lease}\n"));
    let left = say(&format!("lease timetolive {lease} --keys")).await;
    assert!(left.contains("granted with TTL(100s)") && left.contains("attached keys([/k/leased])"), "{left}");
    let kept = say(&format!("lease keep-alive --once {lease}")).await;
    assert_eq!(kept, format!("lease {lease} keepalived with TTL(100)\n"));
    assert_eq!(say(&format!("lease revoke {lease}")).await, format!("lease {lease} revoked\n"));
    assert_eq!(say("get /k/leased").await, "");

    let cases = [
        ("member list", "started, default"),
        ("endpoint health", "is healthy"),
        ("endpoint status", "true, false"),
        ("defrag", "Finished defragmenting"),
        ("lock /lock echo held", "held"),
        ("member add other --peer-urls http://127.0.0.1:1", "Unimplemented"),
    ];
    for (line, part) in cases {
        let found = say(line).await;
        assert!(found.contains(part), "etcdctl {line}: {found}");
    }
    // These make it send an address as the authority.
    for endpoint in [format!("http://{address}"), format!("unix://{}", socket.display())] {
        let found = run(&endpoint, "endpoint status", "").await;
        assert!(found.contains("true, false"), "{endpoint}: {found}");
        assert_eq!(run(&endpoint, "get /k/b", "").await, "/k/b\n2\n", "{endpoint}");
    }
    ours.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_restores() {
    let data = tempfile::tempdir().unwrap();
    let restored = tempfile::tempdir().unwrap();
    let (ours, address) = ours_on_loopback(data.path()).await;
    run(&address, "put /k/a before", "").await;
    let copy = restored.path().join("copy");
    let saved = run(&address, &format!("snapshot save {}", copy.display()), "").await;
    assert!(saved.contains("Snapshot saved"), "{saved}");
    run(&address, "put /k/a after", "").await;
    let sum = |text: String| text.trim().rsplit(' ').next().and_then(|sum| sum.parse::<u32>().ok());
    let expected = sum(run(&address, "endpoint hashkv --rev 2", "").await);
    assert!(expected.is_some());
    ours.stop().await;
    // The format: the file as it is, then its SHA-256.
    let mut bytes = std::fs::read(&copy).unwrap();
    let digest = bytes.split_off(bytes.len() - 32);
    assert_eq!(ring::digest::digest(&ring::digest::SHA256, &bytes).as_ref(), digest);
    std::fs::write(crate::ours::file(restored.path()), bytes).unwrap();
    let (ours, address) = ours_on_loopback(restored.path()).await;
    assert_eq!(run(&address, "get /k/a", "").await, "/k/a\nbefore\n");
    assert_eq!(sum(run(&address, "endpoint hashkv", "").await), expected);
    ours.stop().await;
}
