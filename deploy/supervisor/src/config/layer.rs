//! Environment, files and command line laid over each other into one list of flags.

use daemon::Flag;
use serde_json::Value;

/// What a command can be told, and by which names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vocabulary {
    /// The command, such as `server`.
    pub(crate) command: &'static str,
    /// Its flags.
    pub(crate) flags: &'static [Flag],
    /// Flags that K3s has and that mean nothing here.
    pub(crate) inert: &'static [&'static str],
}

/// Letters for flags.
const SHORT: &[(&str, &str)] = &[
    ("-c", "--config"),
    ("-d", "--data-dir"),
    ("-i", "--node-ip"),
    ("-o", "--write-kubeconfig"),
    ("-s", "--server"),
    ("-t", "--token"),
];

/// Variables of the environment, after `ISOPOD_` or `K3S_`, and the flags they stand for.
const VARIABLES: &[(&str, &str)] = &[
    ("AGENT_TOKEN", "agent-token"),
    ("AGENT_TOKEN_FILE", "agent-token-file"),
    ("CONFIG_FILE", "config"),
    ("DATASTORE_CAFILE", "datastore-cafile"),
    ("DATASTORE_CERTFILE", "datastore-certfile"),
    ("DATASTORE_ENDPOINT", "datastore-endpoint"),
    ("DATASTORE_KEYFILE", "datastore-keyfile"),
    ("DATA_DIR", "data-dir"),
    ("DEBUG", "debug"),
    ("KUBECONFIG_MODE", "write-kubeconfig-mode"),
    ("KUBECONFIG_NAME", "write-kubeconfig-name"),
    ("KUBECONFIG_OUTPUT", "write-kubeconfig"),
    ("NODE_NAME", "node-name"),
    ("RESOLV_CONF", "resolv-conf"),
    ("RUN_DIR", "run-dir"),
    ("TOKEN", "token"),
    ("TOKEN_FILE", "token-file"),
    ("URL", "server"),
];

/// A command line with long names only.
pub(crate) fn long(words: Vec<String>) -> Vec<String> {
    let long = |word: String| {
        let (name, value) = word.split_once('=').map_or((word.as_str(), None), |(n, v)| (n, Some(v)));
        match (SHORT.iter().find(|(short, _)| *short == name), value) {
            (Some((_, long)), Some(value)) => format!("{long}={value}"),
            (Some((_, long)), None) => (*long).to_owned(),
            (None, _) => word,
        }
    };
    words.into_iter().map(long).collect()
}

/// What the environment says, as flags that the command has.
pub(crate) fn environment(vocabulary: Vocabulary, variable: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut words = Vec::new();
    for (name, flag) in VARIABLES {
        let value = ["ISOPOD_", "K3S_"].iter().find_map(|prefix| variable(&format!("{prefix}{name}")));
        let known = vocabulary.flags.iter().any(|row| row.name == *flag);
        if let Some(value) = value.filter(|value| !value.is_empty() && known) {
            words.push(format!("--{flag}={value}"));
        }
    }
    words
}

/// The last value of a flag among words.
pub(crate) fn last(words: &[String], flag: &str) -> Option<String> {
    let mut found = None;
    for (at, word) in words.iter().enumerate() {
        match word.strip_prefix("--").and_then(|word| word.strip_prefix(flag)) {
            Some("") => found = words.get(at + 1).cloned(),
            Some(rest) => found = rest.strip_prefix('=').map(str::to_owned).or(found),
            None => {}
        }
    }
    found
}

