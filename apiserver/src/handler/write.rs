//! Create, update, delete and deletecollection of stored resources.

use proto::kind::Kind;
use serde_json::{Value, json};

use super::{Scope, content, decode};
use crate::fault::Fault;
use crate::field::FieldError;
use crate::object::{meta, set_meta};
use crate::present::ListMeta;
use crate::registry::Act;
use crate::registry::delete::{Deleted, Options};
use crate::registry::update::Part;
use crate::request::{Call, Response};
use crate::resource::Resource;
use crate::select::Selection;
use crate::server::Server;
use crate::subresource;

pub(super) async fn create(
    server: &Server,
    kind: &'static Kind,
    resource: &Resource,
    call: &Call,
) -> Result<Response, Fault> {
    let options = options("CreateOptions", call)?;
    let scope = Scope::new(server, kind, resource, call, &options)?;
    let mut object = decode(call, kind)?;
    same_namespace(&mut object, &scope.act)?;
    let mut object = scope.stored_form(object);
    (resource.behavior.default)(&mut object);
    let created = Box::pin(scope.act.create(object)).await?;
    scope.answer(201, &created)
}

pub(super) async fn update(
    server: &Server,
    kind: &'static Kind,
    resource: &Resource,
    call: &Call,
) -> Result<Response, Fault> {
    let options = options("UpdateOptions", call)?;
    let scope = Scope::new(server, kind, resource, call, &options)?;
    let mut object = decode(call, kind)?;
    same_namespace(&mut object, &scope.act)?;
    same_name(&object, &scope.act)?;
    let mut object = scope.stored_form(object);
    (resource.behavior.default)(&mut object);
    let part = part(kind, &call.info.subresource);
    let finalize = call.info.subresource == "finalize";
    let make = |old: Option<&Value>| {
        Ok(match old {
            Some(old) if finalize => {
                let mut new = old.clone();
                new["spec"]["finalizers"] = object["spec"]["finalizers"].clone();
                set_meta(&mut new, "resourceVersion", object["metadata"].get("resourceVersion").cloned());
                new
            }
            _ => object.clone(),
        })
    };
    let updated = Box::pin(scope.act.update(part, &make)).await?;
    scope.answer(if updated.created { 201 } else { 200 }, &updated.object)
}

/// Which part of an object a subresource changes.
pub(super) fn part(kind: &Kind, subresource: &str) -> Part {
    match subresource {
        "" => Part::Whole,
        "status" => Part::Status,
        name => subresource::rule(kind.group, kind.plural, name).map_or(Part::Free, Part::Own),
    }
}

/// The options of a write, as admission gets them.
///
/// # Errors
/// 422 where one of them makes no sense.
pub(crate) fn options(kind: &str, call: &Call) -> Result<Value, Fault> {
    let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    for name in ["fieldManager", "fieldValidation"] {
        if let Some(value) = call.info.param(name) {
            options[name] = value.into();
        }
    }
    let dry_run = call.info.values("dryRun");
    if !dry_run.is_empty() {
        options["dryRun"] = json!(dry_run);
    }
    let errors = validate_options(kind, call);
    if errors.is_empty() {
        return Ok(options);
    }
    Err(Fault::invalid("meta.k8s.io", kind, "", &errors))
}

/// The longest name of a field manager, in bytes.
const LONGEST_MANAGER: usize = 128;

fn validate_options(kind: &str, call: &Call) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let info = &call.info;
    if kind == "PatchOptions" && info.param("force").is_some() {
        errors.push(FieldError::forbidden("force", "may not be specified for non-apply patch"));
    }
    let manager = info.param("fieldManager").unwrap_or_default();
    if kind != "DeleteOptions" {
        if manager.len() > LONGEST_MANAGER {
            errors.push(FieldError::too_long("fieldManager", LONGEST_MANAGER));
        }
        if let Some((place, bad)) = manager.char_indices().find(|(_, c)| c.is_control()) {
            let detail = format!("invalid character U+{:04X} (at position {place})", bad as u32);
            errors.push(FieldError::invalid("fieldManager", manager, detail));
        }
    }
    let dry_run = info.values("dryRun");
    if dry_run.iter().any(|value| *value != "All") {
        errors.push(FieldError::not_supported("dryRun", json!(dry_run), &["All"]));
    }
    if let Some(strictness) = info.param("fieldValidation")
        && !matches!(strictness, "" | "Ignore" | "Warn" | "Strict")
    {
        errors.push(FieldError::not_supported(
            "fieldValidation",
            strictness,
            &["", "Ignore", "Strict", "Warn"],
        ));
    }
    errors
}

