//! Scripts: commands as one types them, each with what it prints.
//!
//! ```text
//! $ kubectl get deployment web        a command, run once; `> ` continues it on the next line
//! NAME  READY  UP-TO-DATE  AVAILABLE  AGE
//! web   3/3    3           3          *
//! ~ kubectl get ...                   a command that is run until it prints what follows
//! ...                                 any number of lines
//! [1]                                 the status it ends with, where that is not 0
//! ```
//! A word `*` stands for any text within a line, also inside a word; space between words is all alike. Lines that
//! begin with `#` say something to the reader.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use xtask::patience::until;
use xtask::program;

/// How long a command may take to print what is expected of it in the end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command and what it should print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What the shell is given.
    pub command: String,
    /// Whether it may be run until it prints what is expected.
    pub patient: bool,
    /// Patterns of lines.
    pub expected: Vec<String>,
    /// The status it ends with.
    pub status: i32,
}

/// The steps of a script.
pub fn parse(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let begin = |command: &str, patient| Step {
            command: command.to_owned(),
            patient,
            expected: Vec::new(),
            status: 0,
        };
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(begin(command, false));
        } else if let Some(command) = line.strip_prefix("~ ") {
            steps.push(begin(command, true));
        } else if let Some(step) = steps.last_mut() {
            let status = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).map(str::parse);
            match (line.strip_prefix("> "), status) {
                (Some(more), _) => step.command = format!("{}\n{more}", step.command),
                (None, Some(Ok(status))) => step.status = status,
                (None, _) => step.expected.push(line.to_owned()),
            }
        }
    }
    steps
}

/// Runs every step in turn with these variables.
///
/// # Errors
/// At the first step that does not do what it should, with what it did.
pub fn play(text: &str, variables: &[(&str, String)]) -> Result<()> {
    for step in parse(text) {
        let mut last = String::new();
        let look = || {
            let (printed, status) = shell(&step.command, variables)?;
            if status == Some(step.status) && fits(&step.expected, &printed) {
                return Ok(Some(()));
            }
            let status = status.map_or_else(|| "a signal".to_owned(), |status| status.to_string());
            last = format!("{printed}[{status}]");
            if step.patient { Ok(None) } else { bail!("it printed something else") }
        };
        if let Err(error) = until("it prints what it should", PATIENCE, look) {
            bail!("$ {}\n{last}\n-- {error}:\n{}\n[{}]", step.command, step.expected.join("\n"), step.status);
        }
    }
    Ok(())
}

/// What a command prints, on both of its outputs, and how it ends.
fn shell(command: &str, variables: &[(&str, String)]) -> Result<(String, Option<i32>)> {
    let mut shell = Command::new("sh");
    // One pipe for both outputs keeps their order.
    shell.args(["-c", &format!("exec 2>&1\n{command}")]);
    shell.envs(variables.iter().map(|(name, value)| (name, value)));
    let output = program::output(&mut shell)?;
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code()))
}

/// Whether these lines are what the patterns say.
fn fits(expected: &[String], printed: &str) -> bool {
    let lines: Vec<String> = printed.lines().map(plain).filter(|line| !line.is_empty()).collect();
    let patterns: Vec<String> = expected.iter().map(|line| plain(line)).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
    lines_fit(&patterns, &lines)
}

/// Words with one space between them.
fn plain(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn lines_fit(patterns: &[&str], lines: &[&str]) -> bool {
    match patterns {
        [] => lines.is_empty(),
        ["...", rest @ ..] => (0..=lines.len()).any(|skipped| lines_fit(rest, &lines[skipped..])),
        [pattern, rest @ ..] => {
            lines.first().is_some_and(|line| line_fits(pattern, line)) && lines_fit(rest, &lines[1..])
        }
    }
}

/// Whether a line is the pattern's parts with anything at each star.
fn line_fits(pattern: &str, line: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == line };
    let Some(rest) = line.strip_prefix(head) else { return false };
    if tail.is_empty() {
        return true;
    }
    rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| line_fits(tail, &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_says() {
        let text = "# first\n$ kubectl get pods\n> -o wide\nNAME  READY\nweb-* 1/1\n\n~ false\n[1]\n";
        let step = |command: &str, patient, expected: &[&str], status| Step {
            command: command.to_owned(),
            patient,
            expected: expected.iter().map(|line| (*line).to_owned()).collect(),
            status,
        };
        let expected = [
            step("kubectl get pods\n-o wide", false, &["NAME  READY", "web-* 1/1"], 0),
            step("false", true, &[], 1),
        ];
        assert_eq!(parse(text), expected);
    }

    #[test]
    fn what_fits() {
        let cases: &[(&[&str], &str, bool)] = &[
            (&[], "", true),
            (&[], "something\n", false),
            (&["a b"], "a   b\r\n", true),
            (&["web-* 1/1 *"], "web-5d8-x2 1/1 3s\n", true),
            (&["web-* 1/1 *"], "web-5d8-x2 0/1 3s\n", false),
            (&["*ready*"], "it is ready now\n", true),
            (&["...", "b"], "a\na\nb\n", true),
            (&["...", "b"], "a\nb\na\n", false),
            (&["a", "..."], "a\n", true),
            (&["a", "...", "c"], "a\nb\nb\nc\n", true),
        ];
        for (expected, printed, fit) in cases {
            let expected: Vec<String> = expected.iter().map(|line| (*line).to_owned()).collect();
            assert_eq!(fits(&expected, printed), *fit, "{expected:?} {printed:?}");
        }
    }

    #[test]
    fn scripts_run_and_say_where_they_fail() {
        let variables = [("WHO", "there".to_owned())];
        play("$ echo hello $WHO\nhello *re\n$ echo no >&2; exit 3\nno\n[3]\n", &variables).unwrap();
        let error = play("$ echo hello\nhello\n$ echo a\nb\n", &[]).unwrap_err().to_string();
        assert!(error.starts_with("$ echo a\na\n[0]"), "{error}");
    }
}
