//! Patch of stored resources: the patch is applied to the latest state, again while others are faster.

use proto::codec;
use proto::kind::Kind;
use serde_json::Value;

use super::content::Strictness;
use super::{Scope, write};
use crate::fault::Fault;
use crate::negotiation::content_type;
use crate::request::{Call, Response};
use crate::resource::Resource;
use crate::server::Server;

/// The kinds of patches that are taken.
const ACCEPTED: &[&str] = &["application/merge-patch+json"];

pub(super) async fn patch(
    server: &Server,
    kind: &'static Kind,
    resource: &Resource,
    call: &Call,
) -> Result<Response, Fault> {
    let media_type = content_type(&call.parts.headers);
    if !ACCEPTED.contains(&media_type.as_str()) {
        return Err(Fault::unsupported_media_type(ACCEPTED));
    }
    let options = write::options("PatchOptions", call);
    let scope = Scope::new(server, kind, resource, call, &options)?;
    let patch: Value = serde_json::from_slice(&call.body)
        .map_err(|error| Fault::bad_request(format!("error decoding patch: {error}")))?;
    let strictness = Strictness::read(call);
    let make = |old: Option<&Value>| {
        let old = old.ok_or_else(|| scope.act.not_found())?;
        let mut new = old.clone();
        merge(&mut new, &patch);
        let (normal, problems) = codec::normalize_value(resource.kind.message, &new)
            .map_err(|error| Fault::bad_request(error.to_string()))?;
        strictness.judge(&problems, &call.warnings, "error decoding patch")?;
        new = normal;
        write::same_namespace(&mut new, &scope.act)?;
        write::same_name(&mut new, &scope.act)?;
        (resource.behavior.default)(&mut new);
        Ok(new)
    };
    let updated = Box::pin(scope.act.update(write::part(&call.info.subresource), &make)).await?;
    scope.answer(if updated.created { 201 } else { 200 }, &updated.object)
}

fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    let target = crate::object::as_map(target);
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}
