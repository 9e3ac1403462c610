//! The plugins: what ADD makes, that CHECK sees what is missing, and that DEL leaves nothing, however often it comes.

use serde_json::{Value, json};
use testkit::netns::Namespace;

use crate::runtime::Runtime;

struct World {
    runtime: Runtime,
    host: Namespace,
}

impl World {
    fn new() -> Self {
        Self { runtime: Runtime::new(), host: Namespace::new("host") }
    }

    /// The configuration of a bridge with addresses of its own.
    fn bridge(&self, version: &str) -> Value {
        json!({
            "cniVersion": version,
            "name": "net",
            "type": "bridge",
            "bridge": "cni0",
            "isDefaultGateway": true,
            "forceAddress": true,
            "hairpinMode": true,
            "ipMasq": true,
            "mtu": 1400,
            "ipam": {"type": "host-local", "subnet": "10.42.7.0/29", "dataDir": self.runtime.path("networks")},
        })
    }

    /// The links of the host that containers' interfaces are paired with.
    fn pairs(&self) -> usize {
        self.host.run("ip -o link").lines().filter(|line| line.contains(": veth")).count()
    }
}

fn with(config: &Value, name: &str, value: Value) -> Value {
    let mut config = config.clone();
    config[name] = value;
    config
}

#[test]
fn a_container_joins_is_checked_and_parts_without_a_trace() {
    for version in ["0.3.1", "0.4.0", "1.0.0"] {
        let world = World::new();
        let World { runtime, host } = &world;
        let pod = Namespace::new("pod");
        let config = world.bridge(version);
        let result = runtime.call(host, "ADD", &pod, &config).unwrap();
        assert_eq!(result["cniVersion"], version);
        assert_eq!(result["ips"][0]["address"], "10.42.7.2/29");
        assert_eq!(result["interfaces"][2]["name"], "eth0");
        assert_eq!(result["interfaces"][2]["sandbox"], json!(pod.path()));
        let inside = pod.run("ip addr show eth0");
        assert!(
            inside.contains("10.42.7.2/29") && inside.contains("mtu 1400") && inside.contains("UP"),
            "{inside}"
        );
        assert!(pod.run("ip route").contains("default via 10.42.7.1"));
        pod.serve("0.0.0.0:80", "pod");
        assert_eq!(host.ask("10.42.7.2:80").as_deref(), Ok("pod"));
        assert_eq!(runtime.files("networks/net"), ["10.42.7.2"]);

        // A second ADD is refused and harms nothing.
        assert_eq!(runtime.call(host, "ADD", &pod, &config).unwrap_err()["code"], 100);
        assert_eq!(host.ask("10.42.7.2:80").as_deref(), Ok("pod"));

        let checked = with(&config, "prevResult", result);
        if version != "0.3.1" {
            runtime.call(host, "CHECK", &pod, &checked).unwrap();
            pod.run("ip addr del 10.42.7.2/29 dev eth0");
            let fault = runtime.call(host, "CHECK", &pod, &checked).unwrap_err();
            assert_eq!(fault["msg"], "eth0 has lost the address 10.42.7.2/29");
        }
        for _ in 0..2 {
            runtime.call(host, "DEL", &pod, &checked).unwrap();
        }
        assert_eq!((world.pairs(), runtime.files("networks/net").len()), (0, 0));
        assert!(!host.run("nft list ruleset").contains("10.42.7.2"));
    }
}

#[test]
fn a_container_whose_namespace_is_gone_can_part() {
    let world = World::new();
    let World { runtime, host } = &world;
    let config = world.bridge("1.0.0");
    let pod = Namespace::new("pod");
    let (id, path) = (pod.name().to_owned(), pod.path());
    runtime.call(host, "ADD", &pod, &config).unwrap();
    drop(pod);
    runtime.call_at(host, "DEL", &id, &path, &config).unwrap();
    assert!(runtime.files("networks/net").is_empty());
}

#[test]
fn a_failed_add_leaves_nothing() {
    let world = World::new();
    let World { runtime, host } = &world;
    let pod = Namespace::new("pod");
    let good = world.bridge("1.0.0");
    let data = runtime.path("networks");
    let cases = [
        (with(&good, "ipam", json!({"type": "nope"})), 7, "nope"),
        (with(&good, "ipam", json!({"type": "host-local", "dataDir": data})), 7, "no range"),
        (
            with(
                &good,
                "ipam",
                json!({
                    "type": "host-local", "subnet": "10.42.7.0/29", "dataDir": data,
                    "routes": [{"dst": "10.9.0.0/16", "gw": "172.16.0.1"}],
                }),
            ),
            100,
            "10.9.0.0/16",
        ),
        (with(&good, "bridge", json!("lo")), 100, "no bridge"),
        (with(&good, "vlan", json!(7)), 2, "vlan"),
    ];
    for (config, code, word) in cases {
        let fault = runtime.call(host, "ADD", &pod, &config).unwrap_err();
        assert_eq!(fault["code"], code, "{fault}");
        assert!(fault["msg"].as_str().unwrap().contains(word), "{fault}");
        assert_eq!((world.pairs(), runtime.files("networks/net").len()), (0, 0), "{fault}");
        assert!(!pod.run("ip link").contains("eth0"));
    }
    let gone = runtime.call_at(host, "ADD", "c1", "/run/netns/nobody".as_ref(), &good).unwrap_err();
    assert_eq!(gone["code"], 3);
}

