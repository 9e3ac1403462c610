//! What makes a cluster one: authorities, the certificates and kubeconfigs of the control plane, keys and tokens.

use std::net::IpAddr;
use std::path::Path;

use anyhow::Context as _;
use jiff::Timestamp;
use rcgen::KeyPair;

use crate::certificate::{Authority, Leaf, PRIVATE, PUBLIC, Pair, read, write};
use crate::config::{self, Node, Server};
use crate::identity::{IDENTITIES, Signer};
use crate::join::Secrets;
use crate::kubeconfig::{Credentials, text};
use crate::layout::Layout;
use crate::token::{self, Token};

/// A client of the API on a server.
struct Client {
    /// What its files are called.
    stem: &'static str,
    /// Its name to the API.
    name: &'static str,
    group: Option<&'static str>,
    /// Its kubeconfig, if it has one.
    kubeconfig: Option<&'static str>,
}

/// Who may do everything.
const MASTERS: Option<&str> = Some("system:masters");

const CLIENTS: &[Client] = &[
    Client {
        stem: "client-admin",
        name: "system:admin",
        group: MASTERS,
        kubeconfig: Some("admin.kubeconfig"),
    },
    Client {
        stem: "client-controller",
        name: "system:kube-controller-manager",
        group: None,
        kubeconfig: Some("controller.kubeconfig"),
    },
    Client {
        stem: "client-scheduler",
        name: "system:kube-scheduler",
        group: None,
        kubeconfig: Some("scheduler.kubeconfig"),
    },
    Client { stem: "client-dns", name: "system:isopod-dns", group: None, kubeconfig: Some("dns.kubeconfig") },
    Client { stem: "client-kube-apiserver", name: "kube-apiserver", group: MASTERS, kubeconfig: None },
];

/// The authorities of a cluster.
#[derive(Debug)]
pub(crate) struct Authorities {
    pub(crate) server: Authority,
    pub(crate) client: Authority,
    /// What lets nodes in.
    pub(crate) secrets: Secrets,
}

impl Authorities {
    pub(crate) fn of(&self, signer: Signer) -> &Authority {
        match signer {
            Signer::Server => &self.server,
            Signer::Client => &self.client,
        }
    }

    /// Makes the certificates of the server's own node, as another node's are asked for.
    pub(crate) fn node(&self, node: &Node, address: IpAddr, now: Timestamp) -> anyhow::Result<()> {
        let layout = &node.layout;
        for (file, authority) in [("server-ca.crt", &self.server), ("client-ca.crt", &self.client)] {
            write(&layout.agent(file), authority.pem(), PUBLIC)?;
        }
        let addresses = node.addresses(address);
        for identity in IDENTITIES {
            let leaf = identity.leaf(&node.name, &addresses);
            self.of(identity.signer).keep(&identity.pair(layout), &leaf, now)?;
        }
        Ok(())
    }
}

/// Makes every file of a server that is not there yet or would not hold for long.
///
/// # Errors
/// Where files cannot be read or written, or the token is another than the one this cluster was made with.
pub(crate) fn prepare(settings: &Server, address: IpAddr, now: Timestamp) -> anyhow::Result<Authorities> {
    let layout = &settings.node.layout;
    closed(&layout.server("")).context("--data-dir: no folder could be made for the server")?;
    let tls = layout.server("tls");
    let authority = |stem: &str, name| Authority::ensure(&Pair::at(&tls, stem), name, now);
    let server = authority("server-ca", "server")?;
    let client = authority("client-ca", "client")?;
    let front = authority("request-header-ca", "request-header")?;
    let secrets = tokens(settings, server.pem())?;
    let serving = Leaf::server("kube-apiserver", names(settings, address));
    server.keep(&Pair::at(&tls, "serving-kube-apiserver"), &serving, now)?;
    front.keep(&Pair::at(&tls, "client-auth-proxy"), &Leaf::client("system:auth-proxy", None), now)?;
    for row in CLIENTS {
        let pair = Pair::at(&tls, row.stem);
        client.keep(&pair, &Leaf::client(row.name, row.group), now)?;
        if let Some(file) = row.kubeconfig {
            let (certificate, key) = (pair.certificate.as_path(), pair.key.as_path());
            let authority = layout.tls("server-ca.crt");
            let credentials = Credentials::Files { authority: &authority, certificate, key };
            write(&layout.cred(file), &text("default", &url(settings), credentials), PRIVATE)?;
        }
    }
    service_key(&layout.tls("service.key"))?;
    administrator(settings, server.pem())?;
    Ok(Authorities { server, client, secrets })
}

