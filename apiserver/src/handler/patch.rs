//! Patch of stored resources: the patch is applied to the latest state, again while others are faster.

use proto::kind::Kind;
use proto::{codec, patch as patching};
use serde_json::Value;

use super::content::{Strictness, scheme};
use super::{Scope, write};
use crate::convert::convert;
use crate::fault::Fault;
use crate::field::{FieldError, quoted};
use crate::negotiation::content_type;
use crate::object::meta;
use crate::registry::update::Part;
use crate::request::{Call, Response};
use crate::resource::Resource;
use crate::server::Server;

/// The three kinds of patches that are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Json,
    Merge,
    Strategic,
}

impl Way {
    fn read(media_type: &str) -> Option<Self> {
        match media_type {
            "application/json-patch+json" => Some(Self::Json),
            "application/merge-patch+json" => Some(Self::Merge),
            "application/strategic-merge-patch+json" => Some(Self::Strategic),
            _ => None,
        }
    }

    /// The patched object, not judged yet.
    fn apply(self, message: &str, object: &Value, patch: &Value) -> Result<Value, patching::Error> {
        match self {
            Self::Json => patching::json(object, patch),
            Self::Merge => patching::merge(object, patch),
            Self::Strategic => patching::strategic(message, object, patch),
        }
    }

    fn fault(self, error: patching::Error) -> Fault {
        match error {
            patching::Error::Decode(why) if self == Self::Strategic => Fault::bad_request(why),
            patching::Error::Decode(why) => Fault::bad_request(format!("error decoding patch: {why}")),
            patching::Error::TooManyOperations(_) => Fault::too_large(error.to_string()),
            patching::Error::Operation(_) => {
                let message = "the server rejected our request due to an error in our request";
                let mut fault = Fault::new(422, "Invalid", message);
                fault.details = Some(Box::default());
                fault
            }
            patching::Error::Format(why) => Fault::bad_request(why),
            patching::Error::Merge(why) => Fault::new(500, "", why),
        }
    }
}

/// A patch and how it is judged.
pub(crate) struct Patch<'a> {
    way: Way,
    value: Value,
    strictness: Strictness,
    call: &'a Call,
}

impl<'a> Patch<'a> {
    /// The patch in a request.
    ///
    /// # Errors
    /// 415 where it is of no kind that is taken, 400 where it cannot be read.
    pub(crate) fn read(call: &'a Call) -> Result<Self, Fault> {
        let Some(way) = Way::read(&content_type(&call.parts.headers)) else {
            let mut fault = Fault::new(415, "UnsupportedMediaType", "415: Unsupported Media Type");
            fault.details = Some(Box::default());
            return Err(fault);
        };
        let value = patching::parse(&call.body).map_err(|error| way.fault(error))?;
        Ok(Self { way, value, strictness: Strictness::read(call), call })
    }

    /// The patched object in the version of the request.
    pub(crate) fn apply(&self, kind: &Kind, object: &Value) -> Result<Value, Fault> {
        let patched =
            self.way.apply(kind.message, object, &self.value).map_err(|error| self.way.fault(error))?;
        let refuse = |why: String| {
            let shown = match self.way {
                Way::Strategic => patching::shown(&self.value),
                _ => patched.to_string(),
            };
            Fault::invalid("", "", "", &[FieldError::invalid("patch", shown, why)]).without_name()
        };
        let (version, name) = (&patched["apiVersion"], &patched["kind"]);
        let is_kind =
            (version.as_str(), name.as_str()) == (Some(kind.api_version().as_str()), Some(kind.kind));
        if self.way != Way::Strategic && !is_kind {
            let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), quoted);
            let (name, version) = (shown(name), shown(version));
            return Err(refuse(format!(
                "no kind {name} is registered for version {version} in scheme {:?}",
                scheme(kind)
            )));
        }
        let (normal, problems) =
            codec::normalize_value(kind.message, &patched).map_err(|error| refuse(error.to_string()))?;
        match self.strictness {
            Strictness::Strict if !problems.is_empty() => {
                return Err(refuse(format!("strict decoding error: {}", problems.join(", "))));
            }
            Strictness::Warn => problems.iter().for_each(|problem| self.call.warnings.add(problem)),
            _ => {}
        }
        Ok(normal)
    }
}

pub(super) async fn patch(
    server: &Server,
    kind: &'static Kind,
    resource: &Resource,
    call: &Call,
) -> Result<Response, Fault> {
    let patch = Patch::read(call)?;
    let options = write::options("PatchOptions", call)?;
    let scope = Scope::new(server, kind, resource, call, &options)?;
    let part = write::part(kind, &call.info.subresource);
    let updated = Box::pin(scope.act.update(part, &|old: Option<&Value>| {
        let old = old.ok_or_else(|| scope.act.not_found())?;
        let mut object = old.clone();
        convert(&mut object, resource.kind, kind);
        let mut new = patch.apply(kind, &object)?;
        same_uid(&new, &object, &scope)?;
        write::same_namespace(&mut new, &scope.act)?;
        write::same_name(&new, &scope.act)?;
        let mut new = scope.stored_form(new);
        (resource.behavior.default)(&mut new);
        Ok(new)
    }))
    .await?;
    debug_assert!(!matches!(part, Part::Whole) || !updated.created, "a patch makes nothing");
    scope.answer(200, &updated.object)
}

/// A patch may not make another object of it.
fn same_uid(new: &Value, old: &Value, scope: &Scope<'_>) -> Result<(), Fault> {
    let (uid, kind) = (meta(new, "uid"), scope.act.kind);
    if uid.is_empty() || uid == meta(old, "uid") {
        return Ok(());
    }
    let error = FieldError::invalid("metadata.uid", uid, "field is immutable");
    let errors = vec![error; crate::registry::update::times_judged(kind)];
    Err(Fault::invalid(kind.group, kind.kind, scope.act.name, &errors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_to_patch() {
        let cases = [
            ("application/json-patch+json", Some(Way::Json)),
            ("application/strategic-merge-patch+json", Some(Way::Strategic)),
            ("application/apply-patch+yaml", None),
            ("application/json", None),
        ];
        for (media_type, expected) in cases {
            assert_eq!(Way::read(media_type), expected, "{media_type}");
        }
    }
}
