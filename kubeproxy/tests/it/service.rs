//! The daemon against a real API server and the kernel: a node, two pods on it and a client outside, each in a network
//! namespace of its own.

use std::io::ErrorKind;
use std::io::Write;

use client::k8s_openapi::api::core::v1::Service;
use client::k8s_openapi::api::discovery::v1::EndpointSlice;
use client::kube::Api;
use client::kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use testkit::Cluster;
use testkit::netns::{Namespace, Process, answer, eventually};

const RED: &str = "10.42.0.2";
const BLUE: &str = "10.42.0.3";

struct World {
    cluster: Cluster,
    kubeconfig: NamedTempFile,
    client: Namespace,
    node: Namespace,
    red: Namespace,
    blue: Namespace,
}

impl World {
    async fn new() -> Self {
        let cluster = testkit::start().await;
        let (client, node) = (Namespace::new("client"), Namespace::new("node"));
        let (red, blue) = (Namespace::new("red"), Namespace::new("blue"));
        node.join("lan", &client, "lan");
        node.run("ip addr add 192.168.9.1/24 dev lan");
        client.run("ip addr add 192.168.9.2/24 dev lan");
        node.run("ip link add cni0 type bridge");
        node.run("ip addr add 10.42.0.1/24 dev cni0");
        node.run("ip link set cni0 up");
        node.run("sysctl -q -w net.ipv4.ip_forward=1");
        for (pod, name, address) in [(&red, "red", RED), (&blue, "blue", BLUE)] {
            node.join(name, pod, "eth0");
            node.run(&format!("ip link set {name} master cni0"));
            node.run(&format!("bridge link set dev {name} hairpin on"));
            pod.run(&format!("ip addr add {address}/24 dev eth0"));
            pod.run("ip route add default via 10.42.0.1");
        }
        red.serve("0.0.0.0:8080", "red");
        blue.serve("0.0.0.0:8080", "blue");
        node.relay(cluster.address);
        let mut kubeconfig = NamedTempFile::new().unwrap();
        let text = cluster.kubeconfig("system:kube-proxy", &["system:masters"]);
        kubeconfig.write_all(text.as_bytes()).unwrap();
        Self { cluster, kubeconfig, client, node, red, blue }
    }

    fn daemon(&self, more: &[&str]) -> Process {
        let mut command = self.node.command(env!("CARGO_BIN_EXE_isopod-kubeproxy"));
        command.arg("--kubeconfig").arg(self.kubeconfig.path()).arg("--hostname-override=here").args(more);
        Process::start(command)
    }

    async fn service(&self, name: &str, spec: Value) {
        let service = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap();
        let api: Api<Service> = Api::namespaced(self.cluster.client(), "default");
        api.create(&PostParams::default(), &service).await.unwrap();
    }

    async fn endpoints(&self, service: &str, addresses: &[&str]) {
        let endpoints: Vec<Value> = addresses
            .iter()
            .map(|address| json!({"addresses": [address], "nodeName": "here", "conditions": {"ready": true}}))
            .collect();
        let slice: EndpointSlice = serde_json::from_value(json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": service, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [{"name": "main", "port": 8080, "protocol": "TCP"}, {"name": "udp", "port": 8080, "protocol": "UDP"}],
        }))
        .unwrap();
        let api: Api<EndpointSlice> = Api::namespaced(self.cluster.client(), "default");
        if api.get_opt(service).await.unwrap().is_some() {
            let patch = json!({"endpoints": endpoints});
            api.patch(service, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        } else {
            api.create(&PostParams::default(), &slice).await.unwrap();
        }
    }
}

/// All answers to so many questions, each once.
fn answers(from: &Namespace, address: &str, times: usize) -> Vec<String> {
    let mut all: Vec<String> = (0..times).map(|_| from.ask(address).unwrap()).collect();
    all.sort();
    all.dedup();
    all
}

