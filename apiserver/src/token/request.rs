//! `serviceaccounts/token`: a token for an account, perhaps bound to a pod, a secret or a node.

use jiff::{SignedDuration, Timestamp};
use proto::kind::{Encoding, Kind, Served};
use serde_json::{Value, json};

use super::claims::{self, Claims, Private, Reference};
use crate::admission::{self, Attributes, Operation};
use crate::fault::Fault;
use crate::field::FieldError;
use crate::kind::fill;
use crate::object;
use crate::question;
use crate::request::{Call, Response};
use crate::server::Server;
use crate::subresource::Subresource;

pub(crate) const TABLE: &[Subresource] = &[Subresource {
    group: "",
    resource: "serviceaccounts",
    name: "token",
    handler: |server, call| Box::pin(token(server, call)),
}];

const GROUP: &str = "authentication.k8s.io";

/// The shape of requests; it is no resource's, so the table of kinds does not have it.
const REQUEST: Kind = Kind {
    group: GROUP,
    version: "v1",
    kind: "TokenRequest",
    plural: "serviceaccounts",
    singular: "",
    short_names: &[],
    categories: &[],
    verbs: &["create"],
    namespaced: true,
    subresources: &[],
    message: "k8s.io.api.authentication.v1.TokenRequest",
    list_kind: "",
    list_message: "",
    served: Served::Default,
    stored: false,
    storage_version: "",
    etcd_prefix: "",
    storage_version_hash: "",
    storage_encoding: Encoding::Protobuf,
};

/// The life of a token whose request does not say, in seconds.
const USUAL_LIFE: i64 = 3600;

/// The shortest life of a token, in seconds: shorter ones would mostly be renewed.
const SHORTEST_LIFE: i64 = 600;

/// The longest life of a token, in seconds.
const LONGEST_LIFE: i64 = 1 << 32;

async fn token(server: &Server, call: Call) -> Result<Response, Fault> {
    let Some(issuer) = server.tokens().issuer() else { return Err(Fault::no_such_path()) };
    let mut request = question::read(&call, &REQUEST)?;
    let (namespace, name) = (call.info.namespace.as_str(), call.info.name.as_str());
    fill::put(fill::child(&mut request, "spec"), "expirationSeconds", USUAL_LIFE.into());
    let attributes = attributes(&call);
    admission::admit(&attributes, &mut request, server).await?;
    is_about(&request, namespace, name)?;
    let account = found(server, "serviceaccounts", namespace, name).await?;
    let now = object::now();
    is_same(&request, &account, name)?;
    complete(&mut request, &account, server.tokens().audiences(), now);
    let errors = validate(&request);
    if !errors.is_empty() {
        return Err(Fault::invalid(GROUP, REQUEST.kind, "", &errors));
    }
    admission::validate(&attributes, &request, server).await?;
    let bound = bound(server, &request, namespace, name).await?;
    shorten(server, &call, &mut request);
    let claims = claims(server, &request, &account, bound, issuer, now);
    let signed = server.tokens().sign(&claims).ok_or_else(Fault::no_such_path)?;
    let signed = signed.map_err(|error| Fault::internal(format!("failed to generate token: {error}")))?;
    let life = fill::int(&request, "spec.expirationSeconds").unwrap_or_default();
    let end = now.saturating_add(SignedDuration::from_secs(life)).unwrap_or(Timestamp::MAX);
    request["status"] = json!({"token": signed, "expirationTimestamp": object::time(end)});
    question::answer(&call, &REQUEST, &request)
}

/// What admission is told of a request.
fn attributes(call: &Call) -> Attributes<'_> {
    Attributes {
        operation: Operation::Create,
        group: "",
        version: "v1",
        kind: REQUEST.kind,
        resource: REQUEST.plural,
        subresource: "token",
        namespace: &call.info.namespace,
        name: &call.info.name,
        user: &call.user,
        old: None,
        dry_run: call.info.param("dryRun").is_some(),
        options: &Value::Null,
        warnings: &call.warnings,
    }
}

/// A request may name its account again, but no other.
fn is_about(request: &Value, namespace: &str, name: &str) -> Result<(), Fault> {
    for (field, right) in [("name", name), ("namespace", namespace)] {
        let given = object::meta(request, field);
        if !given.is_empty() && given != right {
            let detail = format!(
                "must match the service account {} if specified",
                if field == "name" { "name" } else { "namespace" }
            );
            let error = FieldError::invalid(format!("metadata.{field}"), given, detail);
            return Err(Fault::invalid(GROUP, REQUEST.kind, name, &[error]));
        }
    }
    Ok(())
}

/// A request may say which account of that name it means.
fn is_same(request: &Value, account: &Value, name: &str) -> Result<(), Fault> {
    let (given, uid) = (object::meta(request, "uid"), object::meta(account, "uid"));
    if given.is_empty() || given == uid {
        return Ok(());
    }
    let why = format!(
        "the UID in the token request ({given}) does not match the UID of the service account ({uid})"
    );
    Err(Fault::conflict(GROUP, REQUEST.kind, name, &why))
}

