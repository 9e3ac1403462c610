//! Who the daemons of a node are: a table that both the server that signs and the node that asks go by.

use std::net::IpAddr;

use crate::certificate::{Leaf, PRIVATE, Pair, write};
use crate::kubeconfig::{Credentials, text};
use crate::layout::Layout;

/// Which authority signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signer {
    /// That of servers' certificates.
    Server,
    /// That of clients' certificates.
    Client,
}

/// One identity of a node.
pub(crate) struct Identity {
    /// What its files are called, and under which path its certificate is asked for.
    pub(crate) stem: &'static str,
    /// Its kubeconfig, if it has one.
    pub(crate) kubeconfig: Option<&'static str>,
    pub(crate) signer: Signer,
    leaf: fn(&str, &[IpAddr]) -> Leaf,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.stem)
    }
}

/// The identities of a node.
pub(crate) const IDENTITIES: &[Identity] = &[
    Identity { stem: "serving-kubelet", kubeconfig: None, signer: Signer::Server, leaf: serving },
    Identity {
        stem: "client-kubelet",
        kubeconfig: Some("kubelet.kubeconfig"),
        signer: Signer::Client,
        leaf: |node, _| Leaf::client(format!("system:node:{node}"), Some("system:nodes")),
    },
    Identity {
        stem: "client-kube-proxy",
        kubeconfig: Some("kubeproxy.kubeconfig"),
        signer: Signer::Client,
        leaf: |_, _| Leaf::client("system:kube-proxy", None),
    },
    Identity {
        stem: "client-flannel",
        kubeconfig: Some("flannel.kubeconfig"),
        signer: Signer::Client,
        leaf: |_, _| Leaf::client("system:isopod-flannel", None),
    },
    Identity {
        stem: "client-ingress",
        kubeconfig: Some("ingress.kubeconfig"),
        signer: Signer::Client,
        leaf: |_, _| Leaf::client("system:isopod-ingress", None),
    },
];

impl Identity {
    /// What its certificate says for a node of this name and with these addresses.
    pub(crate) fn leaf(&self, node: &str, addresses: &[IpAddr]) -> Leaf {
        (self.leaf)(node, addresses)
    }

    /// Its files.
    pub(crate) fn pair(&self, layout: &Layout) -> Pair {
        Pair::at(&layout.data.join("agent"), self.stem)
    }
}

/// What a kubelet shows to the API server.
fn serving(node: &str, addresses: &[IpAddr]) -> Leaf {
    let mut names = vec![node.to_owned(), "localhost".to_owned(), "127.0.0.1".to_owned()];
    names.extend(addresses.iter().map(IpAddr::to_string).filter(|address| address != "127.0.0.1"));
    Leaf::server(node, names)
}

/// Writes the kubeconfigs of a node's daemons, which reach the API at this URL.
pub(crate) fn kubeconfigs(layout: &Layout, url: &str) -> anyhow::Result<()> {
    let authority = layout.agent("server-ca.crt");
    for identity in IDENTITIES {
        let Some(file) = identity.kubeconfig else { continue };
        let Pair { certificate, key } = identity.pair(layout);
        let credentials = Credentials::Files { authority: &authority, certificate: &certificate, key: &key };
        write(&layout.agent(file), &text("default", url, credentials), PRIVATE)?;
    }
    Ok(())
}
