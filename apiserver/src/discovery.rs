//! What there is to ask for: groups, versions and resources, out of the table of kinds; and the version of it all.
//!
//! Documents are made when asked for: clients keep them, so a server that idles holds none.

use proto::kind::{GROUPS, Group, KINDS, Kind};
use serde_json::{Map, Value, json};

use crate::body;
use crate::fault::Fault;
use crate::handler::is_served;
use crate::request::{Call, Handler, Response};
use crate::route::Route;
use crate::server::Server;

pub(crate) const ROUTES: &[Route] = &[
    Route { path: "/api", handler: |server, call| Box::pin(async move { document(&call, core(server)) }) },
    Route { path: "/api/*", handler: RESOURCES },
    Route { path: "/apis", handler: |server, call| Box::pin(async move { document(&call, groups(server)) }) },
    Route { path: "/apis/*", handler: RESOURCES },
    Route { path: "/version", handler: |_, call| Box::pin(async move { document(&call, version()) }) },
    Route { path: "/healthz", handler: READY },
    Route { path: "/livez", handler: ALIVE },
    Route { path: "/readyz", handler: READY },
];

const RESOURCES: Handler = |server, call| {
    Box::pin(async move {
        let runtime_config = server.settings().runtime_config.as_slice();
        let found = below(&call.info.path, runtime_config).ok_or_else(Fault::no_such_path)?;
        document(&call, found)
    })
};

const ALIVE: Handler = |_, call| {
    Box::pin(async move {
        only_reads(&call)?;
        Ok(body::response(200, "text/plain; charset=utf-8", "ok"))
    })
};

// The listener takes requests before the caches are filled and the first objects made.
const READY: Handler = |server, call| {
    Box::pin(async move {
        only_reads(&call)?;
        let pending = server.context().gates().pending();
        if pending.is_empty() {
            return Ok(body::response(200, "text/plain; charset=utf-8", "ok"));
        }
        let waiting = format!("waiting for {}\n", pending.join(", "));
        Ok(body::response(500, "text/plain; charset=utf-8", waiting))
    })
};

fn only_reads(call: &Call) -> Result<(), Fault> {
    let reads = matches!(call.parts.method, http::Method::GET | http::Method::HEAD);
    if reads { Ok(()) } else { Err(Fault::method_not_allowed()) }
}

fn document(call: &Call, document: Value) -> Result<Response, Fault> {
    only_reads(call)?;
    Ok(body::response(200, "application/json", document.to_string()))
}

fn core(server: &Server) -> Value {
    let settings = server.settings();
    let address = std::net::SocketAddr::new(settings.advertised(), settings.secure_port);
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address.to_string()}],
    })
}

