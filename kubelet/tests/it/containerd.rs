//! Debian's containerd with everything in a folder of its own and in a network namespace of its own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ring::digest::{SHA256, digest};
use serde_json::json;
use testkit::netns::Namespace;

/// The one image: busybox.
pub(crate) const IMAGE: &str = "isopod.local/busybox:1";
const PAUSE: &str = "isopod.local/pause:1";

/// A running containerd; what it runs dies with it.
pub(crate) struct Containerd {
    folder: PathBuf,
    process: Child,
    // Its own: the bridge that the pods hang on is nobody else's.
    _network: Namespace,
}

impl Containerd {
    /// Starts it and gives it the images.
    pub(crate) async fn start(folder: &Path) -> Self {
        let cni = folder.join("cni");
        std::fs::create_dir_all(&cni).unwrap();
        std::fs::write(cni.join("10-test.conflist"), network(folder)).unwrap();
        let streams = crate::node::free_port();
        std::fs::write(folder.join("containerd.toml"), config(folder, streams)).unwrap();
        let log = std::fs::File::create(folder.join("containerd.log")).unwrap();
        let network = Namespace::new("containerd");
        let process = network
            .command("containerd")
            .arg("-c")
            .arg(folder.join("containerd.toml"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        // The kubelet reaches it on loopback, as where both are in one namespace.
        network.expose(([127, 0, 0, 1], streams).into());
        let this = Self { folder: folder.to_owned(), process, _network: network };
        this.load(IMAGE, &json!({"Cmd": ["sh"], "Env": ["PATH=/bin"]})).await;
        this.load(PAUSE, &json!({"Entrypoint": ["/bin/busybox", "sleep", "1000000"], "Env": ["PATH=/bin"]}))
            .await;
        this
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("containerd.sock")
    }

    fn ctr(&self, args: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        command.arg("-a").arg(self.socket()).args(["-n", "k8s.io"]).args(args);
        command
    }

    /// The ids of what runs.
    pub(crate) fn tasks(&self) -> Vec<String> {
        let output = self.ctr(&["tasks", "list", "-q"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    /// The network namespaces of the pods, which outlive containerd.
    fn networks(&self) -> BTreeSet<String> {
        let listed = self.ctr(&["containers", "list", "-q"]).output().unwrap().stdout;
        let mut networks = BTreeSet::new();
        for id in String::from_utf8_lossy(&listed).lines() {
            let told = self.ctr(&["containers", "info", id]).output().unwrap().stdout;
            let info: serde_json::Value = serde_json::from_slice(&told).unwrap_or_default();
            let namespaces = info["Spec"]["linux"]["namespaces"].as_array().cloned().unwrap_or_default();
            let network = namespaces.iter().find(|namespace| namespace["type"] == "network");
            let path = network.and_then(|network| network["path"].as_str()).map(Path::new);
            networks.extend(path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()));
        }
        networks
    }

    /// Runs a command in the running container of this name.
    pub(crate) async fn exec(&self, container: &str, command: &[&str]) {
        let label = format!("labels.\"io.kubernetes.container.name\"=={container}");
        let found = self.ctr(&["containers", "list", "-q", &label]).output().unwrap().stdout;
        let running = self.tasks();
        let id = String::from_utf8(found)
            .unwrap()
            .lines()
            .find(|id| running.contains(&(*id).to_owned()))
            .unwrap()
            .to_owned();
        let output = self.ctr(&["tasks", "exec", "--exec-id", "test", &id]).args(command).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// Imports busybox under a name; tries until containerd is up.
    async fn load(&self, name: &str, config: &serde_json::Value) {
        let archive = archive(&self.folder, name, config);
        let path = archive.display().to_string();
        crate::node::patiently("containerd takes an image", || {
            self.ctr(&["images", "import", &path]).output().unwrap().status.success().then_some(())
        })
        .await;
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let networks = self.networks();
        for id in self.tasks() {
            drop(self.ctr(&["tasks", "delete", "--force", &id]).output());
        }
        drop(self.process.kill());
        drop(self.process.wait());
        for network in networks {
            drop(Command::new("ip").args(["netns", "delete", &network]).output());
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let places = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        for place in places.filter(|place| Path::new(place).starts_with(&self.folder)) {
            drop(Command::new("umount").args(["--lazy", place]).output());
        }
    }
}

fn config(folder: &Path, streams: u16) -> String {
    let place = folder.display();
    format!(
        r#"version = 2
root = "{place}/root"
state = "{place}/state"
[grpc]
  address = "{place}/containerd.sock"
[ttrpc]
  address = "{place}/containerd.ttrpc.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "{streams}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{place}/cni"
"#
    )
}

fn network(folder: &Path) -> String {
    let bridge = json!({
        "type": "bridge", "bridge": "cni0", "isGateway": true,
        "ipam": {
            "type": "host-local", "dataDir": folder.join("ipam"),
            "ranges": [[{"subnet": "10.88.0.0/24"}]],
        },
    });
    json!({"cniVersion": "1.0.0", "name": "test", "plugins": [bridge]}).to_string()
}

/// Busybox as an image archive, in the form that `docker save` writes.
fn archive(folder: &Path, name: &str, config: &serde_json::Value) -> PathBuf {
    let work = tempfile::tempdir_in(folder).unwrap();
    let root = work.path().join("rootfs");
    for part in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        std::fs::create_dir_all(root.join(part)).unwrap();
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    let applets = Command::new("/bin/busybox").arg("--list").output().unwrap().stdout;
    for applet in String::from_utf8(applets).unwrap().lines().filter(|applet| *applet != "busybox") {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    let tar = |archive: &Path, from: &Path| {
        let status =
            Command::new("tar").arg("-cf").arg(archive).arg("-C").arg(from).arg(".").status().unwrap();
        assert!(status.success());
    };
    let bundle = work.path().join("bundle");
    std::fs::create_dir(&bundle).unwrap();
    tar(&bundle.join("layer.tar"), &root);
    let hex = |bytes: &[u8]| -> String {
        digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let layer = hex(&std::fs::read(bundle.join("layer.tar")).unwrap());
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]},
    });
    std::fs::write(bundle.join("config.json"), config.to_string()).unwrap();
    let manifest = json!([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]);
    std::fs::write(bundle.join("manifest.json"), manifest.to_string()).unwrap();
    let archive = folder.join(format!("{}.tar", name.replace(['/', ':'], "-")));
    tar(&archive, &bundle);
    archive
}
