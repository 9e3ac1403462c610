//! Two nodes on one network, each with the daemon and a pod.

use std::io::Write;
use std::process::Command;

use client::k8s_openapi::api::core::v1::Node;
use client::kube::Api;
use client::kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tempfile::NamedTempFile;
use testkit::Cluster;
use testkit::netns::{Namespace, Process, eventually};

use crate::runtime::Runtime;

struct Host {
    name: &'static str,
    namespace: Namespace,
    runtime: Runtime,
    kubeconfig: NamedTempFile,
}

impl Host {
    fn new(cluster: &Cluster, name: &'static str) -> Self {
        let namespace = Namespace::new(name);
        namespace.relay(cluster.address);
        let mut kubeconfig = NamedTempFile::new().unwrap();
        let text = cluster.kubeconfig("system:isopod-flannel", &["system:masters"]);
        kubeconfig.write_all(text.as_bytes()).unwrap();
        Self { name, namespace, runtime: Runtime::new(), kubeconfig }
    }

    fn daemon(&self, backend: &str) -> Process {
        Process::start(self.command(backend))
    }

    fn command(&self, backend: &str) -> Command {
        let mut command = self.namespace.command(env!("CARGO_BIN_EXE_isopod-flannel"));
        command.arg("--kubeconfig").arg(self.kubeconfig.path());
        command.args([format!("--node-name={}", self.name), format!("--backend={backend}")]);
        command.arg("--subnet-file").arg(self.runtime.path("subnet.env"));
        command.arg("--cni-conf-dir").arg(self.runtime.path("net.d"));
        command.arg("--cni-data-dir").arg(self.runtime.path("data"));
        command
    }

    fn is_ready(&self) -> bool {
        self.runtime.path("net.d/10-flannel.conflist").exists()
    }

    /// A pod that answers with this host's name, and its address.
    fn pod(&self) -> (Namespace, String) {
        let pod = Namespace::new("pod");
        let conflist = self.runtime.path("net.d/10-flannel.conflist");
        let address = self.runtime.join(&self.namespace, &pod, &conflist);
        pod.serve("0.0.0.0:80", self.name);
        (pod, format!("{address}:80"))
    }
}

struct World {
    cluster: Cluster,
    one: Host,
    two: Host,
}

impl World {
    async fn new() -> Self {
        let cluster = testkit::start().await;
        let (one, two) = (Host::new(&cluster, "one"), Host::new(&cluster, "two"));
        one.namespace.join("lan", &two.namespace, "lan");
        one.namespace.run("ip addr add 192.168.9.1/24 dev lan");
        two.namespace.run("ip addr add 192.168.9.2/24 dev lan");
        let world = Self { cluster, one, two };
        world.node("one", "192.168.9.1").await;
        world.node("two", "192.168.9.2").await;
        world
    }

    fn nodes(&self) -> Api<Node> {
        Api::all(self.cluster.client())
    }

    async fn node(&self, name: &str, address: &str) {
        let node = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        self.nodes().create(&PostParams::default(), &node).await.unwrap();
        let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": address}]}});
        self.nodes().patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    }

