//! What can be done with a kind, as OpenAPI v3 has it: one value for each operation.

use proto::kind::{Kind, Subresource};
use serde_json::{Map, Value, json};

/// The media types objects come in.
pub(super) const OBJECTS: &[&str] =
    &["application/json", "application/vnd.kubernetes.protobuf", "application/yaml"];

/// The media types lists come in, which may be watches.
const LISTS: &[&str] = &[
    "application/json",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf",
    "application/vnd.kubernetes.protobuf;stream=watch",
    "application/yaml",
];

/// The media types logs come in.
pub(super) const LOGS: &[&str] =
    &["application/json", "application/vnd.kubernetes.protobuf", "application/yaml", "text/plain"];

/// The media types of patches.
const PATCHES: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// A parameter: its name, its type, what it does.
pub(super) type Parameter = (&'static str, &'static str, &'static str);

pub(super) const PRETTY: Parameter =
    ("pretty", "string", "Whether the answer is indented for people: true or false.");

const DRY_RUN: Parameter =
    ("dryRun", "string", "All: do everything but store the result. Nothing else is known.");

/// What creating and replacing take.
const WRITE: &[Parameter] = &[
    DRY_RUN,
    ("fieldManager", "string", "The name under which the fields that this request sets are owned."),
    (
        "fieldValidation",
        "string",
        "What happens to unknown and duplicate fields: Ignore drops them, Warn drops them with a warning, Strict \
         refuses the request.",
    ),
];

/// What patching takes besides.
const FORCE: Parameter = ("force", "boolean", "Whether apply takes fields over that other managers own.");

/// What deleting takes.
const DELETE: &[Parameter] = &[
    DRY_RUN,
    ("gracePeriodSeconds", "integer", "How long the object may take to end; 0 means at once."),
    (
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "boolean",
        "Whether an object that cannot be read any more is deleted unread, finalizers and all.",
    ),
    ("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
    (
        "propagationPolicy",
        "string",
        "What becomes of what the object owns: Orphan, Background or Foreground.",
    ),
];

/// What listing and deleting many take.
const SELECT: &[Parameter] = &[
    ("continue", "string", "Where the page before this one ended, as the server said."),
    ("fieldSelector", "string", "Only objects with these fields."),
    ("labelSelector", "string", "Only objects with these labels."),
    ("limit", "integer", "How many objects there are on a page."),
    ("resourceVersion", "string", "How fresh the answer must be, or where a watch begins."),
    ("resourceVersionMatch", "string", "How resourceVersion is meant: Exact or NotOlderThan."),
    ("sendInitialEvents", "boolean", "Whether a watch begins with the objects that there are."),
    ("shardSelector", "string", "Only objects of these shards."),
    ("timeoutSeconds", "integer", "How long the request may last."),
];

/// What only listing takes.
const WATCH: &[Parameter] = &[
    ("allowWatchBookmarks", "boolean", "Whether a watch may tell how far it is without a change to tell of."),
    ("watch", "boolean", "Whether to tell of changes instead of listing."),
];

/// One version of a group, as names of operations and tags have it.
pub(super) struct Names {
    /// As in `/apis/apps/v1`.
    pub(super) root: String,
    /// As in `AppsV1`.
    pub(super) title: String,
    /// As in `apps_v1`.
    pub(super) tag: String,
}

/// The operations on one kind.
pub(super) struct Operations<'a> {
    pub(super) names: &'a Names,
    pub(super) kind: &'static Kind,
    /// The schema of its objects.
    pub(super) object: Value,
}

impl Operations<'_> {
    fn gvk(&self) -> Value {
        gvk(self.kind.group, self.kind.version, self.kind.kind)
    }

    /// As in `readAppsV1NamespacedDeploymentScale`; a slash in the verb divides what comes before and after the version.
    pub(super) fn id(&self, verb: &str, namespaced: bool, sub: &Subresource) -> String {
        self.name(verb, namespaced, &capitalized(sub.name))
    }

    fn name(&self, verb: &str, namespaced: bool, suffix: &str) -> String {
        let (verb, after) = verb.split_once('/').unwrap_or((verb, ""));
        let spaced = if namespaced && self.kind.namespaced { "Namespaced" } else { "" };
        format!("{verb}{}{after}{spaced}{}{suffix}", self.names.title, self.kind.kind)
    }

    pub(super) fn operation(&self, id: &str, description: &str, action: &str, gvk: Value) -> Value {
        json!({
            "tags": [self.names.tag],
            "description": description,
            "operationId": id,
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": gvk,
        })
    }

    pub(super) fn read(&self, sub: &Subresource) -> Value {
        let description = format!("read {} of the specified {}", sub.name, self.kind.kind);
        self.operation(&self.id("read", true, sub), &description, "get", gvk_of(sub))
    }

    pub(super) fn write(&self, id: &str, text: &str, action: &str, gvk: Value, object: &Value) -> Value {
        let mut operation = self.operation(id, &format!("{text} {}", self.kind.kind), action, gvk);
        let codes: &[u16] = if action == "post" { &[200, 201, 202] } else { &[200, 201] };
        operation["parameters"] = WRITE.iter().map(query).collect();
        operation["requestBody"] = json!({"content": content(&["*/*"], object), "required": true});
        operation["responses"] = responses(codes, OBJECTS, object);
        operation
    }

    pub(super) fn patch(&self, id: &str, text: &str, gvk: Value, object: &Value, patch: &Value) -> Value {
        let mut operation = self.operation(id, &format!("{text} {}", self.kind.kind), "patch", gvk);
        operation["parameters"] = WRITE.iter().chain([&FORCE]).map(query).collect();
        operation["requestBody"] = json!({"content": content(PATCHES, patch), "required": true});
        operation["responses"] = responses(&[200, 201], OBJECTS, object);
        operation
    }

    pub(super) fn list(&self, suffix: &str, list: &Value) -> Value {
        let description = format!("list or watch objects of kind {}", self.kind.kind);
        let id = self.name("list", suffix.is_empty(), suffix);
        let mut operation = self.operation(&id, &description, "list", self.gvk());
        operation["parameters"] = SELECT.iter().chain(WATCH).map(query).collect();
        operation["responses"] = responses(&[200], LISTS, list);
        operation
    }

    pub(super) fn watch(&self, namespaced: bool, suffix: &str, event: &Value) -> Value {
        let (action, what) = if suffix.is_empty() { ("watch", "an object") } else { ("watchlist", "a list") };
        let description = format!(
            "watch changes to {what} of kind {}. deprecated: list with the 'watch' parameter instead.",
            self.kind.kind
        );
        let mut operation =
            self.operation(&self.name("watch", namespaced, suffix), &description, action, self.gvk());
        operation["parameters"] = SELECT.iter().chain(WATCH).map(query).collect();
        operation["responses"] = responses(&[200], LISTS, event);
        operation
    }

    pub(super) fn collection(
        &self,
        list: &Value,
        status: &Value,
        options: &Value,
    ) -> Vec<(&'static str, Value)> {
        let mut all = Vec::new();
        if self.kind.allows("list") {
            all.push(("get", self.list("", list)));
        }
        if self.kind.allows("create") {
            let article = if self.kind.kind.starts_with(['A', 'E', 'I', 'O', 'U']) { "an" } else { "a" };
            let (id, text) = (self.name("create", true, ""), format!("create {article}"));
            all.push(("post", self.write(&id, &text, "post", self.gvk(), &self.object)));
        }
        if self.kind.allows("deletecollection") {
            let id = self.name("delete/Collection", true, "");
            let description = format!("delete collection of {}", self.kind.kind);
            let mut operation = self.operation(&id, &description, "deletecollection", self.gvk());
            operation["parameters"] = DELETE.iter().chain(SELECT).map(query).collect();
            operation["requestBody"] = json!({"content": content(&["*/*"], options)});
            operation["responses"] = responses(&[200], OBJECTS, status);
            all.push(("delete", operation));
        }
        all
    }

    pub(super) fn item(&self, status: &Value, options: &Value, patch: &Value) -> Vec<(&'static str, Value)> {
        let kind = self.kind.kind;
        let mut all = Vec::new();
        if self.kind.allows("get") {
            let (id, description) = (self.name("read", true, ""), format!("read the specified {kind}"));
            let mut operation = self.operation(&id, &description, "get", self.gvk());
            operation["responses"] = responses(&[200], OBJECTS, &self.object);
            all.push(("get", operation));
        }
        if self.kind.allows("update") {
            let id = self.name("replace", true, "");
            all.push(("put", self.write(&id, "replace the specified", "put", self.gvk(), &self.object)));
        }
        if self.kind.allows("delete") {
            let id = self.name("delete", true, "");
            let mut operation = self.operation(&id, &format!("delete {kind}"), "delete", self.gvk());
            let gone = if crate::registry::delete::gives_back(self.kind) { &self.object } else { status };
            operation["parameters"] = DELETE.iter().map(query).collect();
            operation["requestBody"] = json!({"content": content(&["*/*"], options)});
            operation["responses"] = responses(&[200, 202], OBJECTS, gone);
            all.push(("delete", operation));
        }
        if self.kind.allows("patch") {
            let id = self.name("patch", true, "");
            let text = "partially update the specified";
            all.push(("patch", self.patch(&id, text, self.gvk(), &self.object, patch)));
        }
        all
    }
}

pub(super) fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

pub(super) fn query(parameter: &Parameter) -> Value {
    let (name, kind, description) = parameter;
    json!({"name": name, "in": "query", "description": description, "schema": {"type": kind, "uniqueItems": true}})
}

pub(super) fn content(types: &[&str], body: &Value) -> Value {
    types.iter().map(|kind| ((*kind).to_owned(), json!({"schema": body}))).collect::<Map<_, _>>().into()
}

pub(super) fn responses(codes: &[u16], types: &[&str], body: &Value) -> Value {
    let mut all = Map::new();
    for code in codes {
        let description = match code {
            201 => "Created",
            202 => "Accepted",
            _ => "OK",
        };
        all.insert(code.to_string(), json!({"description": description, "content": content(types, body)}));
    }
    all.insert("401".into(), json!({"description": "Unauthorized"}));
    all.into()
}

pub(super) fn gvk(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

pub(super) fn gvk_of(sub: &Subresource) -> Value {
    gvk(sub.group, sub.version, sub.kind)
}
