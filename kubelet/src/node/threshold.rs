//! How little of the machine's resources may be left before the node says that it is short of them.

use std::fmt;
use std::str::FromStr;

use proto::quantity::Quantity;

/// What upstream's kubelet has where `--eviction-hard` is not given.
pub const DEFAULT: &str = "imagefs.available<15%,imagefs.inodesFree<5%,memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%";

/// What can run short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Memory,
    Disk,
    Inodes,
    /// Thresholds for the images' file system and for process numbers are read; nothing watches them so far.
    Unwatched,
}

const SIGNALS: &[(&str, Signal)] = &[
    ("imagefs.available", Signal::Unwatched),
    ("imagefs.inodesFree", Signal::Unwatched),
    ("memory.available", Signal::Memory),
    ("nodefs.available", Signal::Disk),
    ("nodefs.inodesFree", Signal::Inodes),
    ("pid.available", Signal::Unwatched),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Least {
    Amount(f64),
    /// A part of the whole, 0 to 1.
    Share(f64),
}

/// The least of one resource that must be left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    signal: Signal,
    least: Least,
}

/// How much is left of how much.
#[derive(Debug, Clone, Copy)]
pub struct Left {
    pub free: u64,
    pub whole: u64,
}

impl FromStr for Threshold {
    type Err = Malformed;

    /// Reads one threshold as `--eviction-hard` has it, such as `memory.available<100Mi` or `nodefs.available<10%`.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (name, least) = text.split_once('<').ok_or_else(|| Malformed(text.to_owned()))?;
        let signal = SIGNALS.iter().find(|(signal, _)| *signal == name);
        let least = match least.strip_suffix('%') {
            Some(percent) => percent.parse().ok().map(|percent: f64| Least::Share(percent / 100.0)),
            None => Quantity::parse(least).ok().map(|amount| Least::Amount(amount.approximate())),
        };
        match (signal, least) {
            (Some(&(_, signal)), Some(least)) => Ok(Self { signal, least }),
            _ => Err(Malformed(text.to_owned())),
        }
    }
}

impl Threshold {
    /// Whether this is about `signal` and too little is left.
    #[expect(clippy::cast_precision_loss, reason = "2^53 bytes are more than any node has")]
    pub fn is_crossed(&self, signal: Signal, left: Left) -> bool {
        let least = match self.least {
            Least::Amount(amount) => amount,
            Least::Share(share) => share * left.whole as f64,
        };
        self.signal == signal && (left.free as f64) < least
    }
}

/// A threshold that cannot be read.
#[derive(Debug)]
pub struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text) = self;
        write!(
            f,
            "{text:?} is not of the form signal<amount or signal<percent%, such as nodefs.available<10%"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_read_and_judged() {
        let cases = [
            ("nodefs.available<10%", Signal::Disk, 9, true),
            ("nodefs.available<10%", Signal::Disk, 10, false),
            ("nodefs.available<10%", Signal::Inodes, 9, false),
            ("memory.available<1Ki", Signal::Memory, 1023, true),
            ("memory.available<1Ki", Signal::Memory, 1024, false),
            ("nodefs.inodesFree<0%", Signal::Inodes, 0, false),
        ];
        for (text, signal, free, crossed) in cases {
            let threshold = text.parse::<Threshold>().unwrap();
            assert_eq!(threshold.is_crossed(signal, Left { free, whole: 100 }), crossed, "{text} {free}");
        }
    }

    #[test]
    fn every_default_can_be_read_and_nonsense_cannot() {
        for text in DEFAULT.split(',') {
            text.parse::<Threshold>().unwrap();
        }
        for text in ["nodefs.available", "disk<5%", "memory.available<lots", "memory.available<x%", ""] {
            assert!(text.parse::<Threshold>().is_err(), "{text}");
        }
    }
}
