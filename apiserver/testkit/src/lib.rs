//! The API server in a test, in milliseconds: a real one, over TLS, on a store in memory.
//!
//! ```text
//! let cluster = testkit::start().await;
//! let pods: Api<Pod> = Api::namespaced(cluster.client(), "default");
//! ```

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use apiserver::Server;
use apiserver::config::Settings;
use client::kube;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

pub mod authority;
pub mod netns;

pub use authority::{Authority, Identity};

/// A running API server. Its tasks end when this is dropped.
pub struct Cluster {
    /// Where it is, as in `https://127.0.0.1:4711`.
    pub url: String,
    /// The address it listens on.
    pub address: SocketAddr,
    /// Who signs its certificates, and those of clients.
    pub authority: Authority,
    /// The server itself, for a look into its cache.
    pub server: Arc<Server>,
    /// The process that the test plays: spawn what is under test here.
    pub context: daemon::Context,
    /// Ends it: `cluster.trigger.start()`.
    pub trigger: daemon::drain::Trigger,
    client: kube::Client,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Starts an API server with everything at its default.
pub async fn start() -> Cluster {
    start_with(Settings::for_tests(), Arc::new(store::memory::Memory::new())).await
}

/// Starts an API server that shows this certificate and key to kubelets, and signs their pods' tokens with the key.
pub async fn start_with_kubelets(certificate: PathBuf, key: PathBuf) -> Cluster {
    let mut settings = Settings::for_tests();
    settings.service_account_issuer = vec!["https://kubernetes.default.svc.cluster.local".to_owned()];
    settings.service_account_signing_key_file = Some(key.clone());
    settings.service_account_key_file = vec![key.clone()];
    settings.kubelet_client_certificate = Some(certificate);
    settings.kubelet_client_key = Some(key);
    start_with(settings, Arc::new(store::memory::Memory::new())).await
}

/// Starts an API server with these settings on this store.
///
/// # Panics
/// Where that does not work, which fails the test.
pub async fn start_with(settings: Settings, store: Arc<dyn store::Store>) -> Cluster {
    // Fails where another test of the process has installed it already, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    let authority = Authority::new();
    let serving = authority.server();
    let tls = apiserver::tls::config(
        vec![serving.certificate.clone()],
        serving.key.clone_key(),
        vec![authority.certificate()],
    )
    .expect("the test's own certificates fit");
    let (context, trigger) = daemon::Context::new("testkit");
    let (server, address) =
        apiserver::start(settings, context.clone(), store, tls).await.expect("a free port on loopback");
    context.gates().ready().await;
    let url = format!("https://{address}");
    let client = connect(&url, &authority, &authority.client("admin", &["system:masters"])).await;
    Cluster { url, address, authority, server, context, trigger, client }
}

/// A kubeconfig for a server and an identity.
pub fn kubeconfig(url: &str, authority: &Authority, identity: &Identity) -> Value {
    let user = json!({
        "client-certificate-data": authority::base64(identity.certificate_pem.as_bytes()),
        "client-key-data": authority::base64(identity.key_pem.as_bytes()),
    });
    kubeconfig_of(url, authority, &user)
}

fn kubeconfig_of(url: &str, authority: &Authority, user: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {
            "server": url,
            "certificate-authority-data": authority::base64(authority.pem().as_bytes()),
        }}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    })
}

/// A client with this identity at a server.
pub async fn connect(url: &str, authority: &Authority, identity: &Identity) -> kube::Client {
    connect_with(kubeconfig(url, authority, identity)).await
}

async fn connect_with(kubeconfig: Value) -> kube::Client {
    let file: Kubeconfig = serde_json::from_value(kubeconfig).expect("a kubeconfig");
    let mut config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .expect("a usable kubeconfig");
    // A test wants to see the refusal, not to wait until it is none.
    config.default_retry = false;
    client::transport::client(config).expect("a client")
}

impl Cluster {
    /// A client that may do everything.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// A client with this name and these groups.
    pub async fn client_as(&self, name: &str, groups: &[&str]) -> kube::Client {
        connect(&self.url, &self.authority, &self.authority.client(name, groups)).await
    }

    /// A client with a bearer token.
    pub async fn client_with_token(&self, token: &str) -> kube::Client {
        connect_with(kubeconfig_of(&self.url, &self.authority, &json!({"token": token}))).await
    }

    /// A kubeconfig with this name and these groups, as JSON, which is YAML: write it to a file for a daemon.
    pub fn kubeconfig(&self, name: &str, groups: &[&str]) -> String {
        kubeconfig(&self.url, &self.authority, &self.authority.client(name, groups)).to_string()
    }
}

#[cfg(test)]
mod tests;
