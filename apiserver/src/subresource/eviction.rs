//! Evictions: a pod is deleted if the budgets that guard it can spare it.

use proto::kind::{Kind, find};
use serde_json::{Value, json};

use super::Subresource;
use crate::body;
use crate::fault::Fault;
use crate::field::FieldError;
use crate::handler::{self, Scope};
use crate::kind::check;
use crate::kind::fill;
use crate::object::{self, meta};
use crate::registry::delete::Options;
use crate::registry::update::Part;
use crate::registry::{Act, Stored};
use crate::request::{Call, Response};
use crate::server::Server;

mod plan;

use plan::Verdict;

pub(super) const TABLE: &[Subresource] = &[Subresource {
    group: "",
    resource: "pods",
    name: "eviction",
    handler: |server, call| Box::pin(evict(server, call)),
}];

static EVICTION: Kind = super::shape("policy", "v1", "Eviction", "k8s.io.api.policy.v1.Eviction");

/// How often an eviction is tried again while others change the pod: each loss is another writer's win.
const MOST_TRIES: usize = 20;

async fn evict(server: &Server, call: Call) -> Result<Response, Fault> {
    let kind = find("", "v1", "pods").ok_or_else(Fault::no_such_path)?;
    let resource = server.resources().of_kind(kind).ok_or_else(Fault::no_such_path)?;
    let options = handler::options("CreateOptions", &call)?;
    let mut scope = Scope::new(server, kind, resource, &call, &options)?;
    let mut eviction = handler::decode(&call, &EVICTION)?;
    handler::same_namespace(&mut eviction, &scope.act)?;
    if meta(&eviction, "name") != scope.act.name {
        return Err(Fault::bad_request("name in URL does not match name in Eviction object"));
    }
    let delete = delete_options(&eviction, &call)?;
    // The caller was allowed to evict; what follows is ours.
    scope.act.admission = false;
    scope.act.subresource = "";
    scope.act.dry_run = !delete.dry_run.is_empty();
    for _ in 0..MOST_TRIES {
        match attempt(&scope.act, &delete).await {
            Err(fault) if fault.reason == "Conflict" && delete.revision.is_none() => {}
            Err(fault) => return Err(fault),
            Ok(()) => {
                let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                    "code": 201});
                return Ok(body::response(201, "application/json", done.to_string()));
            }
        }
    }
    Err(Fault::conflict("", "pods", scope.act.name, "it changes too fast to be evicted"))
}

/// How the pod shall be deleted: as the eviction says, dry if the request says so.
fn delete_options(eviction: &Value, call: &Call) -> Result<Options, Fault> {
    let given = fill::find(eviction, "deleteOptions").unwrap_or(&Value::Null);
    if fill::flag(given, "ignoreStoreReadErrorWithClusterBreakingPotential") {
        let field = "deleteOptions.ignoreStoreReadErrorWithClusterBreakingPotential";
        let why = "can not be set for pod eviction, try after removing the option";
        let error = FieldError::invalid(field, true, why);
        return Err(Fault::invalid("policy", "Eviction", &call.info.name, &[error]));
    }
    let mut options = Options::read(given);
    let asked: Vec<String> = call.info.values("dryRun").into_iter().map(str::to_owned).collect();
    if options.dry_run.is_empty() {
        options.dry_run = asked;
    } else if !asked.is_empty() && asked != options.dry_run {
        let why = format!(
            "Non-matching dry-run options in request and content: [{}] and [{}]",
            asked.join(" "),
            options.dry_run.join(" ")
        );
        return Err(Fault::new(500, "", why));
    }
    Ok(options)
}

/// One try. A conflict means that the pod has changed since it was looked at.
async fn attempt(act: &Act<'_>, delete: &Options) -> Result<(), Fault> {
    let pod = act.current().await?.ok_or_else(|| act.not_found())?;
    let budgets = budgets(act, &pod.object).await?;
    match plan::judge(&pod.object, &budgets)? {
        Verdict::Free => remove(act, &pod, delete, false).await,
        Verdict::FreeAsSeen => remove(act, &pod, delete, true).await,
        Verdict::Spend(budget) => {
            spend(act, &budget).await?;
            remove(act, &pod, delete, false).await
        }
    }
}

/// The budgets that guard a pod.
async fn budgets(act: &Act<'_>, pod: &Value) -> Result<Vec<Value>, Fault> {
    act.server.fresh().await?;
    let labels = pod["metadata"].get("labels").unwrap_or(&Value::Null);
    let all = act.server.list("policy", "poddisruptionbudgets", act.namespace);
    let guards = |budget: &Value| {
        fill::find(budget, "spec.selector")
            .is_some_and(|selector| check::is_selector(selector) && check::matches(selector, labels))
    };
    Ok(all.iter().map(|entry| entry.value()).filter(guards).collect())
}

/// Takes the pod out of its budget, which may have changed since.
async fn spend(act: &Act<'_>, budget: &str) -> Result<(), Fault> {
    let now = object::time(object::now());
    let change = |budget: &mut Value| plan::spend(budget, act.name, &now);
    if act.dry_run {
        let read = act.server.read("policy", "poddisruptionbudgets", act.namespace, budget).await?;
        return read.map_or(Ok(()), |mut budget| change(&mut budget));
    }
    act.server.update("policy", "poddisruptionbudgets", act.namespace, budget, &change).await.map(drop)
}

/// Says in the pod why it goes, and deletes it; `as_seen`: only in the state in which it was judged.
async fn remove(act: &Act<'_>, seen: &Stored, delete: &Options, as_seen: bool) -> Result<(), Fault> {
    let mut delete = delete.clone();
    if as_seen && delete.revision.is_none() {
        delete.revision = Some(seen.revision.to_string());
    }
    if !act.dry_run {
        let now = object::time(object::now());
        let make = |old: Option<&Value>| {
            let mut pod = old.cloned().ok_or_else(|| act.not_found())?;
            plan::meant(&pod, &delete)?;
            plan::mark(&mut pod, &now);
            Ok(pod)
        };
        let marked = Box::pin(act.update(Part::Free, &make)).await?;
        if delete.revision.is_some() {
            delete.revision = Some(meta(&marked.object, "resourceVersion").to_owned());
        }
    }
    Box::pin(act.delete(&delete)).await.map(drop)
}