/// Makes a folder that is the owner's alone: the data of the cluster is in it, Secrets and all.
fn closed(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))
}

/// Where the API is for who is on the same host.
pub(crate) fn url(settings: &Server) -> String {
    let port = settings.cluster.port;
    match settings.bind_address.filter(|address| !address.is_unspecified()) {
        Some(IpAddr::V6(address)) => format!("https://[{address}]:{port}"),
        Some(address) => format!("https://{address}:{port}"),
        None => format!("https://127.0.0.1:{port}"),
    }
}

/// What the API server answers to.
fn names(settings: &Server, address: IpAddr) -> Vec<String> {
    let node = &settings.node;
    let mut names: Vec<String> = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"]
        .map(str::to_owned)
        .to_vec();
    names.push(format!("kubernetes.default.svc.{}", settings.cluster.domain));
    names.push(node.name.clone());
    let addresses = node.ips.iter().chain(&node.external_ips).chain(&settings.advertise_address);
    names.extend(addresses.map(IpAddr::to_string));
    let first = settings.cluster.service_cidr.iter().filter_map(|range| config::nth(range, 1));
    names.extend(first.map(|address| address.to_string()));
    names.extend(["127.0.0.1".to_owned(), "::1".to_owned(), address.to_string()]);
    names.extend(settings.tls_san.iter().cloned());
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// The key that signs the tokens of service accounts.
fn service_key(path: &Path) -> anyhow::Result<()> {
    if read(path)?.is_some() {
        return Ok(());
    }
    let key = KeyPair::generate().context("could not make a key")?;
    write(path, &key.serialize_pem(), PRIVATE)
}

/// The kubeconfig that people take away.
fn administrator(settings: &Server, authority: &str) -> anyhow::Result<()> {
    let layout = &settings.node.layout;
    let pair = Pair::at(&layout.server("tls"), "client-admin");
    let (certificate, key) = (read(&pair.certificate)?, read(&pair.key)?);
    let (certificate, key) = (certificate.unwrap_or_default(), key.unwrap_or_default());
    let credentials = Credentials::Embedded { authority, certificate: &certificate, key: &key };
    let file = &settings.kubeconfig;
    write(&file.path, &text(&file.name, &url(settings), credentials), file.mode)
        .context("--write-kubeconfig: no kubeconfig could be written")
}

/// Writes the tokens that join nodes: the ones told, the ones there are, or new ones.
fn tokens(settings: &Server, authority: &str) -> anyhow::Result<Secrets> {
    let layout = &settings.node.layout;
    let full = |user: &str, secret: String| Token {
        authority: Some(token::hash(authority)),
        user: user.to_owned(),
        secret,
    };
    let kept = |told: &Option<Token>, file: &str, flag: &str| -> anyhow::Result<Option<String>> {
        let path = layout.server(file);
        let there = match read(&path)? {
            Some(text) => text.parse::<Token>().ok().map(|token| token.secret),
            None => None,
        };
        match (told.as_ref().map(|token| token.secret.clone()), there) {
            (Some(told), Some(there)) if told != there && flag == "token" => anyhow::bail!(
                "--{flag}: this cluster was made with another token, which is in {}; give that one, or none",
                path.display()
            ),
            (told, there) => Ok(told.or(there)),
        }
    };
    let secret = kept(&settings.node.token, "token", "token")?.unwrap_or_else(token::secret);
    // An agents' token that is not told any more is the servers' again.
    let agents = match &settings.agent_token {
        Some(_) => kept(&settings.agent_token, "agent-token", "agent-token")?,
        None => None,
    };
    let server = full(token::SERVER, secret.clone()).to_string();
    write(&layout.server("token"), &format!("{server}\n"), PRIVATE)?;
    link(layout, "token", "node-token")?;
    match &agents {
        Some(agents) => {
            let text = full(token::NODE, agents.clone()).to_string();
            write(&layout.server("agent-token"), &format!("{text}\n"), PRIVATE)?;
        }
        None => link(layout, "token", "agent-token")?,
    }
    Ok(Secrets { agent: agents.unwrap_or_else(|| secret.clone()), server: secret })
}

fn link(layout: &Layout, target: &str, name: &str) -> anyhow::Result<()> {
    let path = layout.server(name);
    drop(std::fs::remove_file(&path));
    std::os::unix::fs::symlink(target, &path).with_context(|| format!("could not make {}", path.display()))
}