/// Fills in what the request leaves out.
fn complete(request: &mut Value, account: &Value, audiences: &[String], now: Timestamp) {
    for field in ["name", "namespace", "uid"] {
        object::set_meta(request, field, account["metadata"].get(field).cloned());
    }
    object::set_meta(request, "creationTimestamp", Some(object::time(now).into()));
    if fill::list(request, "spec.audiences").is_empty() {
        request["spec"]["audiences"] = json!(audiences);
    }
}

fn validate(request: &Value) -> Vec<FieldError> {
    let life = fill::int(request, "spec.expirationSeconds").unwrap_or_default();
    let wrong = |detail: &str| vec![FieldError::invalid("spec.expirationSeconds", life, detail)];
    match life {
        ..SHORTEST_LIFE => wrong("may not specify a duration less than 10 minutes"),
        SHORTEST_LIFE..=LONGEST_LIFE => Vec::new(),
        _ => wrong("may not specify a duration larger than 2^32 seconds"),
    }
}

/// An object of the core group that a request needs.
async fn found(server: &Server, resource: &str, namespace: &str, name: &str) -> Result<Value, Fault> {
    let object = server.read("", resource, namespace, name).await?;
    object.ok_or_else(|| Fault::not_found("", resource, name))
}

fn reference(object: &Value) -> Reference {
    Reference { name: object::meta(object, "name").to_owned(), uid: object::meta(object, "uid").to_owned() }
}

/// What the token shall be bound to, as the claims say it.
async fn bound(server: &Server, request: &Value, namespace: &str, account: &str) -> Result<Private, Fault> {
    let Some(wanted) = fill::find(request, "spec.boundObjectRef") else { return Ok(Private::default()) };
    let (kind, name) = (fill::text(wanted, "kind"), fill::text(wanted, "name"));
    let api_version = fill::text(wanted, "apiVersion");
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let mut bound = Private::default();
    let reference = match (group, kind) {
        ("", "Pod") => {
            let pod = found(server, "pods", namespace, name).await?;
            if fill::text(&pod, "spec.serviceAccountName") != account {
                return Err(Fault::bad_request(format!(
                    "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
                )));
            }
            bound.node = node_of(server, &pod).await?;
            bound.pod.insert(reference(&pod))
        }
        ("", "Secret") => bound.secret.insert(reference(&found(server, "secrets", namespace, name).await?)),
        ("", "Node") => bound.node.insert(reference(&found(server, "nodes", "", name).await?)),
        _ => {
            let message = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(Fault::bad_request(message));
        }
    };
    let uid = fill::text(wanted, "uid");
    if !uid.is_empty() && uid != reference.uid {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have \
             been deleted and then recreated"
        );
        return Err(Fault::conflict(group, kind, name, &why));
    }
    Ok(bound)
}

/// The node of a pod; by its name alone where it does not exist.
async fn node_of(server: &Server, pod: &Value) -> Result<Option<Reference>, Fault> {
    let name = fill::text(pod, "spec.nodeName");
    if name.is_empty() {
        return Ok(None);
    }
    let node = server.read("", "nodes", "", name).await?;
    let by_name = || Reference { name: name.to_owned(), uid: String::new() };
    Ok(Some(node.as_ref().map_or_else(by_name, reference)))
}

/// Cuts the life down to what the server allows.
fn shorten(server: &Server, call: &Call, request: &mut Value) {
    let most =
        i64::try_from(server.settings().service_account_max_token_expiration.as_secs()).unwrap_or(i64::MAX);
    let asked = fill::int(request, "spec.expirationSeconds").unwrap_or_default();
    if most > 0 && asked > most {
        call.warnings.add(format!("requested expiration of {asked} seconds shortened to {most} seconds"));
        request["spec"]["expirationSeconds"] = most.into();
    }
}

fn claims(
    server: &Server,
    request: &Value,
    account: &Value,
    bound: Private,
    issuer: &str,
    now: Timestamp,
) -> Claims {
    let named: Vec<String> =
        fill::list(request, "spec.audiences").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let own = server.tokens().audiences();
    let for_api = named.iter().all(|name| own.contains(name));
    let asked = fill::int(request, "spec.expirationSeconds").unwrap_or_default();
    let extend = server.settings().service_account_extend_token_expiration;
    let (life, warn) = claims::life(asked, bound.pod.is_some(), for_api, extend);
    let (now, account) = (now.as_second(), reference(account));
    let namespace = object::meta(request, "namespace").to_owned();
    Claims {
        aud: named,
        exp: now + life,
        iat: now,
        iss: issuer.to_owned(),
        jti: uuid::Uuid::new_v4().to_string(),
        nbf: now,
        sub: format!("system:serviceaccount:{namespace}:{}", account.name),
        kubernetes: Private {
            namespace,
            serviceaccount: account,
            warnafter: warn.map(|after| now + after),
            ..bound
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives() {
        for (seconds, fine) in [(599, false), (600, true), (1_i64 << 32, true), ((1_i64 << 32) + 1, false)] {
            assert_eq!(
                validate(&json!({"spec": {"expirationSeconds": seconds}})).is_empty(),
                fine,
                "{seconds}"
            );
        }
    }
}
