//! From a request to who answers it: paths, virtual resources, subresources, and the verbs of stored resources.

use proto::kind::{Kind, Served, find};
use serde_json::Value;

use crate::fault::Fault;
use crate::negotiation::{self, Format};
use crate::object;
use crate::present::Presenter;
use crate::registry::Act;
use crate::request::{Call, Response};
use crate::resource::Resource;
use crate::server::Server;
use crate::{body, convert, route, subresource};

mod content;
mod patch;
mod read;
mod watch;
mod write;

pub use content::decode;
pub(crate) use patch::Patch;
pub(crate) use write::{options, same_name, same_namespace};

/// Resources of the core group that are on their way out: version, name, what whoever uses them is told.
const DEPRECATED: &[(&str, &str, &str)] = &[
    ("v1", "componentstatuses", "v1 ComponentStatus is deprecated in v1.19+"),
    ("v1", "endpoints", "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
];

/// Answers a request whose caller may make it.
///
/// # Errors
/// Whatever is wrong with it.
pub async fn answer(server: &Server, call: Call) -> Result<Response, Fault> {
    if !call.info.is_resource {
        let Some(handler) = route::route(&call.info.path) else { return Ok(body::no_such_page()) };
        return handler(server, call).await;
    }
    let Some(kind) = find(&call.info.group, &call.info.version, &call.info.resource)
        .filter(|kind| is_served(kind, server.settings().runtime_config.as_slice()))
    else {
        let handler = route::route(&call.info.path).ok_or_else(Fault::no_such_path)?;
        return handler(server, call).await;
    };
    if let Some((.., text)) = DEPRECATED
        .iter()
        .find(|(version, name, _)| *name == kind.plural && kind.group.is_empty() && *version == kind.version)
    {
        call.warnings.add(*text);
    }
    if !kind.namespaced && !call.info.namespace.is_empty() && kind.plural != "namespaces" {
        return Err(Fault::no_such_path());
    }
    if !kind.stored {
        let handler = route::virtual_resource(kind.group, kind.plural).ok_or_else(Fault::no_such_path)?;
        return handler(server, call).await;
    }
    let resource = server.resources().of_kind(kind).ok_or_else(Fault::no_such_path)?;
    if call.info.subresource.is_empty() {
        stored(server, kind, resource, call).await
    } else {
        below(server, kind, resource, call).await
    }
}

/// Whether a version is switched on.
pub(crate) fn is_served(kind: &Kind, runtime_config: &[String]) -> bool {
    let gated = match kind.served {
        Served::Default => return !is_switched(kind, runtime_config, "false"),
        Served::RuntimeConfig => false,
        Served::FeatureGate(_) => true,
    };
    !gated && is_switched(kind, runtime_config, "true")
}

fn is_switched(kind: &Kind, runtime_config: &[String], to: &str) -> bool {
    let version = kind.api_version();
    runtime_config.iter().any(|item| {
        let (name, value) = item.split_once('=').unwrap_or((item, "true"));
        value == to
            && (name == version
                || name == "api/all"
                || (name == "api/beta" && kind.version.contains("beta"))
                || (name == "api/alpha" && kind.version.contains("alpha")))
    })
}

/// The verbs of a stored resource.
async fn stored(
    server: &Server,
    kind: &'static Kind,
    resource: &Resource,
    call: Call,
) -> Result<Response, Fault> {
    let named = call.info.parts.get(1).is_some_and(|name| !name.is_empty());
    let verb = call.info.verb.as_str();
    if !kind.allows(verb) {
        return Err(Fault::method_not_allowed());
    }
    if kind.namespaced && call.info.namespace.is_empty() && (named || verb == "create") {
        return Err(if verb == "create" { Fault::method_not_allowed() } else { Fault::no_such_path() });
    }
    match verb {
        "get" => read::get(server, kind, resource, &call).await,
        "list" => read::list(server, kind, resource, &call).await,
        "watch" => watch::watch(server, kind, resource, &call).await,
        "create" if !named => write::create(server, kind, resource, &call).await,
        "update" if named => write::update(server, kind, resource, &call).await,
        "patch" if named => patch::patch(server, kind, resource, &call).await,
        "delete" => write::delete(server, kind, resource, &call).await,
        "deletecollection" => write::delete_collection(server, kind, resource, &call).await,
        _ => Err(Fault::method_not_allowed()),
    }
}

/// What lies below one object.
async fn below(
    server: &Server,
    kind: &'static Kind,
    resource: &Resource,
    call: Call,
) -> Result<Response, Fault> {
    let Some(row) = kind.subresource(&call.info.subresource) else { return Err(Fault::no_such_path()) };
    if !row.allows(&call.info.verb) {
        return Err(Fault::method_not_allowed());
    }
    if let Some(handler) = subresource::handler(kind.group, kind.plural, row.name) {
        return handler(server, call).await;
    }
    let is_part = row.name == "status" || subresource::rule(kind.group, kind.plural, row.name).is_some();
    match call.info.verb.as_str() {
        "get" if is_part => read::get(server, kind, resource, &call).await,
        "update" if is_part || row.name == "finalize" => write::update(server, kind, resource, &call).await,
        "patch" if is_part => patch::patch(server, kind, resource, &call).await,
        _ => Err(Fault::no_such_path()),
    }
}

/// What handlers of stored resources begin with: the act the request asks for, and how to show what comes of it.
pub(crate) struct Scope<'a> {
    pub(crate) act: Act<'a>,
    pub(crate) presenter: Presenter,
}

impl<'a> Scope<'a> {
    pub(crate) fn new(
        server: &'a Server,
        kind: &'static Kind,
        resource: &'a Resource,
        call: &'a Call,
        options: &'a Value,
    ) -> Result<Self, Fault> {
        let format = format(call)?;
        let presenter = Presenter::new(format, kind, resource, &call.info)?;
        let namespace = if kind.namespaced { call.info.namespace.as_str() } else { "" };
        let act = Act {
            server,
            resource,
            kind,
            namespace,
            name: call.info.parts.get(1).map_or("", String::as_str),
            subresource: &call.info.subresource,
            user: &call.user,
            dry_run: call.info.param("dryRun").is_some(),
            admission: true,
            options,
            warnings: &call.warnings,
        };
        Ok(Self { act, presenter })
    }

    /// An answer with an object as stored.
    fn answer(&self, code: u16, object: &Value) -> Result<Response, Fault> {
        let is_object = object.get("kind").and_then(Value::as_str) == Some(self.act.resource.kind.kind);
        if is_object {
            return self.presenter.answer(code, &object::encode(self.act.resource.kind, object)?);
        }
        crate::present::document(self.presenter.format(), code, object.to_string().into())
    }

    /// A request's object in the version it is stored in.
    fn stored_form(&self, mut object: Value) -> Value {
        convert::convert(&mut object, self.act.kind, self.act.resource.kind);
        object
    }
}

/// What format the answer to a request shall have.
pub(crate) fn format(call: &Call) -> Result<Format, Fault> {
    negotiation::accept(
        &call.parts.headers,
        call.info.param("pretty").is_some_and(|p| p == "true" || p == "1"),
        true,
    )
}
