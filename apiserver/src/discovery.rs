//! Discovery: which groups, versions and resources are served, out of the table of kinds.

use proto::kind::{GROUPS, Group, Kind, Subresource, api_version, of_version};
use serde_json::{Map, Value, json};

use crate::body;
use crate::fault::Fault;
use crate::negotiation::{self, Encoding};
use crate::request::{Call, Response};
use crate::route::Route;
use crate::server::Server;
use crate::tag;

pub(crate) const ROUTES: &[Route] = &[
    Route { path: "/", handler: |server, call| Box::pin(std::future::ready(root(server, &call))) },
    Route { path: "/api", handler: |server, call| Box::pin(answer(server, call)) },
    Route { path: "/api/*", handler: |server, call| Box::pin(answer(server, call)) },
    Route { path: "/apis", handler: |server, call| Box::pin(answer(server, call)) },
    Route { path: "/apis/*", handler: |server, call| Box::pin(answer(server, call)) },
];

/// The `Content-Type` of all groups in one document.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The package of the protobuf messages of discovery.
const PACKAGE: &str = "k8s.io.apimachinery.pkg.apis.meta.v1";

/// What a path of discovery shows.
#[derive(Debug, PartialEq, Eq)]
enum Page<'a> {
    /// The versions of the core group.
    Core,
    /// All other groups.
    Groups,
    /// One group.
    Group(&'static Group),
    /// The resources of one version.
    Version(&'static Group, &'a str),
}

/// Says whether a kind is served.
type IsServed<'a> = &'a dyn Fn(&Kind) -> bool;

async fn answer(server: &Server, call: Call) -> Result<Response, Fault> {
    let is_served = |kind: &Kind| crate::handler::is_served(kind, &server.settings().runtime_config);
    let Some(page) = page(&call.info.path, &is_served)? else { return Ok(body::no_such_page()) };
    if call.parts.method != http::Method::GET {
        return Err(Fault::method_not_allowed());
    }
    let headers = &call.parts.headers;
    if matches!(page, Page::Core | Page::Groups) && negotiation::wants_aggregated(headers) {
        let document = aggregated(page == Page::Core, &is_served);
        let document = document.to_string() + "\n";
        let mut response = tag::answer(headers, &tag::of(document.as_bytes()), AGGREGATED, document.into());
        let public = http::HeaderValue::from_static("public");
        response.headers_mut().insert(http::header::CACHE_CONTROL, public);
        return Ok(response);
    }
    let document = match page {
        Page::Core => {
            let settings = server.settings();
            core(&std::net::SocketAddr::new(settings.advertised(), settings.secure_port).to_string())
        }
        Page::Groups => groups(&is_served),
        Page::Group(group) => one_group(group, &is_served),
        Page::Version(group, version) => resources(group.name, version, &is_served),
    };
    let format = crate::handler::format(&call).map_err(|_| Fault::not_acceptable(negotiation::ACCEPTED))?;
    let json = document.to_string();
    if format.encoding == Encoding::Protobuf {
        let kind = document["kind"].as_str().unwrap_or_default();
        let bytes = proto::codec::encode(&format!("{PACKAGE}.{kind}"), json.as_bytes());
        return Ok(body::response(200, format.encoding.media_type(), bytes.map_err(Fault::internal)?));
    }
    crate::present::document(format, 200, json.into())
}

/// Every path that can be read as it stands.
fn root(server: &Server, call: &Call) -> Result<Response, Fault> {
    if call.parts.method != http::Method::GET {
        return Err(Fault::method_not_allowed());
    }
    let is_served = |kind: &Kind| crate::handler::is_served(kind, &server.settings().runtime_config);
    let mut paths: Vec<String> =
        crate::route::paths().map(str::to_owned).chain(crate::health::paths()).collect();
    for group in GROUPS {
        let prefix = if group.name.is_empty() { "/api" } else { "/apis" };
        let versions = versions(group, &is_served);
        if !versions.is_empty() && !group.name.is_empty() {
            paths.push(format!("{prefix}/{}", group.name));
        }
        paths.extend(versions.iter().map(|version| format!("{prefix}/{}", api_version(group.name, version))));
    }
    paths.sort_unstable();
    crate::present::document(crate::handler::format(call)?, 200, json!({"paths": paths}).to_string().into())
}

