//! What the supervisor answers to a node that joins, before anything is signed or looked up.

use std::net::IpAddr;

use sha2::{Digest, Sha256};

use crate::identity::{IDENTITIES, Identity};
use crate::token::{NODE, SERVER};

/// A request, as far as it counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    /// The user and the secret of basic authentication.
    pub(crate) credentials: Option<(&'a str, &'a str)>,
    /// The header with the name of the node.
    pub(crate) node: &'a str,
    /// The header with the secret of that one node.
    pub(crate) password: &'a str,
    /// The header with the addresses of the node.
    pub(crate) addresses: &'a str,
}

/// What is to be done about a request.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Say that somebody is here.
    Pong,
    /// Give the authority of servers' certificates.
    ServerAuthority,
    /// Give the authority of clients' certificates.
    ClientAuthority,
    /// Tell what the cluster has in common.
    Cluster,
    /// Sign the request in the body, if the node's password is right.
    Sign(Wish),
    /// Refuse, with a status and a reason that a person reads.
    Refuse(Refusal),
}

/// A certificate that a node asks for.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) identity: &'static Identity,
    pub(crate) node: String,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) password: String,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) message: String,
}

/// The secrets that let in.
#[derive(Clone)]
pub(crate) struct Secrets {
    pub(crate) server: String,
    pub(crate) agent: String,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

/// What begins the paths of joining nodes: in our spelling and in K3s'.
const PREFIXES: [&str; 2] = ["/v1-isopod/", "/v1-k3s/"];

/// The longest name of a node: that of an object. Characters.
const LONGEST_NAME: usize = 253;

/// Decides about a request. `own` is the name of the server's node, which nobody else may take.
pub(crate) fn answer(asked: Asked<'_>, secrets: &Secrets, own: &str) -> Reply {
    match asked.path {
        "/ping" => return Reply::Pong,
        "/cacerts" => return Reply::ServerAuthority,
        _ => {}
    }
    let Some(what) = PREFIXES.iter().find_map(|prefix| asked.path.strip_prefix(prefix)) else {
        return refuse(404, format!("the supervisor does not serve {}", asked.path));
    };
    if !secrets.admit(asked.credentials) {
        return refuse(401, "the token is not this cluster's; take the one in server/token on a server");
    }
    match (asked.method, what) {
        ("GET", "config") => Reply::Cluster,
        ("GET", "server-ca.crt") => Reply::ServerAuthority,
        ("GET", "client-ca.crt") => Reply::ClientAuthority,
        ("GET", "readyz") => Reply::Pong,
        ("POST", what) => match what.strip_suffix(".crt").and_then(identity) {
            Some(identity) => sign(asked, identity, own),
            None => refuse(404, format!("there is no identity {what}")),
        },
        (method, what) => refuse(404, format!("the supervisor does not serve {method} of {what}")),
    }
}

fn identity(stem: &str) -> Option<&'static Identity> {
    IDENTITIES.iter().find(|identity| identity.stem == stem)
}

fn sign(asked: Asked<'_>, identity: &'static Identity, own: &str) -> Reply {
    if !is_name(asked.node) {
        return refuse(
            400,
            format!("{:?} is no name of a node: lower case letters, digits, dashes and dots", asked.node),
        );
    }
    if asked.node == own {
        return refuse(403, taken(asked.node));
    }
    if asked.password.is_empty() {
        return refuse(400, "the header Isopod-Node-Password is missing");
    }
    let texts = asked.addresses.split(',').map(str::trim).filter(|text| !text.is_empty());
    match texts.map(str::parse).collect() {
        Ok(addresses) => Reply::Sign(Wish {
            identity,
            node: asked.node.to_owned(),
            addresses,
            password: asked.password.to_owned(),
        }),
        Err(_) => refuse(400, format!("{:?} are no addresses of a node", asked.addresses)),
    }
}

/// Why a node may not have this name.
pub(crate) fn taken(node: &str) -> String {
    format!(
        "another host has joined as {node:?}; give --node-name, or delete the node {node} if that host is no more"
    )
}

fn refuse(code: u16, message: impl Into<String>) -> Reply {
    Reply::Refuse(Refusal { code, message: message.into() })
}

/// Whether a text can be the name of a node: a DNS subdomain as RFC 1123 has it.
fn is_name(text: &str) -> bool {
    let good = |label: &str| {
        let inner = label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        inner && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= LONGEST_NAME && text.split('.').all(good)
}

impl Secrets {
    fn admit(&self, credentials: Option<(&str, &str)>) -> bool {
        match credentials {
            Some((SERVER, secret)) => same(secret, &self.server),
            Some((NODE, secret)) => same(secret, &self.agent),
            _ => false,
        }
    }
}

/// Whether two secrets are the same; how long it takes tells nothing of them.
pub(crate) fn same(one: &str, other: &str) -> bool {
    Sha256::digest(one) == Sha256::digest(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Asked<'_> = Asked {
        method: "POST",
        path: "/v1-isopod/client-kubelet.crt",
        credentials: Some(("node", "agents")),
        node: "b",
        password: "p",
        addresses: "10.0.0.2, fd00::2",
    };

    fn outcome(asked: Asked<'_>) -> String {
        let secrets = Secrets { server: "servers".to_owned(), agent: "agents".to_owned() };
        match answer(asked, &secrets, "a") {
            Reply::Pong => "pong".to_owned(),
            Reply::ServerAuthority => "server authority".to_owned(),
            Reply::ClientAuthority => "client authority".to_owned(),
            Reply::Cluster => "cluster".to_owned(),
            Reply::Sign(wish) => {
                format!("sign {:?} for {} at {:?}", wish.identity, wish.node, wish.addresses)
            }
            Reply::Refuse(refusal) => refusal.code.to_string(),
        }
    }

    #[test]
    fn who_gets_what() {
        let get = |path, credentials| Asked { method: "GET", path, credentials, ..ASKED };
        let (node, server) = (Some(("node", "agents")), Some(("server", "servers")));
        let cases = [
            (get("/ping", None), "pong"),
            (get("/cacerts", None), "server authority"),
            (get("/v1-isopod/config", node), "cluster"),
            (get("/v1-k3s/config", server), "cluster"),
            (get("/v1-isopod/config", None), "401"),
            (get("/v1-isopod/config", Some(("node", "servers"))), "401"),
            (get("/v1-isopod/config", Some(("server", "agents"))), "401"),
            (get("/v1-isopod/config", Some(("root", "servers"))), "401"),
            (get("/v1-isopod/client-ca.crt", node), "client authority"),
            (get("/v1-isopod/client-kubelet.crt", node), "404"),
            (get("/api", node), "404"),
            (ASKED, "sign client-kubelet for b at [10.0.0.2, fd00::2]"),
            (Asked { path: "/v1-k3s/client-admin.crt", ..ASKED }, "404"),
            (Asked { node: "a", ..ASKED }, "403"),
            (Asked { node: "B", ..ASKED }, "400"),
            (Asked { node: "b,O=system:masters", ..ASKED }, "400"),
            (Asked { node: "", ..ASKED }, "400"),
            (Asked { password: "", ..ASKED }, "400"),
            (Asked { addresses: "web", ..ASKED }, "400"),
        ];
        for (asked, expected) in cases {
            assert_eq!(outcome(asked), expected, "{asked:?}");
        }
    }
}
