//! Failures as Kubernetes reports them: a `Status` with a code, a reason, a message and details.
//!
//! Everything in this crate that refuses a request returns a [`Fault`]. `resource` arguments are plural names
//! (`pods`), `group` is empty for the core group; texts are upstream's.

use serde_json::{Value, json};

use crate::field::{FieldError, aggregate, quoted};

/// One of the causes of a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The machine readable reason.
    pub reason: String,
    /// For people.
    pub message: String,
    /// The field it is about.
    pub field: String,
}

/// What a failure is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// The object's name.
    pub name: String,
    /// The group of its kind.
    pub group: String,
    /// Its kind, or more often its resource.
    pub kind: String,
    /// Its uid.
    pub uid: String,
    /// One by one, what is wrong.
    pub causes: Vec<Cause>,
    /// After how many seconds another try makes sense; 0: not said.
    pub retry_after_seconds: u32,
}

/// A failure as Kubernetes reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The HTTP status code.
    pub code: u16,
    /// The machine readable reason, in `CamelCase`; may be empty.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// What it is about, if that can be said.
    pub details: Option<Box<Details>>,
    /// How to go on with a list in spite of it; mostly empty.
    pub next: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

/// `pods` or `deployments.apps`: how messages name a resource or a kind with its group.
pub fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

fn about(group: &str, kind: &str, name: &str) -> Option<Box<Details>> {
    Some(Box::new(Details {
        name: name.to_owned(),
        group: group.to_owned(),
        kind: kind.to_owned(),
        ..Details::default()
    }))
}

