//! How a node joins a cluster: it knows the server by the hash in its token, and gets its certificates signed.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::kube::{self, Client};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::certificate::{self, PRIVATE, PUBLIC, read, write};
use crate::config::{Agent, Cluster};
use crate::identity::IDENTITIES;
use crate::layout::Layout;
use crate::token::{self, Token};

mod answer;
mod cluster;
mod password;
pub(crate) mod serve;

pub(crate) use answer::Secrets;

/// The wait before a server that did not answer is asked again, at first.
const SHORTEST: Duration = Duration::from_secs(1);

/// The longest wait: a server that comes back has its nodes back within half a minute.
const LONGEST: Duration = Duration::from_secs(30);

/// How long a server may take to take a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a node could not join.
enum Failure {
    /// Nobody answers now; somebody may later.
    Later(anyhow::Error),
    /// It will not be let in as it is.
    Never(anyhow::Error),
}

/// Somebody who joins.
struct Applicant<'a> {
    agent: &'a Agent,
    addresses: String,
    password: String,
    authorization: String,
}

/// Joins: all files of the node are there after it. Where the server does not answer and the node has joined before,
/// it goes on with what it has; where it has not, the server is asked until it answers.
///
/// # Errors
/// Where the server refuses, or files cannot be written.
pub(crate) async fn join(agent: &Agent, addresses: &[IpAddr]) -> anyhow::Result<Cluster> {
    let applicant = Applicant::new(agent, addresses)?;
    let mut wait = SHORTEST;
    loop {
        let error = match applicant.apply().await {
            Ok(cluster) => return Ok(cluster),
            Err(Failure::Never(error)) => return Err(error),
            Err(Failure::Later(error)) => error,
        };
        if let Some(cluster) = known(&agent.node.layout)? {
            tracing::warn!("{error:#}; this node has joined before and goes on as it did then");
            return Ok(cluster);
        }
        tracing::warn!("{error:#}; asking again in {} s", wait.as_secs());
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST);
    }
}

/// What the cluster had in common when the node joined last.
fn known(layout: &Layout) -> anyhow::Result<Option<Cluster>> {
    let complete = IDENTITIES.iter().all(|identity| {
        let pair = identity.pair(layout);
        pair.certificate.exists() && pair.key.exists()
    });
    let text = read(&layout.agent("cluster.json"))?.filter(|_| complete);
    // What cannot be read is asked for again.
    Ok(text.and_then(|text| cluster::read(&text).ok()))
}

impl<'a> Applicant<'a> {
    fn new(agent: &'a Agent, addresses: &[IpAddr]) -> anyhow::Result<Self> {
        let path = agent.node.layout.node_password();
        let password = match read(&path)? {
            Some(password) => password.trim().to_owned(),
            None => {
                let password = token::secret();
                write(&path, &format!("{password}\n"), PRIVATE)?;
                password
            }
        };
        let Token { user, secret, .. } = &agent.token;
        let addresses = addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",");
        let authorization = format!("Basic {}", STANDARD.encode(format!("{user}:{secret}")));
        Ok(Self { agent, addresses, password, authorization })
    }

    async fn apply(&self) -> Result<Cluster, Failure> {
        let authority = self.authority().await?;
        let certificates =
            CertificateDer::pem_slice_iter(authority.as_bytes()).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(|error| {
            Failure::Never(anyhow::anyhow!(
                "{} gave no certificates as its authority: {error}",
                self.agent.server
            ))
        })?;
        let client = self.client(Some(certificates.iter().map(|der| der.to_vec()).collect()))?;
        let text = self.ask(&client, "GET", "/v1-isopod/config", Vec::new()).await?;
        let cluster = cluster::read(&text).map_err(Failure::Never)?;
        let clients = self.ask(&client, "GET", "/v1-isopod/client-ca.crt", Vec::new()).await?;
        let layout = &self.agent.node.layout;
        for identity in IDENTITIES {
            let pair = identity.pair(layout);
            let (key, request) = certificate::request(&pair.key).map_err(Failure::Never)?;
            let path = format!("/v1-isopod/{}.crt", identity.stem);
            let signed = self.ask(&client, "POST", &path, request).await?;
            write(&pair.key, &key, PRIVATE).map_err(Failure::Never)?;
            write(&pair.certificate, &signed, PUBLIC).map_err(Failure::Never)?;
        }
        for (file, text) in
            [("server-ca.crt", &authority), ("client-ca.crt", &clients), ("cluster.json", &text)]
        {
            write(&layout.agent(file), text, PUBLIC).map_err(Failure::Never)?;
        }
        Ok(cluster)
    }

    /// The authority of the server, if it is the one that the token names. Nothing secret is sent for it.
    async fn authority(&self) -> Result<String, Failure> {
        let server = &self.agent.server;
        let client = self.client(None)?;
        let request = http::Request::get("/cacerts").body(Vec::new());
        let request = request.context("could not write a request").map_err(Failure::Never)?;
        let text = client.request_text(request).await;
        let text =
            text.map_err(|error| Failure::of(error, &format!("could not ask {server} for its authority")))?;
        match &self.agent.token.authority {
            Some(hash) if *hash != token::hash(&text) => Err(Failure::Never(anyhow::anyhow!(
                "--token: {server} is not the server this token is from: the hash of its authority is {}; \
                 take the token from server/token on that server",
                token::hash(&text)
            ))),
            Some(_) => Ok(text),
            None => {
                tracing::warn!(
                    "the token has no hash of the cluster's authority: {server} is trusted as it is"
                );
                Ok(text)
            }
        }
    }

    fn client(&self, roots: Option<Vec<Vec<u8>>>) -> Result<Client, Failure> {
        let mut config = kube::Config::new(self.agent.server.clone());
        config.accept_invalid_certs = roots.is_none();
        config.root_cert = roots;
        config.connect_timeout = Some(PATIENCE);
        Client::try_from(config)
            .with_context(|| format!("could not make a client for {}", self.agent.server))
            .map_err(Failure::Never)
    }

    async fn ask(&self, client: &Client, method: &str, path: &str, body: Vec<u8>) -> Result<String, Failure> {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::AUTHORIZATION, &self.authorization)
            .header("Isopod-Node-Name", &self.agent.node.name)
            .header("Isopod-Node-Password", &self.password)
            .header("Isopod-Node-IP", &self.addresses)
            .body(body)
            .context("could not write a request")
            .map_err(Failure::Never)?;
        let server = &self.agent.server;
        let answer = client.request_text(request).await;
        answer.map_err(|error| Failure::of(error, &format!("{server} did not let this node join")))
    }
}

impl Failure {
    fn of(error: kube::Error, what: &str) -> Self {
        match error {
            kube::Error::Api(status) if (400..500).contains(&status.code) => {
                Self::Never(anyhow::anyhow!("{what}: {}", status.message))
            }
            kube::Error::Api(status) => Self::Later(anyhow::anyhow!("{what}: {}", status.message)),
            // The client's own text repeats each layer that an error passed; the innermost says it.
            error => Self::Later(anyhow::anyhow!("{what}: {}", anyhow::Error::new(error).root_cause())),
        }
    }
}
