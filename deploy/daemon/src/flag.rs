//! Command lines as tables: a flag is one row, parsing is one loop, all mistakes are reported together.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

/// How often a flag may be given and whether it takes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// `--name`, `--name=true` or `--name=false`.
    Switch,
    /// `--name value` or `--name=value`; the last one counts.
    One,
    /// Like `One`, but each further one adds to the list, and commas separate values.
    Many,
}

/// One row of a daemon's table of flags.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// The name without dashes, as upstream spells it where upstream has it.
    pub name: &'static str,
    /// Whether it takes a value, or many.
    pub arity: Arity,
    /// What counts where the flag is absent; empty means no value.
    pub default: &'static str,
    /// One sentence for `--help`.
    pub help: &'static str,
}

impl Flag {
    /// A flag with one value.
    pub const fn one(name: &'static str, default: &'static str, help: &'static str) -> Self {
        Self { name, arity: Arity::One, default, help }
    }

    /// A flag with a list of values.
    pub const fn many(name: &'static str, default: &'static str, help: &'static str) -> Self {
        Self { name, arity: Arity::Many, default, help }
    }

    /// A flag that is on or off.
    pub const fn switch(name: &'static str, default: bool, help: &'static str) -> Self {
        let default = if default { "true" } else { "false" };
        Self { name, arity: Arity::Switch, default, help }
    }
}

/// The settings of a daemon, read from its flags.
pub trait Settings: Sized {
    /// The flags it has.
    const FLAGS: &'static [Flag];

    /// Flags of its upstream twin that mean nothing here: accepted with one warning.
    const INERT: &'static [&'static str] = &[];

    /// Reads the settings; what is wrong is noted in `args` by the calls themselves or with [`Args::reject`].
    ///
    /// `None` is returned only where something was noted.
    fn read(args: &mut Args) -> Option<Self>;
}

/// The values of a command line, by flag name.
#[derive(Debug)]
pub struct Args {
    flags: &'static [Flag],
    given: BTreeMap<&'static str, Vec<String>>,
    mistakes: Vec<String>,
}

impl Args {
    /// The text of a flag with one value; empty where neither given nor defaulted.
    pub fn text(&self, name: &'static str) -> String {
        self.last(name).unwrap_or_default()
    }

    /// The value of a flag, if it has one; a value that does not parse is noted as a mistake.
    pub fn optional<T>(&mut self, name: &'static str) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        let text = self.last(name).filter(|text| !text.is_empty())?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.mistakes.push(format!("--{name}: {text:?} is not usable: {error}"));
                None
            }
        }
    }

    /// The value of a flag that must have one; a missing value is noted as a mistake.
    pub fn required<T>(&mut self, name: &'static str) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        if self.last(name).is_none_or(|text| text.is_empty()) {
            self.mistakes.push(format!("--{name} is required"));
            return None;
        }
        self.optional(name)
    }

    /// All values of a list flag; those that do not parse are noted as mistakes.
    pub fn many<T>(&mut self, name: &'static str) -> Vec<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        let texts = match self.given.get(name) {
            Some(given) => given.clone(),
            None => vec![self.row(name).map_or("", |flag| flag.default).to_owned()],
        };
        let mut values = Vec::new();
        for text in
            texts.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|text| !text.is_empty())
        {
            match text.parse() {
                Ok(value) => values.push(value),
                Err(error) => self.mistakes.push(format!("--{name}: {text:?} is not usable: {error}")),
            }
        }
        values
    }

    /// All values of a list flag as they were given, commas and all: for values that are themselves lists.
    pub fn each(&self, name: &'static str) -> Vec<String> {
        self.given.get(name).cloned().unwrap_or_default()
    }

    /// Whether a switch is on.
    pub fn switch(&mut self, name: &'static str) -> bool {
        self.optional(name).unwrap_or(false)
    }

    /// Whether the flag was given at all.
    pub fn is_given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// Notes a mistake that only the daemon can see, such as two flags that contradict each other.
    pub fn reject(&mut self, mistake: impl Into<String>) {
        self.mistakes.push(mistake.into());
    }

    fn row(&self, name: &str) -> Option<&'static Flag> {
        self.flags.iter().find(|flag| flag.name == name)
    }

    fn last(&self, name: &str) -> Option<String> {
        match self.given.get(name).and_then(|values| values.last()) {
            Some(text) => Some(text.clone()),
            None => self.row(name).map(|flag| flag.default.to_owned()),
        }
    }
}

