//! The multi-call executable: by its first argument or by the name it is called by, it is one daemon or another.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};

fn run(called: &str, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_isopod-bundle")).arg0(called).args(words).output().unwrap()
}

#[test]
fn who_it_is() {
    let cases: &[(&str, &[&str], &str)] = &[
        ("isopod", &["datastore", "--version"], "isopod-datastore v1.36."),
        ("isopod", &["kubelet", "--version"], "isopod-kubelet v1.36."),
        ("isopod-scheduler", &["--version"], "isopod-scheduler v1.36."),
        ("/usr/local/bin/isopod-apiserver", &["--version"], "isopod-apiserver v1.36."),
    ];
    for (called, words, expected) in cases {
        let output = run(called, words);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && said.starts_with(expected), "{called} {words:?}: {said}");
    }
}

#[test]
fn nobody_is_refused() {
    const USAGE: i32 = 64;
    for words in [&[][..], &["teapot"]] {
        let output = run("isopod", words);
        assert_eq!(output.status.code(), Some(USAGE), "{words:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("kubelet"), "it says what there is: {said}");
    }
}
