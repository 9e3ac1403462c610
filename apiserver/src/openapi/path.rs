//! The paths of a version and what can be done there, as OpenAPI v3 has them.

use proto::field::{self, Message, Type};
use proto::kind::{Kind, Subresource, api_version};
use serde_json::{Map, Value, json};

use super::operation::{LOGS, Names, OBJECTS, Operations, PRETTY, capitalized, gvk_of, query, responses};
use super::schema;

/// The paths of one version, and the messages that they name.
#[derive(Debug, Default)]
pub(super) struct Paths {
    pub(super) items: Vec<(String, Value)>,
    pub(super) messages: Vec<&'static Message>,
    /// Schemas of what has no message.
    pub(super) schemas: Vec<(String, Value)>,
    /// The groups and versions that they belong to.
    pub(super) versions: Vec<(&'static str, &'static str)>,
}

/// One path that is only read.
pub(super) fn plain(
    path: &str,
    id: &str,
    tag: &str,
    description: &str,
    types: &[&str],
    body: &Value,
) -> Paths {
    let operation = json!({
        "tags": [tag],
        "description": description,
        "operationId": id,
        "responses": responses(&[200], types, body),
    });
    Paths { items: vec![(path.to_owned(), json!({"get": operation}))], ..Paths::default() }
}

/// A path that shows what there is, with a kind that all groups share.
pub(super) fn discovery(path: &str, id: &str, tag: &str, description: &str, kind: &str) -> Paths {
    let mut shared = Paths::default();
    let body = shared.meta(kind);
    let paths = plain(&format!("{path}/"), id, tag, description, OBJECTS, &body);
    Paths { messages: shared.messages, ..paths }
}

/// A group's name as names of operations have it: `RbacAuthorization` or, for tags, `rbacAuthorization`.
pub(super) fn title(group: &str, capital: bool) -> String {
    let name = group.strip_suffix(".k8s.io").unwrap_or(group);
    let name = if name.is_empty() { "core" } else { name };
    let parts = name.split('.').enumerate();
    parts
        .map(|(place, part)| if place > 0 || capital { capitalized(part) } else { part.to_owned() })
        .collect()
}

