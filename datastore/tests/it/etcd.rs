//! Debian's etcd on loopback, stopped with the test.

use std::net::TcpListener;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use store::Store;
use store::remote::Remote;
use tokio::process::{Child, Command};

/// A running etcd; killed when dropped.
pub(crate) struct Etcd {
    pub(crate) endpoint: String,
    process: Child,
    _data: tempfile::TempDir,
}

impl Etcd {
    pub(crate) async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let [client, peer] = free_ports();
        let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let process = Command::new("etcd")
            .arg("--data-dir")
            .arg(data.path())
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("could not start etcd; install Debian's etcd-server");
        let mut etcd = Self { endpoint: client, process, _data: data };
        etcd.answers().await;
        // What answers must be this etcd, and not another one that has taken the port meanwhile.
        assert!(etcd.process.try_wait().unwrap().is_none(), "etcd ended; is {} in use?", etcd.endpoint);
        etcd
    }

    pub(crate) async fn store(&self) -> Arc<dyn Store> {
        Arc::new(Remote::connect(std::slice::from_ref(&self.endpoint), None).await.unwrap())
    }

    /// etcd tells nobody when it is ready, so it is asked until it answers.
    async fn answers(&self) {
        let store = self.store().await;
        let asking = async {
            while store.get(b"/ready").await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), asking).await.expect("etcd did not answer within 30 s");
    }
}

/// Ports that are free now, for what cannot choose its own.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}