#[test]
fn many_at_once_get_addresses_of_their_own_until_none_is_left() {
    let world = World::new();
    let World { runtime, host } = &world;
    let config = world.bridge("1.0.0");
    // A /29 has six addresses, one of which is the gateway's.
    let pods: Vec<Namespace> = (0..6).map(|_| Namespace::new("pod")).collect();
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let calls: Vec<_> =
            pods.iter().map(|pod| scope.spawn(|| runtime.call(host, "ADD", pod, &config))).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    let mut given: Vec<String> = outcomes
        .iter()
        .filter_map(|outcome| outcome.as_ref().ok()?["ips"][0]["address"].as_str().map(str::to_owned))
        .collect();
    given.sort();
    assert_eq!(given, ["10.42.7.2/29", "10.42.7.3/29", "10.42.7.4/29", "10.42.7.5/29", "10.42.7.6/29"]);
    let fault = outcomes.iter().find_map(|outcome| outcome.as_ref().err()).unwrap();
    assert_eq!(fault["msg"], "no address is left in 10.42.7.1-10.42.7.6");
    assert_eq!(world.pairs(), 5);
}

#[test]
fn ports_of_the_host_lead_into_the_container() {
    let world = World::new();
    let World { runtime, host } = &world;
    let (pod, client) = (Namespace::new("pod"), Namespace::new("client"));
    host.join("lan", &client, "lan");
    host.run("ip addr add 192.168.9.1/24 dev lan");
    client.run("ip addr add 192.168.9.2/24 dev lan");
    let previous = runtime.call(host, "ADD", &pod, &world.bridge("1.0.0")).unwrap();
    pod.serve("0.0.0.0:80", "pod");
    let mapping =
        |port: u16, on: &str| json!({"hostPort": port, "containerPort": 80, "protocol": "tcp", "hostIP": on});
    let config = json!({
        "cniVersion": "1.0.0", "name": "net", "type": "portmap", "prevResult": previous,
        "runtimeConfig": {"portMappings": [mapping(8080, ""), mapping(8081, "127.0.0.1"), mapping(8082, "192.168.9.1")]},
    });
    let result = runtime.call(host, "ADD", &pod, &config).unwrap();
    assert_eq!(result, previous);
    let cases: &[(&Namespace, &str, bool)] = &[
        (&client, "192.168.9.1:8080", true),
        (host, "127.0.0.1:8080", true),
        (host, "192.168.9.1:8080", true),
        (&pod, "192.168.9.1:8080", true),
        (host, "127.0.0.1:8081", true),
        (&client, "192.168.9.1:8081", false),
        (&client, "192.168.9.1:8082", true),
        (host, "127.0.0.1:8082", false),
    ];
    for (from, address, answers) in cases {
        assert_eq!(from.ask(address).is_ok(), *answers, "{} asks {address}", from.name());
    }
    for _ in 0..2 {
        runtime.call(host, "DEL", &pod, &config).unwrap();
    }
    assert!(!host.run("nft list ruleset").contains("hostport-"));
    assert!(client.ask("192.168.9.1:8080").is_err());
}

#[test]
fn loopback_comes_up() {
    let world = World::new();
    let pod = Namespace::new("pod");
    pod.run("ip link set lo down");
    let config = json!({"cniVersion": "1.0.0", "name": "lo", "type": "loopback"});
    let result = world.runtime.call(&world.host, "ADD", &pod, &config).unwrap();
    assert_eq!(result["ips"][0]["address"], "127.0.0.1/8");
    world.runtime.call(&world.host, "CHECK", &pod, &config).unwrap();
    world.runtime.call(&world.host, "DEL", &pod, &config).unwrap();
}

#[test]
fn versions_are_told() {
    let world = World::new();
    let pod = Namespace::new("pod");
    let result = world.runtime.call(&world.host, "VERSION", &pod, &json!({"type": "bridge"})).unwrap();
    assert_eq!(
        result,
        json!({"cniVersion": "1.0.0", "supportedVersions": ["0.3.0", "0.3.1", "0.4.0", "1.0.0"]})
    );
}