/// What configuration files say, in their order: the last value of a key counts, `key+` adds to it.
///
/// # Errors
/// All mistakes, each naming its file and key.
pub(crate) fn files(vocabulary: Vocabulary, files: &[(String, Value)]) -> Result<Vec<String>, Vec<String>> {
    let mut values: Vec<(String, Vec<String>)> = Vec::new();
    let mut mistakes = Vec::new();
    for (path, content) in files {
        let members = match content {
            Value::Object(members) => members,
            Value::Null => continue,
            _ => {
                mistakes.push(format!("{path}: a configuration is a list of `flag: value`"));
                continue;
            }
        };
        for (key, value) in members {
            let (flag, adds) = key.strip_suffix('+').map_or((key.as_str(), false), |flag| (flag, true));
            if !vocabulary.knows(flag) {
                let command = vocabulary.command;
                mistakes.push(format!(
                    "{path}: {flag:?} is no flag of isopod {command}; remove it, or see isopod {command} --help"
                ));
                continue;
            }
            let Some(texts) = texts(value) else {
                mistakes
                    .push(format!("{path}: {key}: a value is a text, a number, a truth or a list of them"));
                continue;
            };
            match values.iter_mut().find(|(known, _)| known == flag) {
                Some((_, known)) if adds => known.extend(texts),
                Some((_, known)) => *known = texts,
                None => values.push((flag.to_owned(), texts)),
            }
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let words = values.into_iter().flat_map(|(flag, texts)| {
        texts.into_iter().map(move |text| format!("--{flag}={text}")).collect::<Vec<_>>()
    });
    Ok(words.collect())
}

impl Vocabulary {
    fn knows(&self, flag: &str) -> bool {
        flag == "v" || self.flags.iter().any(|row| row.name == flag) || self.inert.contains(&flag)
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    };
    match value {
        Value::Null => Some(Vec::new()),
        Value::Array(values) => values.iter().map(text).collect(),
        value => text(value).map(|text| vec![text]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const VOCABULARY: Vocabulary = Vocabulary {
        command: "server",
        flags: &[
            Flag::many("tls-san", "", ""),
            Flag::one("data-dir", "", ""),
            Flag::switch("debug", false, ""),
            Flag::one("token", "", ""),
        ],
        inert: &["rootless"],
    };

    #[test]
    fn files_and_what_they_mean() {
        type Words = &'static [&'static str];
        let cases: &[(&[Value], Result<Words, Words>)] = &[
            (&[json!({"data-dir": "/d", "debug": true})], Ok(&["--data-dir=/d", "--debug=true"])),
            (&[json!({"tls-san": ["a", "b"]})], Ok(&["--tls-san=a", "--tls-san=b"])),
            (&[json!({"tls-san": ["a"]}), json!({"tls-san": ["b"]})], Ok(&["--tls-san=b"])),
            (&[json!({"tls-san": ["a"]}), json!({"tls-san+": "b"})], Ok(&["--tls-san=a", "--tls-san=b"])),
            (&[json!(null), json!({"rootless": true, "v": 4})], Ok(&["--rootless=true", "--v=4"])),
            (
                &[json!({"tls-sun": 1, "token": {"a": 1}}), json!([1])],
                Err(&[
                    "f0: \"tls-sun\" is no flag of isopod server; remove it, or see isopod server --help",
                    "f0: token: a value is a text, a number, a truth or a list of them",
                    "f1: a configuration is a list of `flag: value`",
                ]),
            ),
        ];
        for (contents, expected) in cases {
            let named: Vec<(String, Value)> =
                contents.iter().enumerate().map(|(at, value)| (format!("f{at}"), value.clone())).collect();
            let found = files(VOCABULARY, &named);
            let expected = expected
                .map(|words| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
                .map_err(|words| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
            assert_eq!(found, expected, "{contents:?}");
        }
    }

    #[test]
    fn ours_in_the_environment_counts_before_k3s() {
        let variable = |name: &str| match name {
            "ISOPOD_TOKEN" => Some("ours".to_owned()),
            "K3S_TOKEN" => Some("theirs".to_owned()),
            "K3S_DATA_DIR" => Some("/k".to_owned()),
            "K3S_URL" => Some("https://not-a-flag-here".to_owned()),
            _ => None,
        };
        assert_eq!(environment(VOCABULARY, variable), ["--data-dir=/k", "--token=ours"]);
    }

    #[test]
    fn letters_and_last_values() {
        let words: Vec<String> = "-t a --token=b -d /x".split(' ').map(str::to_owned).collect();
        let words = long(words);
        assert_eq!(words, ["--token", "a", "--token=b", "--data-dir", "/x"]);
        assert_eq!(last(&words, "token").as_deref(), Some("b"));
        assert_eq!(last(&words, "data-dir").as_deref(), Some("/x"));
        assert_eq!(last(&words, "data"), None);
    }
}
