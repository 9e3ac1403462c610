//! Questions and their answers.

use std::sync::Arc;

use client::Change;
use serde_json::{Value, json};

use super::*;

/// A cluster with a service of every sort.
fn index() -> Index {
    let mut index = Index::default();
    (index.complete, index.serial) = (true, 7);
    for name in ["demo", "empty"] {
        let namespace = Arc::new(serde_json::from_value(json!({"metadata": {"name": name}})).unwrap());
        index.note_namespace(&Change::Added(&namespace));
    }
    let http = json!({"name": "http", "port": 80});
    let services = [
        (
            "web",
            json!({"clusterIPs": ["10.43.0.1", "fd00:43::1"], "ports": [http, {"name": "dns", "protocol": "UDP", "port": 53}]}),
        ),
        ("set", json!({"clusterIPs": ["None"], "ports": [http]})),
        ("bare", json!({"clusterIPs": ["None"]})),
        ("idle", json!({"clusterIPs": ["None"], "ports": [http]})),
        ("early", json!({"clusterIPs": ["None"], "publishNotReadyAddresses": true})),
        ("out", json!({"type": "ExternalName", "externalName": "www.example.com"})),
        ("in", json!({"type": "ExternalName", "externalName": "Set.demo.svc.cluster.local."})),
        ("lost", json!({"type": "ExternalName", "externalName": "no.demo.svc.cluster.local"})),
        ("round", json!({"type": "ExternalName", "externalName": "round.demo.svc.cluster.local"})),
        ("number", json!({"type": "ExternalName", "externalName": "10.1.2.3"})),
    ];
    for (name, spec) in services {
        let object = json!({"metadata": {"name": name, "namespace": "demo"}, "spec": spec});
        index.note_service(&Change::Added(&Arc::new(serde_json::from_value(object).unwrap())));
    }
    let ready = |address: &str| json!({"addresses": [address], "conditions": {"ready": true}});
    let unready = |address: &str| json!({"addresses": [address], "conditions": {"ready": false}});
    let named = |address: &str, name: &str| json!({"addresses": [address], "hostname": name});
    let port = |number: u16| json!([{"name": "http", "protocol": "TCP", "port": number}]);
    let slices = [
        ("web", "4", json!([ready("10.42.0.1")]), port(8080)),
        (
            "set",
            "4",
            json!([named("10.42.0.2", "set-0"), ready("10.42.0.3"), unready("10.42.0.4")]),
            port(8080),
        ),
        // The same endpoint may stand in two slices while it moves from one to the other.
        ("set", "moving", json!([ready("10.42.0.3")]), port(8080)),
        ("set", "6", json!([ready("fd00:42::")]), port(8081)),
        ("bare", "4", json!([ready("10.42.0.5")]), Value::Null),
        ("idle", "4", json!([unready("10.42.0.6")]), port(8080)),
        (
            "early",
            "4",
            json!([{"addresses": ["10.42.0.7"], "hostname": "e", "conditions": {"ready": false}}]),
            Value::Null,
        ),
    ];
    for (service, slice, endpoints, ports) in slices {
        let object = json!({
            "metadata": {"name": format!("{service}-{slice}"), "namespace": "demo",
                         "labels": {"kubernetes.io/service-name": service}},
            "endpoints": endpoints, "ports": ports,
        });
        index.note_slice(&Change::Added(&Arc::new(serde_json::from_value(object).unwrap())));
    }
    let node = json!({"metadata": {"name": "n1"}, "status": {"addresses": [
        {"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "192.168.0.1"},
    ]}});
    index.note_node(&Change::Added(&Arc::new(serde_json::from_value(node).unwrap())));
    index
}

fn zone() -> Zone {
    let ranges = ["10.42.0.0/16", "10.43.0.0/16", "fd00:42::/56"];
    let ranges = ranges.map(|range| range.parse().unwrap()).to_vec();
    Zone::new(&Name::from_ascii("cluster.local").unwrap(), vec!["10.43.0.10".parse().unwrap()], ranges)
}

/// A verdict in one line: the code, then the records, with `|` before what is only added.
fn told(index: &Index, name: &str, kind: RecordType, turn: usize) -> String {
    let name = Name::from_ascii(name).unwrap();
    let (reply, rest) = match answer(&zone(), index, &name, kind, turn) {
        Verdict::Forward => return "forward".to_owned(),
        Verdict::Reply(reply) => (reply, String::new()),
        Verdict::Chase(reply, target) => (reply, format!(" then {target}")),
    };
    let show = |records: &[Record]| -> String {
        let one = |record: &Record| match &record.data {
            RData::SOA(soa) => format!(" {} SOA {} {}", record.name, soa.serial, record.ttl),
            data => format!(" {} {data}", record.record_type()),
        };
        records.iter().map(one).collect()
    };
    assert!(reply.authoritative || reply.code == ResponseCode::ServFail, "{name}");
    let code = match reply.code {
        ResponseCode::NoError if !reply.answers.is_empty() => "ok",
        ResponseCode::NoError => "nodata",
        ResponseCode::NXDomain => "nxdomain",
        ResponseCode::ServFail => "servfail",
        code => panic!("{name}: {code}"),
    };
    let beside = show(&reply.additionals);
    let bar = if beside.is_empty() { "" } else { " |" };
    format!("{code}{}{}{bar}{beside}{rest}", show(&reply.answers), show(&reply.authorities))
}

/// Questions about names in the cluster, which is left out of the names here.
const INSIDE: &[(&str, RecordType, &str)] = &[
    ("web.demo.svc", RecordType::A, "ok A 10.43.0.1"),
    ("WEB.Demo.sVc", RecordType::A, "ok A 10.43.0.1"),
    ("web.demo.svc", RecordType::AAAA, "ok AAAA fd00:43::1"),
    ("web.demo.svc", RecordType::MX, "nodata"),
    ("web.demo.svc", RecordType::ANY, "ok A 10.43.0.1 AAAA fd00:43::1"),
    (
        "_http._tcp.web.demo.svc",
        RecordType::SRV,
        "ok SRV 0 100 80 web.demo.svc.cluster.local. | A 10.43.0.1 AAAA fd00:43::1",
    ),
    (
        "_dns._udp.web.demo.svc",
        RecordType::SRV,
        "ok SRV 0 100 53 web.demo.svc.cluster.local. | A 10.43.0.1 AAAA fd00:43::1",
    ),
    ("_http._udp.web.demo.svc", RecordType::SRV, "nxdomain"),
    ("_https._tcp.web.demo.svc", RecordType::SRV, "nxdomain"),
    ("_http._tcp.web.demo.svc", RecordType::A, "ok A 10.43.0.1"),
    ("_tcp.web.demo.svc", RecordType::SRV, "nodata"),
    ("_sctp.web.demo.svc", RecordType::SRV, "nxdomain"),
    (
        "web.demo.svc",
        RecordType::SRV,
        "ok SRV 0 50 80 web.demo.svc.cluster.local. SRV 0 50 53 web.demo.svc.cluster.local. | A 10.43.0.1 AAAA fd00:43::1",
    ),
    ("10-42-0-1.web.demo.svc", RecordType::A, "ok A 10.42.0.1"),
    ("10-42-0-9.web.demo.svc", RecordType::A, "nxdomain"),
    // A headless service: what is ready, once each, whatever slice it stands in.
    ("set.demo.svc", RecordType::A, "ok A 10.42.0.2 A 10.42.0.3"),
    ("set.demo.svc", RecordType::AAAA, "ok AAAA fd00:42::"),
    ("set-0.set.demo.svc", RecordType::A, "ok A 10.42.0.2"),
    ("set-0.set.demo.svc", RecordType::AAAA, "nodata"),
    ("10-42-0-2.set.demo.svc", RecordType::A, "nxdomain"),
    ("10-42-0-3.set.demo.svc", RecordType::A, "ok A 10.42.0.3"),
    ("fd00-42--0.set.demo.svc", RecordType::AAAA, "ok AAAA fd00:42::"),
    ("10-42-0-4.set.demo.svc", RecordType::A, "nxdomain"),
    (
        "_http._tcp.set.demo.svc",
        RecordType::SRV,
        "ok SRV 0 33 8080 10-42-0-3.set.demo.svc.cluster.local. SRV 0 33 8080 set-0.set.demo.svc.cluster.local. \
         SRV 0 33 8081 fd00-42--0.set.demo.svc.cluster.local. | A 10.42.0.3 AAAA fd00:42:: A 10.42.0.2",
    ),
    ("bare.demo.svc", RecordType::A, "ok A 10.42.0.5"),
    ("bare.demo.svc", RecordType::SRV, "nodata"),
    ("_http._tcp.bare.demo.svc", RecordType::SRV, "nxdomain"),
    ("idle.demo.svc", RecordType::A, "nxdomain"),
    ("early.demo.svc", RecordType::A, "ok A 10.42.0.7"),
    // Aliases.
    ("out.demo.svc", RecordType::A, "ok CNAME www.example.com. then www.example.com."),
    ("out.demo.svc", RecordType::CNAME, "ok CNAME www.example.com."),
    ("_http._tcp.out.demo.svc", RecordType::SRV, "nxdomain"),
    ("in.demo.svc", RecordType::A, "ok CNAME Set.demo.svc.cluster.local. A 10.42.0.2 A 10.42.0.3"),
    ("lost.demo.svc", RecordType::A, "nxdomain CNAME no.demo.svc.cluster.local."),
    ("round.demo.svc", RecordType::A, "servfail"),
    ("number.demo.svc", RecordType::A, "nodata"),
    // Pods, which are believed.
    ("10-1-2-3.demo.pod", RecordType::A, "ok A 10.1.2.3"),
    ("10-1-2-3.empty.pod", RecordType::A, "ok A 10.1.2.3"),
    ("10-1-2-3.demo.pod", RecordType::AAAA, "nodata"),
    ("fd00--1.demo.pod", RecordType::AAAA, "ok AAAA fd00::1"),
    ("10-1-2-3.none.pod", RecordType::A, "nxdomain"),
    ("10-1-2-256.demo.pod", RecordType::A, "nxdomain"),
    ("10-1--3.demo.pod", RecordType::A, "nodata"),
    ("10-1-2.demo.pod", RecordType::A, "nxdomain"),
    ("a.demo.pod", RecordType::A, "nxdomain"),
    // Names above them.
    ("demo.svc", RecordType::A, "nodata"),
    ("empty.svc", RecordType::A, "nodata"),
    ("none.svc", RecordType::A, "nxdomain"),
    ("svc", RecordType::A, "nodata"),
    ("pod", RecordType::A, "nodata"),
    ("dns", RecordType::A, "nodata"),
    ("none.demo.svc", RecordType::A, "nxdomain"),
    ("www.example.com", RecordType::A, "nxdomain"),
    ("dns-version", RecordType::TXT, "ok TXT 1.1.0"),
    ("dns-version", RecordType::A, "nodata"),
    ("ns.dns", RecordType::A, "ok A 10.43.0.10"),
    ("", RecordType::A, "nodata"),
    ("", RecordType::SOA, "ok cluster.local. SOA 7 5"),
    ("", RecordType::NS, "ok NS ns.dns.cluster.local. | A 10.43.0.10"),
];

/// Questions about other names.
const OUTSIDE: &[(&str, RecordType, &str)] = &[
    ("example.com.", RecordType::A, "forward"),
    ("local.", RecordType::A, "forward"),
    (".", RecordType::NS, "forward"),
    ("n1.", RecordType::A, "ok A 192.168.0.1"),
    ("n1.", RecordType::AAAA, "nodata"),
    ("1.0.43.10.in-addr.arpa.", RecordType::PTR, "ok PTR web.demo.svc.cluster.local."),
    ("2.0.42.10.in-addr.arpa.", RecordType::PTR, "ok PTR set-0.set.demo.svc.cluster.local."),
    ("7.0.42.10.in-addr.arpa.", RecordType::PTR, "ok PTR e.early.demo.svc.cluster.local."),
    ("3.0.42.10.in-addr.arpa.", RecordType::PTR, "nxdomain 42.10.in-addr.arpa. SOA 7 5"),
    ("1.0.43.10.in-addr.arpa.", RecordType::A, "nodata 43.10.in-addr.arpa. SOA 7 5"),
    ("43.10.in-addr.arpa.", RecordType::SOA, "ok 43.10.in-addr.arpa. SOA 7 5"),
    ("0.43.10.in-addr.arpa.", RecordType::PTR, "nodata 43.10.in-addr.arpa. SOA 7 5"),
    ("1.0.168.192.in-addr.arpa.", RecordType::PTR, "ok PTR n1."),
    ("8.8.8.8.in-addr.arpa.", RecordType::PTR, "forward"),
    ("10.in-addr.arpa.", RecordType::NS, "forward"),
];

#[test]
fn questions_and_answers() {
    let index = index();
    for (name, kind, expected) in INSIDE {
        let whole = format!("{name}{}cluster.local.", if name.is_empty() { "" } else { "." });
        let denies = expected.starts_with('n');
        let expected =
            if denies { format!("{expected} cluster.local. SOA 7 5") } else { expected.to_string() };
        assert_eq!(told(&index, &whole, *kind, 0), expected, "{name} {kind}");
    }
    for (name, kind, expected) in OUTSIDE {
        assert_eq!(told(&index, name, *kind, 0), *expected, "{name} {kind}");
    }
}

#[test]
fn each_address_comes_first_in_turn() {
    let index = index();
    let told = |turn| told(&index, "in.demo.svc.cluster.local.", RecordType::A, turn);
    assert_eq!(told(0), "ok CNAME Set.demo.svc.cluster.local. A 10.42.0.2 A 10.42.0.3");
    assert_eq!(told(1), "ok CNAME Set.demo.svc.cluster.local. A 10.42.0.3 A 10.42.0.2");
    assert_eq!(told(2), told(0));
}

#[test]
fn nothing_is_denied_before_everything_is_known() {
    let mut index = index();
    index.complete = false;
    let cases = [("web", "ok A 10.43.0.1"), ("none", "servfail")];
    for (name, expected) in cases {
        let name = format!("{name}.demo.svc.cluster.local.");
        assert_eq!(told(&index, &name, RecordType::A, 0), expected, "{name}");
    }
}