/// The namespace in an object must be the one in the path, or none.
pub(crate) fn same_namespace(object: &mut Value, act: &Act<'_>) -> Result<(), Fault> {
    if !act.kind.namespaced {
        // What has no namespace is in none, whatever it says.
        if !meta(object, "namespace").is_empty() {
            set_meta(object, "namespace", None);
        }
        return Ok(());
    }
    let own = meta(object, "namespace");
    if !own.is_empty() && own != act.namespace {
        return Err(Fault::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    set_meta(object, "namespace", Some(act.namespace.into()));
    Ok(())
}

/// The name in an object must be the one in the path.
pub(crate) fn same_name(object: &Value, act: &Act<'_>) -> Result<(), Fault> {
    let own = meta(object, "name");
    if own.is_empty() {
        return Err(Fault::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            act.name
        )));
    }
    if own != act.name {
        return Err(Fault::bad_request(format!(
            "the name of the object ({own}) does not match the name on the URL ({})",
            act.name
        )));
    }
    Ok(())
}

/// What a deletion was asked to do: in the body, or in the query.
fn delete_options(call: &Call) -> Result<Options, Fault> {
    if !call.body.is_empty() {
        let (found, object) = content::options(call)?;
        if !found.kind.is_empty() && found.kind != "DeleteOptions" {
            return Err(Fault::bad_request(format!(
                "no kind {:?} is registered for version {:?} in scheme \
                 \"pkg/apis/meta/internalversion/scheme/register.go:27\"",
                found.kind, found.api_version
            )));
        }
        return Ok(Options::read(&object));
    }
    let info = &call.info;
    Ok(Options {
        grace: info.number("gracePeriodSeconds")?,
        orphan: info.param("orphanDependents").map(|_| info.flag("orphanDependents")),
        propagation: info.param("propagationPolicy").map(str::to_owned),
        dry_run: info
            .query
            .iter()
            .filter(|(key, _)| key == "dryRun")
            .map(|(_, value)| value.clone())
            .collect(),
        ..Options::default()
    })
}

pub(super) async fn delete(
    server: &Server,
    kind: &'static Kind,
    resource: &Resource,
    call: &Call,
) -> Result<Response, Fault> {
    let delete = delete_options(call)?;
    let options = options("DeleteOptions", call)?;
    let mut scope = Scope::new(server, kind, resource, call, &options)?;
    scope.act.dry_run |= !delete.dry_run.is_empty();
    let deleted = Box::pin(scope.act.delete(&delete)).await?;
    let kept = matches!(deleted, Deleted::Kept(_));
    let code = if kept && delete.orphan == Some(false) { 202 } else { 200 };
    scope.answer(code, &scope.act.deletion_answer(deleted))
}

pub(super) async fn delete_collection(
    server: &Server,
    kind: &'static Kind,
    resource: &Resource,
    call: &Call,
) -> Result<Response, Fault> {
    let delete = delete_options(call)?;
    delete.validate()?;
    let options = options("DeleteOptions", call)?;
    let mut scope = Scope::new(server, kind, resource, call, &options)?;
    scope.act.dry_run |= !delete.dry_run.is_empty();
    let selection = Selection::read(&call.info, resource.behavior)?;
    let found = super::read::listing(server, resource, &call.info, &selection, scope.act.namespace).await?;
    let mut items = Vec::with_capacity(found.items.len());
    for item in found.items {
        let object: Value = serde_json::from_slice(&item).map_err(Fault::internal)?;
        let act = Act { name: meta(&object, "name"), namespace: meta(&object, "namespace"), ..scope.act };
        match Box::pin(act.delete(&delete)).await {
            // Somebody else deleted it: that is what was asked for.
            Err(fault) if fault.code == 404 => {}
            Err(fault) => return Err(fault),
            Ok(_) => items.push(item),
        }
    }
    let meta = ListMeta { revision: server.cache().revision(), ..found.meta };
    scope.presenter.list(200, &meta, items)
}
