//! Which documents of version 3 there are, and what each is about.

use proto::kind::{GROUPS, Kind, of_version};
use serde_json::{Map, Value, json};

use super::operation::OBJECTS;
use super::path::{self, Paths};
use super::schema;
use super::words::Words;

/// Says whether a kind is served.
pub(super) type Kinds<'a> = &'a dyn Fn(&Kind) -> bool;

/// One document.
#[derive(Debug)]
pub(super) struct Page {
    /// Its path below `/openapi/v3/`.
    pub(super) name: String,
    about: About,
}

/// What a document is about.
#[derive(Debug)]
enum About {
    /// A path that shows what there is: name of the operation, tag, description, kind of the answer.
    Discovery(String, String, &'static str, &'static str),
    /// A version and its kinds.
    Version(&'static str, &'static str, Vec<&'static Kind>),
    /// A path that answers with a text: name of the operation, tag, description, media type.
    Text([&'static str; 4]),
    /// `/version`.
    Facts,
}

/// The paths that answer with a text.
const TEXTS: &[(&str, [&str; 4])] = &[
    (
        ".well-known/openid-configuration",
        [
            "getServiceAccountIssuerOpenIDConfiguration",
            "WellKnown",
            "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'",
            "application/json",
        ],
    ),
    (
        "openid/v1/jwks",
        [
            "getServiceAccountIssuerOpenIDKeyset",
            "openid",
            "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)",
            "application/jwk-set+json",
        ],
    ),
];

/// The name of the definition of what `/version` answers with.
const FACTS: &str = "io.k8s.apimachinery.pkg.version.Info";

/// All documents, by name.
pub(super) fn all(is_served: Kinds<'_>) -> Vec<Page> {
    let mut pages: Vec<Page> = TEXTS
        .iter()
        .map(|(name, words)| Page { name: (*name).to_owned(), about: About::Text(*words) })
        .chain([
            discovery("api", "getCoreAPIVersions", "core", "get available API versions", "APIVersions"),
            discovery("apis", "getAPIVersions", "apis", "get available API versions", "APIGroupList"),
            Page { name: "version".to_owned(), about: About::Facts },
        ])
        .collect();
    for group in GROUPS {
        let before = pages.len();
        for version in group.versions {
            let kinds: Vec<&Kind> =
                of_version(group.name, version.version).filter(|kind| is_served(kind)).collect();
            if !kinds.is_empty() {
                let name = match group.name {
                    "" => format!("api/{}", version.version),
                    name => format!("apis/{name}/{}", version.version),
                };
                pages.push(Page { name, about: About::Version(group.name, version.version, kinds) });
            }
        }
        if pages.len() > before && !group.name.is_empty() {
            let id = format!("get{}APIGroup", path::title(group.name, true));
            let tag = path::title(group.name, false);
            let name = format!("apis/{}", group.name);
            pages.push(discovery(&name, &id, &tag, "get information of a group", "APIGroup"));
        }
    }
    pages.sort_by(|a, b| a.name.cmp(&b.name));
    pages
}

fn discovery(name: &str, id: &str, tag: &str, description: &'static str, kind: &'static str) -> Page {
    let about = About::Discovery(id.to_owned(), tag.to_owned(), description, kind);
    Page { name: name.to_owned(), about }
}

/// The paths that a document describes.
pub(super) fn paths(page: &Page, words: &Words) -> Paths {
    match &page.about {
        About::Discovery(id, tag, description, kind) => {
            path::discovery(&format!("/{}", page.name), id, tag, description, kind)
        }
        About::Version(group, version, kinds) => path::of_version(group, version, kinds),
        About::Text([id, tag, description, media_type]) => {
            let path = format!("/{}/", page.name);
            path::plain(&path, id, tag, description, &[media_type], &json!({"type": "string"}))
        }
        About::Facts => facts(words),
    }
}

/// `/version`, whose answer has no protobuf message.
fn facts(words: &Words) -> Paths {
    let record = words.of(FACTS);
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, is_required) in crate::version::FIELDS {
        let mut property = json!({"type": "string"});
        if !record.field(name).is_empty() {
            property["description"] = record.field(name).into();
        }
        if *is_required {
            property["default"] = "".into();
            required.push(*name);
        }
        properties.insert((*name).to_owned(), property);
    }
    let schema = json!({
        "description": record.own(),
        "type": "object",
        "required": required,
        "properties": properties,
    });
    let reference: Value = json!({"$ref": format!("{}{FACTS}", schema::COMPONENTS)});
    let description = "get the version information for this server";
    let types = &OBJECTS[..1];
    let paths = path::plain("/version/", "getCodeVersion", "version", description, types, &reference);
    Paths { schemas: vec![(FACTS.to_owned(), schema)], ..paths }
}