/// The paths of a version with these kinds.
pub(super) fn of_version(group: &'static str, version: &'static str, kinds: &[&'static Kind]) -> Paths {
    let prefix = if group.is_empty() { "/api" } else { "/apis" };
    let names = Names {
        root: format!("{prefix}/{}", api_version(group, version)),
        title: format!("{}{}", title(group, true), capitalized(version)),
        tag: format!("{}_{version}", title(group, false)),
    };
    let id = format!("get{}APIResources", names.title);
    let mut paths = discovery(&names.root, &id, &names.tag, "get available resources", "APIResourceList");
    for kind in kinds {
        paths.kind(&names, kind);
    }
    paths.versions.push(("", "v1"));
    if !group.is_empty() {
        paths.versions.push((group, version));
    }
    paths.items.sort_by(|a, b| a.0.cmp(&b.0));
    paths
}

impl Paths {
    /// A reference to one of the messages that all groups share.
    fn meta(&mut self, kind: &str) -> Value {
        self.named(field::message(&format!("k8s.io.apimachinery.pkg.apis.meta.v1.{kind}")))
    }

    fn named(&mut self, message: Option<&'static Message>) -> Value {
        let Some(message) = message else { return json!({"type": "object"}) };
        self.messages.push(message);
        schema::reference(message)
    }

    fn kind(&mut self, names: &Names, kind: &'static Kind) {
        let spaced = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
        let (collection, plain) =
            (format!("{}{spaced}/{}", names.root, kind.plural), format!("{}/{}", names.root, kind.plural));
        let operations = Operations { names, kind, object: self.named(field::message(kind.message)) };
        let list =
            if kind.allows("list") { self.named(field::message(kind.list_message)) } else { Value::Null };
        let deletes = kind.allows("delete") || kind.allows("deletecollection");
        let patches = kind.allows("patch") || kind.subresources.iter().any(|sub| sub.allows("patch"));
        let mut shared = |is_used: bool, name| if is_used { self.meta(name) } else { Value::Null };
        let (status, options) = (shared(deletes, "Status"), shared(deletes, "DeleteOptions"));
        let patch = shared(patches, "Patch");
        let one = operations.collection(&list, &status, &options);
        self.push(collection.clone(), one, kind.namespaced, false);
        let one = operations.item(&status, &options, &patch);
        self.push(format!("{collection}/{{name}}"), one, kind.namespaced, true);
        for sub in kind.subresources {
            self.subresource(&operations, sub, &format!("{collection}/{{name}}/{}", sub.name), &patch);
        }
        if kind.namespaced && kind.allows("list") {
            self.push(plain, vec![("get", operations.list("ForAllNamespaces", &list))], false, false);
        }
        if kind.allows("watch") {
            self.watches(&operations, spaced);
        }
    }

    /// The deprecated paths of watches.
    fn watches(&mut self, operations: &Operations<'_>, spaced: &str) {
        let (kind, root) = (operations.kind, &operations.names.root);
        let event = self.meta("WatchEvent");
        let everywhere = if kind.namespaced { "ListForAllNamespaces" } else { "List" };
        let all = [
            (format!("{root}/watch/{}", kind.plural), false, everywhere, false),
            (format!("{root}/watch{spaced}/{}", kind.plural), kind.namespaced, "List", false),
            (format!("{root}/watch{spaced}/{}/{{name}}", kind.plural), kind.namespaced, "", true),
        ];
        for (path, namespaced, suffix, named) in all {
            if self.items.iter().any(|(known, _)| *known == path) {
                continue;
            }
            let operation = operations.watch(namespaced, suffix, &event);
            self.push(path, vec![("get", operation)], namespaced, named);
        }
    }

    fn subresource(&mut self, operations: &Operations<'_>, sub: &Subresource, path: &str, patch: &Value) {
        let namespaced = operations.kind.namespaced;
        if sub.kind.ends_with("Options") {
            let query = options(sub.kind);
            self.connect(operations, sub, path, "", &query);
            if sub.name == "proxy" {
                self.connect(operations, sub, &format!("{path}/{{path}}"), "WithPath", &query);
            }
            return;
        }
        if sub.name == "log" {
            let mut operation = operations.read(sub);
            operation["responses"] = responses(&[200], LOGS, &json!({"type": "string"}));
            operation["parameters"] = options("PodLogOptions").into();
            self.push(path.to_owned(), vec![("get", operation)], namespaced, true);
            return;
        }
        let object = self.named(field::of_kind(sub.group, sub.version, sub.kind));
        let mut all = Vec::new();
        if sub.allows("get") {
            let mut operation = operations.read(sub);
            operation["responses"] = responses(&[200], OBJECTS, &object);
            all.push(("get", operation));
        }
        if sub.allows("create") {
            let (id, text) = (operations.id("create", true, sub), format!("create {} of", sub.name));
            let operation = operations.write(&id, &text, "post", gvk_of(sub), &object);
            all.push(("post", operation));
        }
        if sub.allows("update") {
            let (id, text) =
                (operations.id("replace", true, sub), format!("replace {} of the specified", sub.name));
            all.push(("put", operations.write(&id, &text, "put", gvk_of(sub), &object)));
        }
        if sub.allows("patch") {
            let text = format!("partially update {} of the specified", sub.name);
            let id = operations.id("patch", true, sub);
            all.push(("patch", operations.patch(&id, &text, gvk_of(sub), &object, patch)));
        }
        self.push(path.to_owned(), all, namespaced, true);
    }

    fn connect(
        &mut self,
        operations: &Operations<'_>,
        sub: &Subresource,
        path: &str,
        suffix: &str,
        query: &[Value],
    ) {
        let verbs =
            [("get", "get"), ("create", "post"), ("update", "put"), ("delete", "delete"), ("patch", "patch")];
        let mut methods: Vec<&str> =
            verbs.iter().filter(|(verb, _)| sub.allows(verb)).map(|(_, method)| *method).collect();
        if sub.name == "proxy" {
            methods.extend(["head", "options"]);
        }
        let all = methods.into_iter().map(|method| {
            let id = operations.id(&format!("connect/{}", capitalized(method)), true, sub) + suffix;
            let description = format!(
                "connect {} requests to {} of {}",
                method.to_uppercase(),
                sub.name,
                operations.kind.kind
            );
            let mut operation = operations.operation(&id, &description, "connect", gvk_of(sub));
            operation["responses"] = responses(&[200], &["*/*"], &json!({"type": "string"}));
            operation["parameters"] = query.into();
            (method, operation)
        });
        self.push_without(path.to_owned(), all.collect(), operations.kind.namespaced, true);
    }

    fn push(&mut self, path: String, operations: Vec<(&'static str, Value)>, namespaced: bool, named: bool) {
        let parameters = vec![query(&PRETTY)];
        self.push_with(path, operations, namespaced, named, parameters);
    }

    fn push_without(&mut self, path: String, operations: Vec<(&str, Value)>, namespaced: bool, named: bool) {
        self.push_with(path, operations, namespaced, named, Vec::new());
    }

    /// Adds a path. What all its operations take is said once.
    fn push_with(
        &mut self,
        path: String,
        mut operations: Vec<(&str, Value)>,
        namespaced: bool,
        named: bool,
        mut parameters: Vec<Value>,
    ) {
        if operations.is_empty() {
            return;
        }
        let of = |operation: &Value| operation["parameters"].as_array().cloned().unwrap_or_default();
        let mut shared = of(&operations[0].1);
        for (_, operation) in &operations[1..] {
            let others = of(operation);
            shared.retain(|parameter| others.contains(parameter));
        }
        for (_, operation) in &mut operations {
            let mut own = of(operation);
            own.retain(|parameter| !shared.contains(parameter));
            own.sort_by(by_name);
            if let Some(operation) = operation.as_object_mut() {
                operation.remove("parameters");
                if !own.is_empty() {
                    operation.insert("parameters".into(), own.into());
                }
            }
        }
        parameters.extend(shared);
        let of_path = [("namespace", namespaced), ("name", named), ("path", path.contains("{path}"))];
        parameters.extend(of_path.iter().filter(|(_, is)| *is).map(|(name, _)| in_path(name)));
        parameters.sort_by(by_name);
        let mut item: Map<String, Value> =
            operations.into_iter().map(|(method, operation)| (method.to_owned(), operation)).collect();
        item.insert("parameters".into(), parameters.into());
        self.items.push((path, item.into()));
    }
}

fn by_name(a: &Value, b: &Value) -> std::cmp::Ordering {
    let key = |one: &Value| {
        (
            one["name"].as_str().unwrap_or_default().to_owned(),
            one["in"].as_str().unwrap_or_default().to_owned(),
        )
    };
    key(a).cmp(&key(b))
}

fn in_path(name: &str) -> Value {
    let description = match name {
        "namespace" => "The namespace of the object.",
        "name" => "The name of the object.",
        _ => "The path at the other end.",
    };
    json!({"name": name, "in": "path", "description": description, "required": true,
        "schema": {"type": "string", "uniqueItems": true}})
}

/// The query that an options kind stands for.
fn options(kind: &str) -> Vec<Value> {
    let Some(message) = field::of_kind("", "v1", kind) else { return Vec::new() };
    let fields = message.fields().iter().filter(|field| field.kind() != Type::Nested);
    fields
        .map(|field| {
            let kind = match field.kind() {
                Type::Bool => "boolean",
                Type::Int32 | Type::Int64 => "integer",
                _ => "string",
            };
            json!({"name": field.json(), "in": "query", "schema": {"type": kind, "uniqueItems": true}})
        })
        .collect()
}
