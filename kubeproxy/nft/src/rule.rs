//! Rules and verdicts.

use std::fmt;

/// One rule: a statement in nft's own language, with an optional comment that `nft list` shows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    text: String,
    comment: Option<&'static str>,
}

impl Rule {
    /// A rule with this text, such as `ct state new jump services`.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), comment: None }
    }

    /// The same rule with a comment.
    #[must_use]
    pub fn comment(mut self, comment: &'static str) -> Self {
        self.comment = Some(comment);
        self
    }

    /// Whether the rule looks into or writes to this set or map.
    pub fn refers_to(&self, set: &str) -> bool {
        self.text.split_whitespace().any(|word| word.strip_prefix('@') == Some(set))
    }
}

impl From<String> for Rule {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Rule {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match self.comment {
            Some(comment) => write!(f, " comment \"{comment}\""),
            None => Ok(()),
        }
    }
}

/// What happens to a packet that an element of a verdict map matches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Go on in this chain and do not come back.
    Goto(String),
    /// Go through this chain and come back.
    Jump(String),
    /// Throw it away.
    Drop,
    /// Let it through this hook.
    Accept,
    /// Leave this chain.
    Return,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Goto(chain) => write!(f, "goto {chain}"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Drop => f.write_str("drop"),
            Self::Accept => f.write_str("accept"),
            Self::Return => f.write_str("return"),
        }
    }
}
