//! The descriptions of kinds and fields: compressed in the program, open only while a document is made.

use std::io::Read;

/// What the build script made of the sources of `k8s-openapi`.
static COMPRESSED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions"));

/// Ends a record.
const RECORD: char = '\u{1e}';

/// Ends a part of a record.
const UNIT: char = '\u{1f}';

/// All descriptions.
#[derive(Debug)]
pub(super) struct Words {
    text: String,
    /// Where the records begin, which are ordered by name.
    records: Vec<usize>,
}

/// The descriptions of a definition and its fields.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Record<'a>(&'a str);

impl Words {
    pub(super) fn open() -> Self {
        let mut text = String::new();
        let mut decoder = flate2::read::DeflateDecoder::new(COMPRESSED);
        // The bytes are part of the program: were they unreadable, there would be no descriptions, and no harm.
        if let Err(error) = decoder.read_to_string(&mut text) {
            tracing::warn!("the descriptions for OpenAPI cannot be read: {error}");
        }
        let ends = text.match_indices(RECORD).map(|(at, _)| at + RECORD.len_utf8());
        let records = std::iter::once(0).chain(ends).filter(|at| *at < text.len()).collect();
        Self { text, records }
    }

    /// The descriptions of the definition of that name; empty ones where there are none.
    pub(super) fn of(&self, name: &str) -> Record<'_> {
        let after = self.records.partition_point(|at| self.record(*at).name() <= name);
        let record =
            after.checked_sub(1).and_then(|place| self.records.get(place)).map(|at| self.record(*at));
        record.filter(|record| record.name() == name).unwrap_or_default()
    }

    fn record(&self, at: usize) -> Record<'_> {
        Record(self.text[at..].split(RECORD).next().unwrap_or_default())
    }
}

impl<'a> Record<'a> {
    fn name(&self) -> &'a str {
        self.0.split(UNIT).next().unwrap_or_default()
    }

    /// What the whole is.
    pub(super) fn own(&self) -> &'a str {
        self.0.split(UNIT).nth(1).unwrap_or_default()
    }

    /// What a field is.
    pub(super) fn field(&self, name: &str) -> &'a str {
        let mut parts = self.0.split(UNIT).skip(2);
        while let (Some(field), Some(description)) = (parts.next(), parts.next()) {
            if field == name {
                return description;
            }
        }
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_fields_are_described() {
        let words = Words::open();
        let strategy = words.of("io.k8s.api.apps.v1.DeploymentStrategy");
        assert_eq!(
            strategy.own(),
            "DeploymentStrategy describes how to replace existing pods with new ones."
        );
        assert_eq!(
            strategy.field("type"),
            "Type of deployment. Can be \"Recreate\" or \"RollingUpdate\". Default is RollingUpdate."
        );
        assert_eq!((strategy.field("x"), words.of("x").own()), ("", ""));
    }
}
