//! A node on the bench: API server, containerd, and the kubelet as a process between them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use client::k8s_openapi::api::core::v1::Pod;
use client::kube::api::{DynamicObject, PostParams};
use client::kube::config::{KubeConfigOptions, Kubeconfig};
use client::kube::core::{ApiResource, GroupVersionKind};
use client::kube::runtime::wait::await_condition;
use client::kube::{Api, Client};
use http::StatusCode;
use serde_json::json;
use testkit::Authority;

use crate::containerd::Containerd;
use crate::socket::Socket;

/// Whose words nobody wants to read.
const NOISE: [&str; 4] = [" h2::", " hyper", " rustls::", " tower::"];

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(45);

/// Asks again and again, for what tells nobody when it is ready.
pub(crate) async fn patiently<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("in vain: {what}"))
}

/// A port that nobody has.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(crate) struct Bench {
    kubelet: Option<Child>,
    containerd: Containerd,
    cgroups: Cgroups,
    cluster: testkit::Cluster,
    /// Signs what kubelet and API server show each other.
    kubelets: Authority,
    port: u16,
    // The last to go: everything is in it.
    folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let containerd = Containerd::start(folder.path()).await;
        let port = free_port();
        let cgroups = Cgroups { root: format!("isopod-test-{port}") };
        let file = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
            folder.path().join(name)
        };
        let kubelets = Authority::new();
        let (serving, calling) = (kubelets.server(), kubelets.client("kube-apiserver", &[]));
        let cluster = testkit::start_with_kubelets(
            file("calling.pem", &calling.certificate_pem),
            file("calling.key", &calling.key_pem),
        )
        .await;
        file("kubeconfig", &cluster.kubeconfig("system:node:n1", &["system:masters"]));
        file("admin", &cluster.kubeconfig("admin", &["system:masters"]));
        file("ca.pem", &kubelets.pem());
        file("tls.pem", &serving.certificate_pem);
        file("tls.key", &serving.key_pem);
        let mut bench = Self { kubelet: None, containerd, cgroups, cluster, kubelets, port, folder };
        bench
            .make(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}))
            .await;
        bench.start_kubelet().await;
        bench
    }

    pub(crate) fn client(&self) -> Client {
        self.cluster.client()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) async fn start_kubelet(&mut self) {
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.path("kubelet.log")).unwrap();
        let flag = |name: &str, file: &str| format!("--{name}={}", self.path(file).display());
        let kubelet = Command::new(env!("CARGO_BIN_EXE_isopod-kubelet"))
            .arg(flag("kubeconfig", "kubeconfig"))
            .arg(flag("root-dir", "kubelet"))
            .arg(flag("pod-log-dir", "logs"))
            .arg(flag("pod-manifest-path", "manifests"))
            .arg(flag("client-ca-file", "ca.pem"))
            .arg(flag("tls-cert-file", "tls.pem"))
            .arg(flag("tls-private-key-file", "tls.key"))
            .arg(format!("--container-runtime-endpoint=unix://{}", self.containerd.socket().display()))
            .arg(format!("--port={}", self.port))
            .arg(format!("--cgroup-root=/{}", self.cgroups.root))
            .args([
                "--hostname-override=n1",
                "--node-ip=127.0.0.1",
                "--address=127.0.0.1",
                "--healthz-port=0",
                "--v=4",
            ])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.kubelet = Some(kubelet);
    }

    /// SIGKILL.
    pub(crate) async fn kill_kubelet(&mut self) {
        if let Some(mut kubelet) = self.kubelet.take() {
            kubelet.kill().unwrap();
            kubelet.wait().unwrap();
        }
    }

    pub(crate) fn manifest(&self, name: &str, text: &str) {
        std::fs::create_dir_all(self.path("manifests")).unwrap();
        std::fs::write(self.path("manifests").join(name), text).unwrap();
    }

    pub(crate) fn remove_manifest(&self, name: &str) {
        std::fs::remove_file(self.path("manifests").join(name)).unwrap();
    }

    /// Creates an object in the namespace `default`.
    pub(crate) async fn make(&self, object: serde_json::Value) {
        let kind = object["kind"].as_str().unwrap().to_owned();
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", &kind));
        let api: Api<DynamicObject> = Api::namespaced_with(self.client(), "default", &resource);
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
    }

    /// Waits until an object is as it should be.
    pub(crate) async fn until<K>(
        &self,
        api: &Api<K>,
        name: &str,
        is: impl Fn(Option<&K>) -> bool,
    ) -> Option<K>
    where
        K: client::cache::Kind,
    {
        let waited = tokio::time::timeout(
            PATIENCE,
            await_condition(api.clone(), name, |object: Option<&K>| is(object)),
        );
        match waited.await {
            Ok(found) => found.unwrap(),
            Err(_) => panic!(
                "{name} did not come to be as it should:\n{}\n{:#?}",
                self.kubelet_log(),
                api.get_opt(name).await
            ),
        }
    }

    pub(crate) fn kubelet_log(&self) -> String {
        let log = std::fs::read_to_string(self.path("kubelet.log")).unwrap_or_default();
        log.lines()
            .filter(|line| !NOISE.iter().any(|noise| line.contains(noise)))
            .map(|line| format!("{line}\n"))
            .collect()
    }

    /// A folder of the host for a pod to write to.
    pub(crate) fn host_folder(&self, name: &str) -> PathBuf {
        std::fs::create_dir_all(self.path(name)).unwrap();
        self.path(name)
    }

    /// Runs a command in the one running container of this name.
    pub(crate) async fn exec(&self, container: &str, command: &[&str]) {
        self.containerd.exec(container, command).await;
    }

    /// The command that people use, as the administrator.
    pub(crate) fn kubectl(&self, args: &[&str]) -> tokio::process::Command {
        let mut command = tokio::process::Command::new("kubectl");
        command.arg("--kubeconfig").arg(self.path("admin")).args(args).kill_on_drop(true);
        command.env("HOME", self.folder.path());
        command
    }

    /// A WebSocket to the kubelet's own API.
    pub(crate) async fn socket(&self, path: &str, protocols: &str) -> Result<Socket, (StatusCode, String)> {
        let opening = Socket::open(&self.kubelets, self.port, path, protocols);
        tokio::time::timeout(PATIENCE, opening).await.expect("an answer of the kubelet")
    }

    /// Waits until nothing of any pod is left on the node.
    pub(crate) async fn until_empty(&self) {
        let folders = |name: &str| std::fs::read_dir(self.path(name)).into_iter().flatten().count();
        patiently("the node is empty", || {
            (self.containerd.tasks().is_empty() && folders("kubelet/pods") + folders("logs") == 0)
                .then_some(())
        })
        .await;
    }

    /// What the kubelet's own API says at `/containerLogs/...`.
    pub(crate) async fn log(&self, path: &str) -> String {
        self.get("kube-apiserver", &format!("/containerLogs/{path}")).await
    }

    /// What the kubelet's own API says to somebody.
    pub(crate) async fn get(&self, user: &str, path: &str) -> String {
        let identity = self.kubelets.client(user, &[]);
        let url = format!("https://127.0.0.1:{}", self.port);
        let file = testkit::kubeconfig(&url, &self.kubelets, &identity);
        let file: Kubeconfig = serde_json::from_value(file).unwrap();
        let options = KubeConfigOptions::default();
        let config = client::kube::Config::from_custom_kubeconfig(file, &options).await.unwrap();
        let client = Client::try_from(config).unwrap();
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        match client.request_text(request).await {
            Ok(text) => text,
            Err(client::kube::Error::Api(status)) => status.message,
            Err(error) => panic!("{error}\n{}", self.kubelet_log()),
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(mut kubelet) = self.kubelet.take() {
            drop(kubelet.kill());
            drop(kubelet.wait());
        }
    }
}

/// The cgroups of a test's pods; goes after what ran in them.
struct Cgroups {
    root: String,
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        for hierarchy in hierarchies.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            remove(&hierarchy.path().join(&self.root));
        }
    }
}

/// Removes a cgroup and those below it.
fn remove(cgroup: &Path) {
    for below in std::fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if below.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&below.path());
        }
    }
    // Missing where no pod has been in it.
    drop(std::fs::remove_dir(cgroup));
}

/// Whether a pod says that it is ready.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