fn main_port(port: u16) -> Value {
    json!([{"name": "main", "port": port, "protocol": "TCP"}])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_are_reached_from_everywhere() {
    let world = World::new().await;
    let World { client, node, red, blue, .. } = &world;
    world
        .service(
            "web",
            json!({
                "type": "NodePort", "clusterIP": "10.43.0.80",
                "ports": [{"name": "main", "port": 80, "nodePort": 30080, "protocol": "TCP"}],
            }),
        )
        .await;
    world.endpoints("web", &[RED, BLUE]).await;
    world
        .service(
            "idle",
            json!({
                "type": "NodePort", "clusterIP": "10.43.0.81",
                "ports": [{"name": "main", "port": 80, "nodePort": 30081, "protocol": "TCP"}],
            }),
        )
        .await;
    world.service("self", json!({"clusterIP": "10.43.0.82", "ports": main_port(80)})).await;
    world.endpoints("self", &[RED]).await;
    world
        .service(
            "sticky",
            json!({"clusterIP": "10.43.0.83", "sessionAffinity": "ClientIP", "ports": main_port(80)}),
        )
        .await;
    world.endpoints("sticky", &[RED, BLUE]).await;
    let daemon = world.daemon(&[]);
    eventually("the cluster address answers", || red.ask("10.43.0.80:80").is_ok()).await;

    // With 40 questions the odds that one of two endpoints never answers are one in a trillion.
    for (from, address) in [
        (red, "10.43.0.80:80"),
        (node, "10.43.0.80:80"),
        (client, "192.168.9.1:30080"),
        (node, "192.168.9.1:30080"),
        (blue, "192.168.9.1:30080"),
    ] {
        assert_eq!(answers(from, address, 40), ["blue", "red"], "{} asks {address}", from.name());
    }
    assert_eq!(red.ask("10.43.0.82:80").as_deref(), Ok("red"), "a pod reaches itself");
    assert_eq!(answers(blue, "10.43.0.83:80", 10).len(), 1, "a client sticks to its endpoint");

    let refused = Err(ErrorKind::ConnectionRefused);
    for (from, address) in [
        (red, "10.43.0.81:80"),
        (node, "10.43.0.81:80"),
        (client, "192.168.9.1:30081"),
        (red, "10.43.0.80:81"),
        (node, "10.43.0.80:81"),
    ] {
        assert_eq!(from.ask(address), refused, "{} asks {address}", from.name());
    }

    // The rules outlive the daemon, and the next one takes over without a gap.
    daemon.kill();
    assert!(red.ask("10.43.0.80:80").is_ok());
    let _daemon = world.daemon(&[]);
    world.endpoints("idle", &[BLUE]).await;
    eventually("the change arrived", || {
        assert!(red.ask("10.43.0.80:80").is_ok());
        client.ask("192.168.9.1:30081").as_deref() == Ok("blue")
    })
    .await;
    let services: Api<Service> = Api::namespaced(world.cluster.client(), "default");
    services.delete("web", &DeleteParams::default()).await.unwrap();
    eventually("a deleted Service is gone", || client.ask("192.168.9.1:30080") == refused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn udp_clients_follow_the_endpoints() {
    let world = World::new().await;
    let ports = json!([{"name": "udp", "port": 53, "nodePort": 30053, "protocol": "UDP"}]);
    world.service("dns", json!({"type": "NodePort", "clusterIP": "10.43.0.10", "ports": ports})).await;
    world.endpoints("dns", &[RED]).await;
    let daemon = world.daemon(&[]);
    let sockets = [world.blue.udp("10.43.0.10:53"), world.client.udp("192.168.9.1:30053")];
    let all = |who: &str| sockets.iter().all(|socket| answer(socket).as_deref() == Some(who));
    eventually("red answers", || all("red")).await;
    // The same sockets go on: without a clean-up the kernel would keep sending their packets to red.
    world.endpoints("dns", &[BLUE]).await;
    eventually("blue answers", || all("blue")).await;
    // The same when the endpoints change while the daemon is away.
    daemon.kill();
    world.endpoints("dns", &[RED]).await;
    let _daemon = world.daemon(&[]);
    eventually("red answers again", || all("red")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn local_traffic_stays_and_keeps_its_source() {
    let world = World::new().await;
    let ports = json!([{"name": "main", "port": 80, "nodePort": 30080, "protocol": "TCP"}]);
    world.service("web", json!({
        "type": "NodePort", "clusterIP": "10.43.0.80", "externalTrafficPolicy": "Local", "ports": ports,
    })).await;
    world.endpoints("web", &[RED]).await;
    let _daemon = world.daemon(&[]);
    eventually("the node port answers", || world.client.ask("192.168.9.1:30080").as_deref() == Ok("red"))
        .await;
    let flows = world.node.run("conntrack -L -p tcp --orig-port-dst 30080");
    let answered = flows.lines().any(|flow| flow.contains("src=10.42.0.2 dst=192.168.9.2"));
    assert!(answered, "the pod saw another source than the client:\n{flows}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn balancers_and_external_addresses_lead_in() {
    let world = World::new().await;
    let World { client, node, red, .. } = &world;
    // The client sends these addresses to the node, as a balancer or a router would.
    client.run("ip route add 192.0.2.0/24 via 192.168.9.1");
    let balancer = |address: &str, more: Value| {
        let mut spec = json!({"type": "LoadBalancer", "clusterIP": address, "ports": main_port(80)});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    world.service("open", balancer("10.43.0.90", json!({"externalIPs": ["192.0.2.1"]}))).await;
    world
        .service("shut", balancer("10.43.0.91", json!({"loadBalancerSourceRanges": ["198.51.100.0/24"]})))
        .await;
    let local = json!({"externalTrafficPolicy": "Local", "healthCheckNodePort": 32100});
    world.service("local", balancer("10.43.0.92", local)).await;
    let services: Api<Service> = Api::namespaced(world.cluster.client(), "default");
    for (name, address) in [("open", "192.0.2.2"), ("shut", "192.0.2.3"), ("local", "192.0.2.4")] {
        world.endpoints(name, &[RED]).await;
        let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": address}]}}});
        services.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    }
    let _daemon = world.daemon(&[]);
    eventually("the balancer's address answers", || client.ask("192.0.2.2:80").as_deref() == Ok("red")).await;
    assert_eq!(client.ask("192.0.2.1:80").as_deref(), Ok("red"));
    assert_eq!(client.ask("192.0.2.4:80").as_deref(), Ok("red"));
    assert_eq!(client.ask("192.0.2.3:80"), Err(ErrorKind::TimedOut), "who is not in the ranges gets nothing");
    assert_eq!(
        red.ask("10.43.0.91:80").as_deref(),
        Ok("red"),
        "the ranges are for the balancer's address alone"
    );
    let health = || node.run("busybox wget -S -O- http://127.0.0.1:32100/");
    assert_eq!(
        serde_json::from_str::<Value>(&health()).unwrap(),
        json!({"service": {"namespace": "default", "name": "local"}, "localEndpoints": 1, "serviceProxyHealthy": true})
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_addresses_never_leave_and_clean_up_leaves_nothing() {
    let world = World::new().await;
    let before = world.node.run("ip -4 route show table all");
    // A default route, by which a stray packet would leave.
    world.node.run("ip route add default via 192.168.9.2");
    world.service("web", json!({"clusterIP": "10.43.0.80", "ports": main_port(80)})).await;
    world.endpoints("web", &[RED]).await;
    let daemon = world.daemon(&[]);
    eventually("the node reaches the service", || world.node.ask("10.43.0.80:80").is_ok()).await;
    assert!(world.node.run("ip route get 10.43.77.7").contains("dev lo"));
    let unreachable = world.node.command("ip").args(["route", "get", "10.42.77.7"]).output().unwrap();
    assert!(String::from_utf8_lossy(&unreachable.stderr).contains("No route to host"));
    daemon.kill();
    world.node.run(&format!("{} --cleanup", env!("CARGO_BIN_EXE_isopod-kubeproxy")));
    assert_eq!(world.node.run("nft list ruleset"), "");
    world.node.run("ip route del default");
    assert_eq!(world.node.run("ip -4 route show table all"), before);
}