/// What a path shows; nothing where there is no such group.
fn page<'a>(path: &'a str, is_served: IsServed<'_>) -> Result<Option<Page<'a>>, Fault> {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let (name, below) = match segments.as_slice() {
        ["api"] => return Ok(Some(Page::Core)),
        ["apis"] => return Ok(Some(Page::Groups)),
        ["api", below @ ..] => ("", below),
        ["apis", group, below @ ..] if !group.is_empty() => (*group, below),
        _ => return Ok(None),
    };
    let served = GROUPS.iter().find(|group| group.name == name && !versions(group, is_served).is_empty());
    let Some(group) = served else { return Ok(None) };
    match below {
        [] => Ok(Some(Page::Group(group))),
        [version] if versions(group, is_served).contains(version) => Ok(Some(Page::Version(group, version))),
        _ => Err(Fault::no_such_path()),
    }
}

/// The versions of a group that have something to show, the preferred one first.
fn versions(group: &Group, is_served: IsServed<'_>) -> Vec<&'static str> {
    let all = group.versions.iter().map(|version| version.version);
    all.filter(|version| of_version(group.name, version).any(is_served)).collect()
}

fn core(address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// The groups below `/apis` that have something to show, in their order of priority.
fn named_groups(is_served: IsServed<'_>) -> impl Iterator<Item = &'static Group> {
    GROUPS.iter().filter(move |group| !group.name.is_empty() && !versions(group, is_served).is_empty())
}

fn groups(is_served: IsServed<'_>) -> Value {
    let groups: Vec<Value> = named_groups(is_served).map(|group| in_group(group, is_served)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

fn one_group(group: &Group, is_served: IsServed<'_>) -> Value {
    let mut document = in_group(group, is_served);
    document["kind"] = "APIGroup".into();
    document["apiVersion"] = "v1".into();
    document
}

fn in_group(group: &Group, is_served: IsServed<'_>) -> Value {
    let versions: Vec<Value> = versions(group, is_served)
        .into_iter()
        .map(|version| json!({"groupVersion": api_version(group.name, version), "version": version}))
        .collect();
    let preferred = versions.first().cloned().unwrap_or_default();
    json!({"name": group.name, "versions": versions, "preferredVersion": preferred})
}

fn resources(group: &str, version: &str, is_served: IsServed<'_>) -> Value {
    let mut rows = Vec::new();
    for kind in of_version(group, version).filter(|kind| is_served(kind)) {
        rows.push(resource(kind));
        rows.extend(kind.subresources.iter().map(|sub| subresource(kind, sub)));
    }
    rows.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    let mut document = json!({
        "kind": "APIResourceList",
        "groupVersion": api_version(group, version),
        "resources": rows,
    });
    // Upstream's core group predates `apiVersion` in these documents.
    if !group.is_empty() {
        document["apiVersion"] = "v1".into();
    }
    document
}

fn resource(kind: &Kind) -> Value {
    let mut row = Map::new();
    row.insert("name".to_owned(), kind.plural.into());
    row.insert("singularName".to_owned(), kind.singular.into());
    row.insert("namespaced".to_owned(), kind.namespaced.into());
    row.insert("kind".to_owned(), kind.kind.into());
    row.insert("verbs".to_owned(), kind.verbs.into());
    insert_names(&mut row, kind);
    if !kind.storage_version_hash.is_empty() {
        row.insert("storageVersionHash".to_owned(), kind.storage_version_hash.into());
    }
    row.into()
}

fn subresource(kind: &Kind, sub: &Subresource) -> Value {
    let mut row = json!({
        "name": format!("{}/{}", kind.plural, sub.name),
        "singularName": "",
        "namespaced": kind.namespaced,
        "kind": sub.kind,
        "verbs": sub.verbs,
    });
    if is_foreign(kind, sub) {
        row["group"] = sub.group.into();
        row["version"] = sub.version.into();
    }
    row
}

/// Whether a subresource's kind is of another version than its resource.
fn is_foreign(kind: &Kind, sub: &Subresource) -> bool {
    (kind.group, kind.version) != (sub.group, sub.version)
}

fn insert_names(row: &mut Map<String, Value>, kind: &Kind) {
    if !kind.short_names.is_empty() {
        row.insert("shortNames".to_owned(), kind.short_names.into());
    }
    if !kind.categories.is_empty() {
        row.insert("categories".to_owned(), kind.categories.into());
    }
}

/// Everything below `/api` or below `/apis` in one document.
fn aggregated(core: bool, is_served: IsServed<'_>) -> Value {
    let items: Vec<Value> = GROUPS
        .iter()
        .filter(|group| group.name.is_empty() == core && !versions(group, is_served).is_empty())
        .map(|group| {
            let versions: Vec<Value> = versions(group, is_served)
                .into_iter()
                .map(|version| aggregated_version(group.name, version, is_served))
                .collect();
            let metadata = if core { json!({}) } else { json!({"name": group.name}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    })
}

fn aggregated_version(group: &str, version: &str, is_served: IsServed<'_>) -> Value {
    let mut rows: Vec<&Kind> = of_version(group, version).filter(|kind| is_served(kind)).collect();
    rows.sort_by_key(|kind| kind.plural);
    let rows: Vec<Value> = rows.into_iter().map(aggregated_resource).collect();
    json!({"version": version, "resources": rows, "freshness": "Current"})
}

fn aggregated_resource(kind: &Kind) -> Value {
    let mut row = Map::new();
    row.insert("resource".to_owned(), kind.plural.into());
    row.insert("responseKind".to_owned(), json!({"group": "", "version": "", "kind": kind.kind}));
    row.insert("scope".to_owned(), if kind.namespaced { "Namespaced" } else { "Cluster" }.into());
    row.insert("singularResource".to_owned(), kind.singular.into());
    row.insert("verbs".to_owned(), kind.verbs.into());
    insert_names(&mut row, kind);
    if !kind.subresources.is_empty() {
        let mut below: Vec<&Subresource> = kind.subresources.iter().collect();
        below.sort_by_key(|sub| sub.name);
        let below = below.into_iter().map(|sub| {
            let (group, version) = if is_foreign(kind, sub) { (sub.group, sub.version) } else { ("", "") };
            json!({
                "subresource": sub.name,
                "responseKind": {"group": group, "version": version, "kind": sub.kind},
                "verbs": sub.verbs,
            })
        });
        row.insert("subresources".to_owned(), below.collect::<Vec<Value>>().into());
    }
    row.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_default(kind: &Kind) -> bool {
        crate::handler::is_served(kind, &[])
    }

    #[test]
    fn resources_of_a_version() {
        let cases = [
            (
                "",
                "v1",
                json!({"name": "configmaps", "singularName": "configmap", "namespaced": true, "kind": "ConfigMap",
                "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
                "shortNames": ["cm"], "storageVersionHash": "qFsyl6wFWjQ="}),
            ),
            (
                "",
                "v1",
                json!({"name": "pods/eviction", "singularName": "", "namespaced": true, "group": "policy",
                "version": "v1", "kind": "Eviction", "verbs": ["create"]}),
            ),
            (
                "apps",
                "v1",
                json!({"name": "deployments/status", "singularName": "", "namespaced": true,
                "kind": "Deployment", "verbs": ["get", "patch", "update"]}),
            ),
        ];
        for (group, version, expected) in cases {
            let document = resources(group, version, &by_default);
            let found = document["resources"].as_array().unwrap().iter();
            let found = found.filter(|row| row["name"] == expected["name"]).collect::<Vec<_>>();
            assert_eq!(found, [&expected]);
            assert_eq!(document.get("apiVersion").is_some(), !group.is_empty());
        }
    }

    #[test]
    fn only_what_is_served() {
        assert!(page("/apis/internal.apiserver.k8s.io", &by_default).unwrap().is_none());
        assert!(page("/apis/certificates.k8s.io/v1beta1", &by_default).is_err());
        let cases = [("/api/", true), ("/api/v1", true), ("/apis/apps/v1/", true), ("/apis/x", false)];
        for (path, found) in cases {
            assert_eq!(page(path, &by_default).unwrap().is_some(), found, "{path}");
        }
    }
}
