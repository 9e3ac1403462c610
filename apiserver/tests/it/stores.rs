//! The stores besides the one in memory that the suite runs on: our datastore and Debian's etcd.

use std::net::TcpListener;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use apiserver::config::Settings;
use daemon::Context;
use daemon::drain::Trigger;
use store::Store;
use store::remote::Remote;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::subject::Subject;

/// How often etcd, which tells nobody when it is ready, is asked whether it is.
const LOOK: Duration = Duration::from_millis(20);

/// How long it may take before the test fails; far longer than it takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A store behind a socket. It ends when this is dropped.
pub(crate) struct Running {
    endpoint: String,
    _data: TempDir,
    _process: Process,
}

/// What runs it.
#[expect(dead_code, reason = "held, so that it runs")]
enum Process {
    Task(Context, Trigger),
    Child(Child),
}

impl Running {
    /// A server on a part of the store of its own.
    pub(crate) async fn subject(&self, part: &str) -> Subject {
        let store = Remote::connect(std::slice::from_ref(&self.endpoint), None).await.unwrap();
        let settings = Settings { etcd_prefix: format!("/{part}"), ..Settings::for_tests() };
        Subject::start_on(settings, Arc::new(store)).await
    }
}

/// Our datastore, on a unix socket.
pub(crate) async fn datastore() -> Running {
    let data = tempfile::tempdir().unwrap();
    let line = ["--data-dir".to_owned(), data.path().display().to_string()];
    let (settings, _, _) = daemon::flag::parse::<datastore::config::Settings>(&line).unwrap();
    let endpoint = settings.listen[0].to_string();
    let (context, trigger) = Context::new(datastore::NAME);
    let running = context.clone();
    context.spawn("datastore", async move { datastore::run(settings, running).await });
    // The process is ready before its first gate is there as well.
    let store = Remote::connect(std::slice::from_ref(&endpoint), None).await.unwrap();
    answers(&store).await;
    Running { endpoint, _data: data, _process: Process::Task(context, trigger) }
}

/// Debian's etcd, on loopback.
pub(crate) async fn etcd() -> Running {
    let data = tempfile::tempdir().unwrap();
    let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [client, peer] = held.each_ref().map(|port| format!("http://{}", port.local_addr().unwrap()));
    drop(held);
    let child = Command::new("etcd")
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
    let store = Remote::connect(std::slice::from_ref(&client), None).await.unwrap();
    answers(&store).await;
    Running { endpoint: client, _data: data, _process: Process::Child(child) }
}

async fn answers(store: &Remote) {
    let asking = async {
        while store.get(b"/ready").await.is_err() {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("the store did not answer");
}