/// Parses a command line into settings, the `--v` verbosity, and warnings about flags that mean nothing here.
///
/// # Errors
/// Every mistake found, one sentence each, naming the flag.
pub fn parse<S: Settings>(line: &[String]) -> Result<(S, u8, Vec<String>), Vec<String>> {
    let mut args = Args { flags: S::FLAGS, given: BTreeMap::new(), mistakes: Vec::new() };
    let mut warnings = Vec::new();
    let mut verbosity = 0;
    let mut rest = line.iter().peekable();
    while let Some(word) = rest.next() {
        let Some(body) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).filter(|b| !b.is_empty())
        else {
            args.mistakes.push(format!("{word:?} is not a flag; flags begin with --"));
            continue;
        };
        let (name, inline) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (body, None),
        };
        let next_value = |rest: &mut std::iter::Peekable<std::slice::Iter<'_, String>>| {
            rest.next_if(|word| !word.starts_with("--")).cloned()
        };
        if name == "v" {
            let text = inline.or_else(|| next_value(&mut rest)).unwrap_or_default();
            match text.parse() {
                Ok(level) => verbosity = level,
                Err(_) => args.mistakes.push(format!("--v: {text:?} is not a number from 0 to 255")),
            }
        } else if let Some(flag) = S::FLAGS.iter().find(|flag| flag.name == name) {
            let value = match (flag.arity, inline) {
                (_, Some(value)) => value,
                (Arity::Switch, None) => "true".to_owned(),
                (_, None) => match next_value(&mut rest) {
                    Some(value) => value,
                    None => {
                        args.mistakes.push(format!("--{name} needs a value"));
                        continue;
                    }
                },
            };
            args.given.entry(flag.name).or_default().push(value);
        } else if S::INERT.contains(&name) {
            if inline.is_none() {
                next_value(&mut rest);
            }
            warnings.push(format!("--{name} is known upstream but means nothing here; it was ignored"));
        } else {
            args.mistakes.push(format!("--{name} is not a known flag; --help lists them"));
        }
    }
    let settings = S::read(&mut args);
    match settings {
        Some(settings) if args.mistakes.is_empty() => Ok((settings, verbosity, warnings)),
        _ => Err(args.mistakes),
    }
}

/// A command line as it may be logged: without the values of flags that end in `token`.
pub(crate) fn loggable(line: &[String]) -> Vec<String> {
    let mut secret_follows = false;
    let loggable = |word: &String| {
        let (name, value) = word.split_once('=').map_or((word.as_str(), None), |(n, v)| (n, Some(v)));
        let is_secret = word.starts_with('-') && name.ends_with("token");
        if std::mem::replace(&mut secret_follows, is_secret && value.is_none()) {
            return "***".to_owned();
        }
        if is_secret && value.is_some() { format!("{name}=***") } else { word.clone() }
    };
    line.iter().map(loggable).collect()
}

/// The text of `--help`.
pub fn help(name: &str, flags: &[Flag]) -> String {
    let mut out = format!("isopod-{name} {}\n\nFlags:\n", crate::VERSION);
    for flag in flags {
        let default =
            if flag.default.is_empty() { String::new() } else { format!(" (default {})", flag.default) };
        out.push_str(&format!("  --{:<36} {}{default}\n", flag.name, flag.help));
    }
    out.push_str("  --v                                    How much to log, 0 to 6 (default 0)\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Sample {
        port: u16,
        servers: Vec<String>,
        fast: bool,
    }

    impl Settings for Sample {
        const FLAGS: &'static [Flag] = &[
            Flag::one("port", "80", "the port"),
            Flag::many("servers", "", "the servers"),
            Flag::switch("fast", false, "whether to hurry"),
        ];
        const INERT: &'static [&'static str] = &["logging-format"];

        fn read(args: &mut Args) -> Option<Self> {
            let (port, servers, fast) = (args.required("port"), args.many("servers"), args.switch("fast"));
            Some(Self { port: port?, servers, fast })
        }
    }

    #[test]
    fn secrets_are_not_logged() {
        let line = ["--token", "a", "--agent-token=b", "--token-file=c", "--x", "token"].map(str::to_owned);
        let expected = ["--token", "***", "--agent-token=***", "--token-file=c", "--x", "token"];
        assert_eq!(loggable(&line), expected);
    }

    #[test]
    fn lines_and_what_they_mean() {
        type Expected = Result<(u16, &'static [&'static str], bool), &'static [&'static str]>;
        let cases: &[(&str, Expected)] = &[
            ("", Ok((80, &[], false))),
            ("--port 81 --fast", Ok((81, &[], true))),
            ("--port=81 --fast=false --v=4", Ok((81, &[], false))),
            ("--servers a,b --servers c", Ok((80, &["a", "b", "c"], false))),
            ("--logging-format json", Ok((80, &[], false))),
            ("--port x", Err(&["--port: \"x\" is not usable: invalid digit found in string"])),
            (
                "--prt 1 --port",
                Err(&[
                    "--prt is not a known flag; --help lists them",
                    "\"1\" is not a flag; flags begin with --",
                    "--port needs a value",
                ]),
            ),
        ];
        for (line, expected) in cases {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let parsed = parse::<Sample>(&words).map(|(sample, _, _)| sample);
            let expected = expected
                .map(|(port, servers, fast)| Sample {
                    port,
                    servers: servers.iter().map(|s| s.to_string()).collect(),
                    fast,
                })
                .map_err(|m| m.iter().map(|s| s.to_string()).collect::<Vec<_>>());
            assert_eq!(parsed, expected, "{line}");
        }
    }
}