impl Fault {
    /// A failure without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None, next: String::new() }
    }

    fn detailed(mut self, details: Option<Box<Details>>) -> Self {
        self.details = details;
        self
    }

    /// The same failure in other words.
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// Without the name, the group and the kind it is about, of which there are none.
    pub fn without_name(mut self) -> Self {
        if let Some(details) = &mut self.details {
            (details.name, details.group, details.kind) = Default::default();
        }
        self
    }

    /// Adds a way to go on with the list that failed.
    pub fn with_continue(mut self, token: String) -> Self {
        self.next = token;
        self
    }

    /// Adds the time after which another try makes sense.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }

    /// Adds a cause.
    pub fn cause(mut self, reason: &str, message: impl Into<String>, field: &str) -> Self {
        self.details.get_or_insert_default().causes.push(Cause {
            reason: reason.to_owned(),
            message: message.into(),
            field: field.to_owned(),
        });
        self
    }

    /// There is no such object.
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {} not found", qualified(group, resource), quoted(name));
        Self::new(404, "NotFound", message).detailed(about(group, resource, name))
    }

    /// There is no such path, group, version or resource.
    pub fn no_such_path() -> Self {
        let mut fault = Self::new(404, "NotFound", "the server could not find the requested resource");
        fault.details = Some(Box::default());
        fault
    }

    /// An object of this name exists.
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {} already exists", qualified(group, resource), quoted(name));
        Self::new(409, "AlreadyExists", message).detailed(about(group, resource, name))
    }

    /// The name that was generated exists, and so did all others that were tried.
    pub fn generate_name_conflict(group: &str, resource: &str, name: &str) -> Self {
        Self::already_exists(group, resource, name).retry_after(1)
    }

    /// The object has changed, or a precondition does not hold.
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {}: {why}",
            qualified(group, resource),
            quoted(name)
        );
        Self::new(409, "Conflict", message).detailed(about(group, resource, name))
    }

    /// The object was changed since the caller read it.
    pub fn modified(group: &str, resource: &str, name: &str) -> Self {
        Self::conflict(
            group,
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// The object is not valid; `kind` is the kind, not the resource.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let mut message = format!("{} {} is invalid", qualified(group, kind), quoted(name));
        if !errors.is_empty() {
            message.push_str(": ");
            message.push_str(&aggregate(errors));
        }
        let mut details = about(group, kind, name);
        if let Some(details) = &mut details {
            details.causes = errors
                .iter()
                .map(|error| Cause {
                    reason: error.kind.reason().to_owned(),
                    message: error.body(),
                    field: error.field.clone(),
                })
                .collect();
        }
        Self::new(422, "Invalid", message).detailed(details)
    }

    /// The request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// The caller may not do this with this object.
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message = if name.is_empty() {
            format!("{} is forbidden: {why}", qualified(group, resource))
        } else {
            format!("{} {} is forbidden: {why}", qualified(group, resource), quoted(name))
        };
        Self::new(403, "Forbidden", message).detailed(about(group, resource, name))
    }

    /// The caller may not use this path, which is no resource's.
    pub fn forbidden_path(why: &str) -> Self {
        Self::new(403, "Forbidden", format!("forbidden: {why}")).detailed(Some(Box::default()))
    }

    /// The caller did not say who they are, or could not prove it.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// The resource cannot do this. `action` is the lower-case verb, or the HTTP method where there is no verb.
    pub fn method_not_supported(group: &str, resource: &str, action: &str) -> Self {
        let message =
            format!("{action} is not supported on resources of kind {}", quoted(&qualified(group, resource)));
        Self::new(405, "MethodNotAllowed", message).detailed(about(group, resource, ""))
    }

    /// The path exists but not for this HTTP method.
    pub fn method_not_allowed() -> Self {
        let mut fault = Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        );
        fault.details = Some(Box::default());
        fault
    }

    /// The resource version, or the continue token, is too old.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// The thing is gone for good.
    pub fn gone(message: impl Into<String>) -> Self {
        Self::new(410, "Gone", message)
    }

    /// The request body is too large.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// The body is in no format known here.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// The answer cannot be had in the format asked for.
    pub fn not_acceptable(accepted: &[&str]) -> Self {
        let message = format!("only the following media types are accepted: {}", accepted.join(", "));
        Self::new(406, "NotAcceptable", message)
    }

    /// Too many requests at once, or a budget is used up.
    pub fn too_many_requests(message: impl Into<String>, retry_after: u32) -> Self {
        Self::new(429, "TooManyRequests", message).retry_after(retry_after)
    }

    /// Something broke here.
    pub fn internal(why: impl std::fmt::Display) -> Self {
        let why = why.to_string();
        let mut fault = Self::new(500, "InternalError", format!("Internal error occurred: {why}"));
        fault.details = Some(Box::new(Details {
            causes: vec![Cause { reason: String::new(), message: why, field: String::new() }],
            ..Details::default()
        }));
        fault
    }

    /// It took too long, and may work later.
    pub fn timeout(message: impl Into<String>, retry_after: u32) -> Self {
        Self::new(504, "Timeout", message).retry_after(retry_after)
    }

    /// The server is there but could not do it in time; another try may work at once.
    pub fn server_timeout(group: &str, resource: &str, action: &str, retry_after: u32) -> Self {
        let message = format!(
            "The {action} operation against {} could not be completed at this time, please try again.",
            qualified(group, resource)
        );
        Self::new(500, "ServerTimeout", message)
            .detailed(about(group, resource, action))
            .retry_after(retry_after)
    }

    /// What is needed for this is away.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// The `Status` object that tells of it.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if !self.next.is_empty() {
            status["metadata"]["continue"] = self.next.as_str().into();
        }
        if let Some(details) = &self.details {
            status["details"] = details.json();
        }
        status
    }
}

impl Details {
    fn json(&self) -> Value {
        let mut out = serde_json::Map::new();
        let mut text = |key: &str, value: &str| {
            if !value.is_empty() {
                out.insert(key.to_owned(), value.into());
            }
        };
        text("name", &self.name);
        text("group", &self.group);
        text("kind", &self.kind);
        text("uid", &self.uid);
        if !self.causes.is_empty() {
            out.insert("causes".to_owned(), self.causes.iter().map(Cause::json).collect());
        }
        if self.retry_after_seconds > 0 {
            out.insert("retryAfterSeconds".to_owned(), self.retry_after_seconds.into());
        }
        Value::Object(out)
    }
}

impl Cause {
    fn json(&self) -> Value {
        let mut out = serde_json::Map::new();
        for (key, value) in [("reason", &self.reason), ("message", &self.message), ("field", &self.field)] {
            if !value.is_empty() {
                out.insert(key.to_owned(), value.as_str().into());
            }
        }
        Value::Object(out)
    }
}

impl From<store::Error> for Fault {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Compacted { .. } => {
                Self::expired("The resourceVersion for the provided watch is too old.")
            }
            store::Error::TooLarge => Self::too_large("etcdserver: request is too large"),
            error @ (store::Error::Future { .. } | store::Error::NoLease(_)) => Self::internal(error),
            error @ store::Error::Unavailable(_) => Self::unavailable(error.to_string()).retry_after(1),
        }
    }
}
