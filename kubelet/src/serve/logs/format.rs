//! Lines of a log in the CRI format, and which of them somebody wants: values in, values out.

use jiff::{SignedDuration, Timestamp};

/// Which lines are wanted, and how.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Options {
    pub follow: bool,
    pub previous: bool,
    pub timestamps: bool,
    pub since: Option<Timestamp>,
    pub tail: Option<u64>,
    pub limit: Option<u64>,
    /// Only `Stdout` or only `Stderr`.
    pub stream: Option<String>,
}

impl Options {
    /// Reads the query of a request.
    ///
    /// # Errors
    /// The parameter that makes no sense.
    pub(super) fn parse(query: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let number = |key: &str| -> Result<Option<u64>, String> {
            let text = query(key).filter(|text| !text.is_empty());
            text.map(|text| {
                text.parse().map_err(|_| format!("{key}: Invalid value: {text:?}: must be a number"))
            })
            .transpose()
        };
        let yes = |key: &str| query(key).is_some_and(|text| !matches!(text.as_str(), "false" | "0"));
        let ago = number("sinceSeconds")?.and_then(|seconds| {
            Timestamp::now().checked_sub(SignedDuration::from_secs(i64::try_from(seconds).ok()?)).ok()
        });
        let at = query("sinceTime").filter(|text| !text.is_empty());
        let at = at
            .map(|text| {
                text.parse().map_err(|_| format!("sinceTime: Invalid value: {text:?}: must be a time"))
            })
            .transpose()?;
        let tail = number("tailLines")?;
        let stream = query("stream").filter(|stream| !stream.is_empty() && stream != "All");
        if tail.is_some() && stream.is_some() {
            return Err("`tailLines` and specific `stream` are mutually exclusive for now".to_owned());
        }
        Ok(Self {
            follow: yes("follow"),
            previous: yes("previous"),
            timestamps: yes("timestamps"),
            since: at.or(ago),
            tail,
            limit: number("limitBytes")?,
            stream,
        })
    }
}

/// One line as the runtime wrote it.
#[derive(Debug, PartialEq)]
pub(super) struct Line<'a> {
    stamp: &'a [u8],
    stream: &'a [u8],
    /// The line goes on in the next one.
    partial: bool,
    words: &'a [u8],
}

impl<'a> Line<'a> {
    /// Takes a line apart: time, stream, tag, words.
    pub(super) fn parse(raw: &'a [u8]) -> Option<Self> {
        let raw = raw.strip_suffix(b"\n").unwrap_or(raw);
        let mut parts = raw.splitn(4, |byte| *byte == b' ');
        let (stamp, stream, tag) = (parts.next()?, parts.next()?, parts.next()?);
        let partial = tag.split(|byte| *byte == b':').any(|tag| tag == b"P");
        Some(Self { stamp, stream, partial, words: parts.next().unwrap_or_default() })
    }

    /// Whether the next line goes on with this one.
    pub(super) fn is_partial(&self) -> bool {
        self.partial
    }

    /// Appends the line as it is shown, if it is wanted; `goes_on` where it goes on with the one before.
    pub(super) fn show(&self, goes_on: bool, options: &Options, out: &mut Vec<u8>) {
        if options.stream.as_ref().is_some_and(|wanted| !wanted.as_bytes().eq_ignore_ascii_case(self.stream))
        {
            return;
        }
        if let Some(since) = options.since {
            let written =
                std::str::from_utf8(self.stamp).ok().and_then(|stamp| stamp.parse::<Timestamp>().ok());
            if written.is_some_and(|written| written < since) {
                return;
            }
        }
        if options.timestamps && !goes_on {
            out.extend_from_slice(self.stamp);
            out.push(b' ');
        }
        out.extend_from_slice(self.words);
        if !self.partial {
            out.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &[&str] = &[
        "2026-01-01T00:00:00.5Z stdout F one\n",
        "2026-01-01T00:00:01.5Z stderr P tw\n",
        "2026-01-01T00:00:02.5Z stderr F o\n",
        "2026-01-01T00:00:03.5Z stdout F \n",
    ];

    #[test]
    fn what_is_shown() {
        let check = |query: &[(&str, &str)], expected: &str| {
            let find = |key: &str| {
                query.iter().find(|(known, _)| *known == key).map(|(_, value)| (*value).to_owned())
            };
            let options = Options::parse(find).unwrap();
            let (mut out, mut goes_on) = (Vec::new(), false);
            for line in LOG {
                let line = Line::parse(line.as_bytes()).unwrap();
                line.show(goes_on, &options, &mut out);
                goes_on = line.is_partial();
            }
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{query:?}");
        };
        check(&[], "one\ntwo\n\n");
        check(
            &[("timestamps", "true"), ("stream", "Stdout")],
            "2026-01-01T00:00:00.5Z one\n2026-01-01T00:00:03.5Z \n",
        );
        check(&[("sinceTime", "2026-01-01T00:00:02Z")], "o\n\n");
        // One stamp for a line that the runtime wrote in parts.
        check(&[("timestamps", "true"), ("stream", "stderr")], "2026-01-01T00:00:01.5Z two\n");
    }

    #[test]
    fn nonsense_is_refused() {
        for (key, value) in [("tailLines", "x"), ("sinceTime", "noon"), ("limitBytes", "-1")] {
            let options = Options::parse(|asked| (asked == key).then(|| value.to_owned()));
            assert!(options.unwrap_err().starts_with(key));
        }
    }
}
