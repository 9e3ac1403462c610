//! The password of a node, by which a name stays with the host that took it first.

use anyhow::Context as _;
use client::k8s_openapi::ByteString;
use client::k8s_openapi::api::core::v1::{Node, Secret};
use client::kube::api::PostParams;
use client::kube::{Api, Client};
use client::object::found;
use sha2::{Digest, Sha256};

use super::answer::{same, taken};
use crate::token::{hex, secret};

/// Where the passwords are kept.
const NAMESPACE: &str = "kube-system";

/// The member of the Secret.
const MEMBER: &str = "hash";

/// Looks at the password of a node and keeps it where the name is free: never taken, or taken by a node that is no
/// more. Says why where the name is not to be had.
///
/// # Errors
/// Where the API server does not answer.
pub(crate) async fn check(client: &Client, node: &str, password: &str) -> anyhow::Result<Option<String>> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let name = format!("{node}.node-password.isopod");
    let place = || format!("could not look up the password of the node {node}");
    let kept = found(secrets.get(&name).await).with_context(place)?;
    let Some(mut kept) = kept else {
        let mut new = Secret { type_: Some("isopod/node-password".to_owned()), ..Secret::default() };
        new.metadata.name = Some(name);
        new.data = Some([(MEMBER.to_owned(), salted(password))].into());
        secrets.create(&PostParams::default(), &new).await.with_context(place)?;
        return Ok(None);
    };
    let hash = kept.data.as_ref().and_then(|data| data.get(MEMBER)).map(|bytes| bytes.0.clone());
    if hash.is_some_and(|hash| fits(password, &String::from_utf8_lossy(&hash))) {
        return Ok(None);
    }
    let nodes: Api<Node> = Api::all(client.clone());
    if found(nodes.get(node).await).with_context(place)?.is_some() {
        return Ok(Some(taken(node)));
    }
    kept.data = Some([(MEMBER.to_owned(), salted(password))].into());
    secrets.replace(&name, &PostParams::default(), &kept).await.with_context(place)?;
    Ok(None)
}

/// A hash to keep. Passwords of nodes are random and long, so that nothing slower is called for.
fn salted(password: &str) -> ByteString {
    let salt = secret();
    ByteString(format!("{salt}:{}", digest(&salt, password)).into_bytes())
}

fn fits(password: &str, kept: &str) -> bool {
    kept.split_once(':').is_some_and(|(salt, hash)| same(hash, &digest(salt, password)))
}

fn digest(salt: &str, password: &str) -> String {
    hex(&Sha256::digest(format!("{salt}:{password}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_fits_its_own_hash() {
        let kept = String::from_utf8(salted("p").0).unwrap();
        assert!(fits("p", &kept));
        assert!(!fits("q", &kept));
        assert!(!fits("p", "p"));
    }
}