fn groups(server: &Server) -> Value {
    let runtime_config = server.settings().runtime_config.as_slice();
    let named = GROUPS.iter().filter(|group| !group.name.is_empty());
    let groups: Vec<Value> = named.filter_map(|group| group_document(group, runtime_config)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/api/v1`, `/apis/GROUP` or `/apis/GROUP/VERSION`.
fn below(path: &str, runtime_config: &[String]) -> Option<Value> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts[..] {
        ["api", version] => resources("", version, runtime_config),
        ["apis", group] => {
            let group = GROUPS.iter().find(|known| known.name == group && !group.is_empty())?;
            let mut document = group_document(group, runtime_config)?;
            document["kind"] = "APIGroup".into();
            document["apiVersion"] = "v1".into();
            Some(document)
        }
        ["apis", group, version] if !group.is_empty() => resources(group, version, runtime_config),
        _ => None,
    }
}

fn group_document(group: &Group, runtime_config: &[String]) -> Option<Value> {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .filter(|row| served(group.name, row.version, runtime_config).next().is_some())
        .map(|row| version_document(group.name, row.version))
        .collect();
    let preferred =
        versions.iter().find(|row| row["version"] == group.preferred).or_else(|| versions.first())?.clone();
    Some(json!({"name": group.name, "versions": versions, "preferredVersion": preferred}))
}

fn version_document(group: &str, version: &str) -> Value {
    json!({"groupVersion": format!("{group}/{version}"), "version": version})
}

fn served<'a>(
    group: &'a str,
    version: &'a str,
    runtime_config: &'a [String],
) -> impl Iterator<Item = &'static Kind> + 'a {
    KINDS
        .iter()
        .filter(move |kind| kind.group == group && kind.version == version && is_served(kind, runtime_config))
}

fn resources(group: &str, version: &str, runtime_config: &[String]) -> Option<Value> {
    let rows: Vec<Value> = served(group, version, runtime_config).flat_map(rows).collect();
    if rows.is_empty() {
        return None;
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let mut document = json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": rows});
    // The core group's list is the one that upstream leaves without a version.
    if !group.is_empty() {
        document["apiVersion"] = "v1".into();
    }
    Some(document)
}

/// The row of a kind, then one for each of its subresources.
fn rows(kind: &'static Kind) -> Vec<Value> {
    let mut row = Map::new();
    row.insert("name".into(), kind.plural.into());
    row.insert("singularName".into(), kind.singular.into());
    row.insert("namespaced".into(), kind.namespaced.into());
    row.insert("kind".into(), kind.kind.into());
    row.insert("verbs".into(), json!(kind.verbs));
    let optional = [("shortNames", kind.short_names), ("categories", kind.categories)];
    for (name, values) in optional.into_iter().filter(|(_, values)| !values.is_empty()) {
        row.insert(name.into(), json!(values));
    }
    if !kind.storage_version_hash.is_empty() {
        row.insert("storageVersionHash".into(), kind.storage_version_hash.into());
    }
    let mut rows = vec![Value::Object(row)];
    rows.extend(kind.subresources.iter().map(|sub| {
        let mut row = json!({
            "name": format!("{}/{}", kind.plural, sub.name),
            "singularName": "",
            "namespaced": kind.namespaced,
            "kind": sub.kind,
            "verbs": sub.verbs,
        });
        if (sub.group, sub.version) != (kind.group, kind.version) {
            row["group"] = sub.group.into();
            row["version"] = sub.version.into();
        }
        row
    }));
    rows
}

fn version() -> Value {
    json!({
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": daemon::VERSION,
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(path: &str, name: &str) -> Value {
        let document = below(path, &[]).unwrap();
        let rows = document["resources"].as_array().unwrap();
        rows.iter().find(|row| row["name"] == name).unwrap().clone()
    }

    #[test]
    fn rows_as_upstream_has_them() {
        let cases = [
            (
                "/api/v1",
                "configmaps",
                json!({
                    "name": "configmaps", "singularName": "configmap", "namespaced": true, "kind": "ConfigMap",
                    "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
                    "shortNames": ["cm"], "storageVersionHash": "qFsyl6wFWjQ=",
                }),
            ),
            (
                "/api/v1",
                "pods/eviction",
                json!({
                    "name": "pods/eviction", "singularName": "", "namespaced": true, "group": "policy", "version": "v1",
                    "kind": "Eviction", "verbs": ["create"],
                }),
            ),
            (
                "/apis/apps/v1",
                "deployments/status",
                json!({
                    "name": "deployments/status", "singularName": "", "namespaced": true, "kind": "Deployment",
                    "verbs": ["get", "patch", "update"],
                }),
            ),
        ];
        for (path, name, expected) in cases {
            assert_eq!(row(path, name), expected, "{path} {name}");
        }
    }

    #[test]
    fn what_is_not_served_is_not_there() {
        for path in ["/api/v2", "/apis/nope", "/apis/apps/v2", "/apis/apps/v1/more", "/apis//v1"] {
            assert_eq!(below(path, &[]), None, "{path}");
        }
        assert_eq!(below("/apis/apps", &[]).unwrap()["preferredVersion"]["groupVersion"], "apps/v1");
    }
}
