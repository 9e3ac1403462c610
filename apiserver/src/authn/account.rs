//! Whether what a service account token says still holds: the account, and what the token is bound to, must exist.

use jiff::Timestamp;
use serde_json::Value;

use crate::object;
use crate::request::User;
use crate::server::Server;
use crate::token::claims::{Claims, LEEWAY, Reference};

/// What begins the names of what the authenticator adds to users.
const EXTRA: &str = "authentication.kubernetes.io/";

/// What is told of a token whose object is gone.
const INVALIDATED: &str = "service account token has been invalidated";

/// The user that a proven token makes of its bearer.
///
/// # Errors
/// Where it is out of time or something it names is gone, in upstream's words.
pub(super) async fn user(server: &Server, claims: &Claims, now: Timestamp) -> Result<User, String> {
    claims.in_time(now.as_second())?;
    let says = &claims.kubernetes;
    let (namespace, account) = (says.namespace.as_str(), &says.serviceaccount);
    let found = look(server, "serviceaccounts", namespace, account).await;
    let found =
        found.ok_or_else(|| format!("serviceaccounts {} not found", crate::field::quoted(&account.name)))?;
    same(&found, account, "service account UID", "claim")?;
    if is_dead(&found, now) {
        return Err(format!("service account {namespace}/{} has been deleted", account.name));
    }
    if let Some(secret) = &says.secret {
        exists(server, "secrets", namespace, secret, "secret", now).await?;
    }
    if let Some(pod) = &says.pod {
        exists(server, "pods", namespace, pod, "pod", now).await?;
    } else if let Some(node) = &says.node {
        exists(server, "nodes", "", node, "node", now).await?;
    }
    Ok(named(claims))
}

/// The user without any check.
fn named(claims: &Claims) -> User {
    let says = &claims.kubernetes;
    let mut user = User {
        name: format!("system:serviceaccount:{}:{}", says.namespace, says.serviceaccount.name),
        uid: says.serviceaccount.uid.clone(),
        groups: vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{}", says.namespace),
        ],
        ..User::default()
    };
    let mut add = |key: &str, value: String| {
        if !value.is_empty() {
            user.extra.insert(format!("{EXTRA}{key}"), vec![value]);
        }
    };
    if !claims.jti.is_empty() {
        add("credential-id", format!("JTI={}", claims.jti));
    }
    if let Some(pod) = &says.pod {
        add("pod-name", pod.name.clone());
        add("pod-uid", pod.uid.clone());
    }
    if let Some(node) = &says.node {
        add("node-name", node.name.clone());
        add("node-uid", node.uid.clone());
    }
    user
}

/// An object of the core group; out of the cache unless it is missing there or another one of the same name.
async fn look(server: &Server, resource: &str, namespace: &str, wanted: &Reference) -> Option<Value> {
    let cached = server.get("", resource, namespace, &wanted.name).map(|entry| entry.value());
    if let Some(object) = cached.filter(|object| object::meta(object, "uid") == wanted.uid) {
        return Some(object);
    }
    server.read("", resource, namespace, &wanted.name).await.ok().flatten()
}

async fn exists(
    server: &Server,
    resource: &str,
    namespace: &str,
    wanted: &Reference,
    kind: &str,
    now: Timestamp,
) -> Result<(), String> {
    let found = look(server, resource, namespace, wanted).await;
    let found = found.ok_or(INVALIDATED)?;
    same(&found, wanted, &format!("{kind} UID"), &format!("service account {kind} ref claim"))?;
    if is_dead(&found, now) { Err(INVALIDATED.to_owned()) } else { Ok(()) }
}

fn same(found: &Value, wanted: &Reference, what: &str, claim: &str) -> Result<(), String> {
    let uid = object::meta(found, "uid");
    if uid == wanted.uid {
        return Ok(());
    }
    Err(format!("{what} ({uid}) does not match {claim} ({})", wanted.uid))
}

/// Whether an object was to be gone a while ago.
fn is_dead(object: &Value, now: Timestamp) -> bool {
    let deleted: Option<Timestamp> = object::meta(object, "deletionTimestamp").parse().ok();
    deleted.is_some_and(|deleted| deleted.as_second() < now.as_second() - LEEWAY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::claims::Private;

    #[test]
    fn users_of_tokens() {
        let named_so = |name: &str| Some(Reference { name: name.into(), uid: String::new() });
        let claims = Claims {
            jti: "j".into(),
            kubernetes: Private {
                namespace: "x".into(),
                serviceaccount: Reference { name: "a".into(), uid: "u".into() },
                node: named_so("n"),
                pod: named_so("p"),
                ..Private::default()
            },
            ..Claims::default()
        };
        let user = named(&claims);
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("system:serviceaccount:x:a", "u"));
        assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:x"]);
        let extra: Vec<&str> = user.extra.keys().map(|key| key.trim_start_matches(EXTRA)).collect();
        assert_eq!(extra, ["credential-id", "node-name", "pod-name"]);
    }
}