    /// Gives a node addresses for pods, as the controller for them does.
    async fn range(&self, name: &str, range: &str) {
        let patch = json!({"spec": {"podCIDR": range, "podCIDRs": [range]}});
        self.nodes().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_reach_each_other_through_the_vxlan() {
    let world = World::new().await;
    let World { one, two, .. } = &world;
    let daemons = (one.daemon("vxlan"), two.daemon("vxlan"));
    world.range("one", "10.42.0.0/24").await;
    eventually("the first node is ready", || one.is_ready()).await;
    assert!(!two.is_ready(), "a node without addresses for pods must wait");
    world.range("two", "10.42.1.0/24").await;
    eventually("the second node is ready", || two.is_ready()).await;
    let ((red, red_at), (blue, blue_at)) = (one.pod(), two.pod());
    eventually("the routes are there", || {
        one.namespace.run("ip route").contains("10.42.1.0")
            && two.namespace.run("ip route").contains("10.42.0.0")
    })
    .await;
    assert_eq!(red.ask(&blue_at).as_deref(), Ok("two"));
    assert_eq!(blue.ask(&red_at).as_deref(), Ok("one"));
    assert_eq!(one.namespace.ask(&blue_at).as_deref(), Ok("two"), "a node reaches pods of the other");

    // What is written is what upstream would read.
    let node = world.nodes().get("one").await.unwrap();
    let annotations = node.metadata.annotations.unwrap();
    let link = one.namespace.run("ip -o link show flannel.1");
    let mac = link.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap();
    let expected = [
        ("backend-data", format!(r#"{{"VNI":1,"VtepMAC":"{mac}"}}"#)),
        ("backend-type", "vxlan".to_owned()),
        ("kube-subnet-manager", "true".to_owned()),
        ("public-ip", "192.168.9.1".to_owned()),
    ];
    for (name, value) in expected {
        assert_eq!(annotations[&format!("flannel.alpha.coreos.com/{name}")], value);
    }
    eventually("the node counts as connected", || {
        let node = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(world.nodes().get_status("one")).unwrap()
        });
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        conditions.iter().any(|one| one.type_ == "NetworkUnavailable" && one.status == "False")
    })
    .await;

    // Nothing of it needs the daemon, and the next one finds nothing to change.
    let index = || one.namespace.run("ip -o link show flannel.1").split(':').next().map(str::to_owned);
    let before = (index(), one.namespace.run("ip route"));
    daemons.0.kill();
    assert_eq!(red.ask(&blue_at).as_deref(), Ok("two"));
    let _again = one.daemon("vxlan");
    world.nodes().delete("two", &DeleteParams::default()).await.unwrap();
    eventually("what led to a deleted node is gone", || {
        let all = one.namespace.run("ip route") + &one.namespace.run("bridge fdb show dev flannel.1");
        !all.contains("10.42.1.0") && !all.contains("192.168.9.2")
    })
    .await;
    assert_eq!(index(), before.0);
    assert_eq!(one.namespace.run("ip neigh show dev flannel.1 nud permanent"), "");
    assert!(before.1.contains("10.42.1.0/24 via 10.42.1.0 dev flannel.1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_up_leaves_nothing() {
    let world = World::new().await;
    let World { one, .. } = &world;
    // Names alone: a link's state may settle meanwhile.
    let links = || -> Vec<String> {
        let lines = one.namespace.run("ip -o link");
        lines.lines().filter_map(|line| Some(line.split(": ").nth(1)?.to_owned())).collect()
    };
    let before = links();
    world.range("one", "10.42.0.0/24").await;
    let daemon = one.daemon("vxlan");
    eventually("the node is ready", || one.is_ready()).await;
    let _pod = one.pod();
    daemon.kill();
    for _ in 0..2 {
        assert!(one.command("vxlan").arg("--cleanup").status().unwrap().success());
    }
    assert_eq!(links(), before);
    assert_eq!(one.namespace.run("nft list ruleset"), "");
    assert!(one.runtime.files("net.d").is_empty() && !one.runtime.path("subnet.env").exists());
    assert!(one.runtime.files("data").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_reach_each_other_through_host_gateways() {
    let world = World::new().await;
    let World { one, two, .. } = &world;
    world.range("one", "10.42.0.0/24").await;
    world.range("two", "10.42.1.0/24").await;
    let _daemons = (one.daemon("host-gw"), two.daemon("host-gw"));
    eventually("both nodes are ready", || one.is_ready() && two.is_ready()).await;
    let ((red, red_at), (blue, blue_at)) = (one.pod(), two.pod());
    eventually("the routes are there", || {
        one.namespace.run("ip route").contains("10.42.1.0/24 via 192.168.9.2 dev lan")
            && two.namespace.run("ip route").contains("10.42.0.0/24 via 192.168.9.1 dev lan")
    })
    .await;
    assert_eq!(red.ask(&blue_at).as_deref(), Ok("two"));
    assert_eq!(blue.ask(&red_at).as_deref(), Ok("one"));

    // To everybody else pods speak as their node.
    two.namespace.serve("192.168.9.2:9000", "node two");
    assert_eq!(red.ask("192.168.9.2:9000").as_deref(), Ok("node two"));
    let flows = one.namespace.run("conntrack -L -p tcp --orig-port-dst 9000");
    assert!(flows.contains("dst=192.168.9.1"), "{flows}");
}
