//! Who a daemon is to the API server: a kubeconfig file turned into a client.

use std::path::{Path, PathBuf};

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be read or lacks something.
    #[error("could not use the kubeconfig {}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KubeconfigError,
    },
    /// The certificates or the address in it cannot be used.
    #[error("could not make a client from the kubeconfig {}", path.display())]
    Client {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<kube::Error>,
    },
}

/// Makes a client from a kubeconfig file; nothing is sent yet. `agent` is the `User-Agent`, such as `isopod-scheduler`.
///
/// # Errors
/// Where the file is missing, malformed, or names credentials that cannot be used.
pub async fn connect(kubeconfig: &Path, agent: &str) -> Result<kube::Client, ConnectError> {
    let at = || kubeconfig.to_owned();
    let file = Kubeconfig::read_from(kubeconfig)
        .map_err(|source| ConnectError::Kubeconfig { path: at(), source })?;
    let mut config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .map_err(|source| ConnectError::Kubeconfig { path: at(), source })?;
    if let Ok(value) = agent.parse() {
        config.headers.push((http::header::USER_AGENT, value));
    }
    crate::transport::client(config)
        .map_err(|source| ConnectError::Client { path: at(), source: Box::new(source) })
}
