//! Whole documents, put together piece by piece, so that never more than one piece is there as a tree.

use serde_json::{Value, json};

use super::page::Page;
use super::path::Paths;
use super::words::Words;
use super::{older, page, schema, wire};

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// As JSON.
    Json,
    /// As the protobuf messages of `gnostic`.
    Protobuf,
}

fn info() -> Value {
    json!({"title": "Kubernetes", "version": "1.36"})
}

/// Where pieces go.
struct Writer {
    encoding: Encoding,
    message: &'static wire::Message,
    out: Vec<u8>,
    /// The fields around the next section, as JSON has them open.
    open: &'static [&'static str],
}

impl Writer {
    fn new(encoding: Encoding, message: &'static wire::Message, head: &Value) -> Self {
        let mut out = Vec::new();
        match encoding {
            Encoding::Json => {
                out.extend_from_slice(head.to_string().as_bytes());
                // What follows stands in the same braces.
                out.pop();
            }
            Encoding::Protobuf => wire::encode(message, head, &mut out),
        }
        Self { encoding, message, out, open: &[] }
    }

    /// Writes named pieces into the field that a path of fields leads to.
    fn section(&mut self, path: &'static [&'static str], pieces: impl Iterator<Item = (String, Value)>) {
        let mut pieces = pieces.peekable();
        if pieces.peek().is_none() {
            return;
        }
        if self.encoding == Encoding::Protobuf {
            pieces.for_each(|(name, value)| wire::piece(self.message, path, &name, &value, &mut self.out));
            return;
        }
        self.begin(path);
        let mut before = "";
        for (name, value) in pieces {
            self.out.extend_from_slice(format!("{before}{}:{value}", Value::from(name)).as_bytes());
            before = ",";
        }
        self.out.push(b'}');
    }

    fn begin(&mut self, path: &'static [&'static str]) {
        let Some((last, around)) = path.split_last() else { return };
        let mut before = ",";
        if self.open != around {
            self.out.extend(self.open.iter().map(|_| b'}'));
            for name in around {
                self.out.extend_from_slice(format!("{before}\"{name}\":{{").as_bytes());
                before = "";
            }
            self.open = around;
        }
        self.out.extend_from_slice(format!("{before}\"{last}\":{{").as_bytes());
    }

    fn finish(mut self) -> Vec<u8> {
        if self.encoding == Encoding::Json {
            self.out.extend(self.open.iter().map(|_| b'}'));
            self.out.push(b'}');
        }
        self.out
    }
}

/// The only way in that is described.
fn token() -> impl Iterator<Item = (String, Value)> {
    let token = json!({
        "type": "apiKey",
        "description": "Bearer Token authentication",
        "name": "authorization",
        "in": "header",
    });
    std::iter::once(("BearerToken".to_owned(), token))
}

/// A document of version 3: these paths and all that they are made of.
pub(super) fn v3(paths: Paths, words: &Words, encoding: Encoding) -> Vec<u8> {
    let head = json!({"openapi": "3.0.0", "info": info()});
    let mut writer = Writer::new(encoding, &wire::V3, &head);
    let versions = paths.versions.clone();
    writer.section(&["paths"], paths.items.into_iter());
    let all = schema::reachable(&paths.messages);
    let schemas = all.into_iter().map(|(name, message)| (name, schema::schema(message, words, &versions)));
    writer.section(&["components", "schemas"], schemas.chain(paths.schemas));
    writer.section(&["components", "securitySchemes"], token());
    writer.finish()
}

/// The one document of version 2.
pub(super) fn v2(pages: &[Page], words: &Words, encoding: Encoding) -> Vec<u8> {
    let head = json!({"swagger": "2.0", "info": info(), "security": [{"BearerToken": []}]});
    let mut writer = Writer::new(encoding, &wire::V2, &head);
    let mut rest = Paths::default();
    let items = pages.iter().flat_map(|page| {
        let paths = page::paths(page, words);
        rest.messages.extend(paths.messages);
        rest.schemas.extend(paths.schemas);
        rest.versions.extend(paths.versions);
        paths.items.into_iter().map(|(path, item)| (path, older::path(item)))
    });
    writer.section(&["paths"], items);
    let Paths { messages, schemas: more, mut versions, .. } = rest;
    versions.sort_unstable();
    versions.dedup();
    let all = schema::reachable(&messages);
    let schemas = all.into_iter().map(|(name, message)| (name, schema::schema(message, words, &versions)));
    writer.section(&["definitions"], schemas.chain(more).map(|(name, one)| (name, older::schema(one))));
    writer.section(&["securityDefinitions"], token());
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::super::page::Kinds;
    use super::*;

    #[test]
    fn documents_are_whole() {
        let words = Words::open();
        let served = |kind: &proto::kind::Kind| crate::handler::is_served(kind, &[]);
        let pages = page::all(&served as Kinds<'_>);
        for page in &pages {
            let document = v3(page::paths(page, &words), &words, Encoding::Json);
            let document: Value = serde_json::from_slice(&document).unwrap();
            assert!(document["paths"].as_object().is_some_and(|paths| !paths.is_empty()), "{}", page.name);
        }
        let document: Value = serde_json::from_slice(&v2(&pages, &words, Encoding::Json)).unwrap();
        assert_eq!(document["securityDefinitions"]["BearerToken"]["in"], "header");
    }
}
