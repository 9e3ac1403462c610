//! Names that come and go with objects of the API.

use client::k8s_openapi::api::core::v1::{Namespace, Node, Service};
use client::k8s_openapi::api::discovery::v1::EndpointSlice;
use client::kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use client::kube::{Api, Resource};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;
use testkit::Cluster;

use crate::subject::{self, Subject, question};

async fn create<K>(api: Api<K>, object: Value)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + Debug,
{
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

fn services(cluster: &Cluster) -> Api<Service> {
    Api::namespaced(cluster.client(), "demo")
}

/// A namespace with a service of every sort.
async fn furnish(cluster: &Cluster) {
    create(Api::<Namespace>::all(cluster.client()), json!({"metadata": {"name": "demo"}})).await;
    let http = json!([{"name": "http", "port": 80}]);
    let specs = [
        ("web", json!({"clusterIP": "10.43.7.7", "ports": http})),
        ("set", json!({"clusterIP": "None", "ports": http})),
        ("many", json!({"clusterIP": "None", "ports": http})),
        ("alias", json!({"type": "ExternalName", "externalName": "web.demo.svc.cluster.local"})),
    ];
    for (name, spec) in specs {
        create(services(cluster), json!({"metadata": {"name": name}, "spec": spec})).await;
    }
    let many: Vec<Value> =
        (0..100).map(|number| json!({"addresses": [format!("10.42.9.{number}")]})).collect();
    let slices = [
        ("set", json!([{"addresses": ["10.42.0.5"], "hostname": "set-0"}, {"addresses": ["10.42.0.6"]}])),
        ("many", json!(many)),
    ];
    for (service, endpoints) in slices {
        let slice = json!({
            "metadata": {"name": format!("{service}-x"), "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
        });
        create(Api::<EndpointSlice>::namespaced(cluster.client(), "demo"), slice).await;
    }
}

/// Asks until the answer is this: a watch takes its time.
async fn eventually(subject: &Subject, line: &str, expected: &str) {
    for _ in 0..400 {
        if subject.dig(line).await == expected {
            return;
        }
    }
    panic!("{line}: {:?}, not {expected:?}", subject.dig(line).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_what_there_is() {
    let cluster = subject::cluster().await;
    furnish(&cluster).await;
    let subject = subject::start(&cluster, &[]).await;
    let cases = [
        ("+short web.demo.svc.cluster.local", "10.43.7.7"),
        ("+short +tcp web.demo.svc.cluster.local", "10.43.7.7"),
        ("+short web.demo.svc.cluster.local AAAA", ""),
        ("+short alias.demo.svc.cluster.local", "web.demo.svc.cluster.local.\n10.43.7.7"),
        ("+short set-0.set.demo.svc.cluster.local", "10.42.0.5"),
        ("+short _http._tcp.set-0.set.demo.svc.cluster.local SRV", ""),
        ("+short _http._tcp.web.demo.svc.cluster.local SRV", "0 100 80 web.demo.svc.cluster.local."),
        ("+short 10-42-0-6.demo.pod.cluster.local", "10.42.0.6"),
        ("+short dns-version.cluster.local TXT", "\"1.1.0\""),
        ("+short -x 10.43.7.7", "web.demo.svc.cluster.local."),
        ("+short -x 10.42.0.5", "set-0.set.demo.svc.cluster.local."),
        ("+short cluster.local NS", "ns.dns.cluster.local."),
    ];
    for (line, expected) in cases {
        assert_eq!(subject.dig(line).await, expected, "{line}");
    }
    let denial = subject.dig("none.demo.svc.cluster.local").await;
    assert!(denial.contains("status: NXDOMAIN") && denial.contains("SOA\tns.dns.cluster.local."), "{denial}");
    assert!(subject.dig("+opcode=update cluster.local").await.contains("status: NOTIMP"));
    let refused = subject.dig("cluster.local AXFR").await;
    assert!(refused.contains("Transfer failed") || refused.contains("REFUSED"), "{refused}");
    assert_eq!(
        subject.udp(vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 9]).await.metadata.response_code,
        ResponseCode::FormErr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_are_cut_and_whole_over_tcp() {
    let cluster = subject::cluster().await;
    furnish(&cluster).await;
    let subject = subject::start(&cluster, &[]).await;
    let ask = |payload| question("many.demo.svc.cluster.local.", RecordType::A, payload);
    for (payload, records) in [(None, 29), (Some(1232), 73), (Some(4096), 73)] {
        let message = subject.udp(ask(payload)).await;
        assert!(message.metadata.truncation);
        let found = message.answers.len();
        assert!((records - 2..=records + 2).contains(&found), "{payload:?}: {found}");
    }
    // Several questions at once through one connection.
    let answers =
        subject.tcp(vec![ask(None), question("web.demo.svc.cluster.local.", RecordType::A, None)]).await;
    let counts: Vec<usize> = answers.iter().map(|message| message.answers.len()).collect();
    assert_eq!(counts, [100, 1]);
    // dig goes over to TCP by itself.
    assert_eq!(subject.dig("+short many.demo.svc.cluster.local").await.lines().count(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_follow_the_objects() {
    let cluster = subject::cluster().await;
    let subject = subject::start(&cluster, &[]).await;
    assert!(subject.dig("web.demo.svc.cluster.local").await.contains("NXDOMAIN"));
    furnish(&cluster).await;
    eventually(&subject, "+short web.demo.svc.cluster.local", "10.43.7.7").await;
    services(&cluster).delete("web", &DeleteParams::default()).await.unwrap();
    eventually(&subject, "+short web.demo.svc.cluster.local", "").await;
    let slices: Api<EndpointSlice> = Api::namespaced(cluster.client(), "demo");
    slices.delete("set-x", &DeleteParams::default()).await.unwrap();
    eventually(&subject, "+short set-0.set.demo.svc.cluster.local", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_and_the_slice_are_there_and_are_mended() {
    let cluster = subject::cluster().await;
    let subject = subject::start(&cluster, &[]).await;
    eventually(&subject, "+short kube-dns.kube-system.svc.cluster.local", "10.43.0.10").await;
    eventually(
        &subject,
        "+short 10-214-0-11.kube-dns.kube-system.svc.cluster.local SRV",
        &format!("0 100 {} 10-214-0-11.kube-dns.kube-system.svc.cluster.local.", subject.address.port()),
    )
    .await;
    let slices: Api<EndpointSlice> = Api::namespaced(cluster.client(), "kube-system");
    let first = slices.get("kube-dns-n1").await.unwrap();
    slices.delete("kube-dns-n1", &DeleteParams::default()).await.unwrap();
    let made_anew = async {
        loop {
            let found = client::object::found(slices.get("kube-dns-n1").await).unwrap();
            if found.is_some_and(|found| found.metadata.uid != first.metadata.uid) {
                return;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), made_anew).await.expect("a new slice");
    // When it leaves, it says so.
    subject.trigger.start();
    let left = async {
        loop {
            let slice = slices.get("kube-dns-n1").await.unwrap();
            let conditions = slice.endpoints.unwrap()[0].conditions.clone().unwrap();
            if conditions.ready == Some(false) && conditions.terminating == Some(true) {
                return;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), left).await.expect("a goodbye");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_have_names_and_take_their_slices_with_them() {
    let cluster = subject::cluster().await;
    let subject = subject::start(&cluster, &[]).await;
    let nodes: Api<Node> = Api::all(cluster.client());
    create(nodes.clone(), json!({"metadata": {"name": "n1"}})).await;
    let status = json!({"status": {"addresses": [
        {"type": "InternalIP", "address": "203.0.113.7"}, {"type": "Hostname", "address": "n1"},
    ]}});
    nodes.patch_status("n1", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    eventually(&subject, "+short n1", "203.0.113.7").await;
    eventually(&subject, "+short -x 203.0.113.7", "n1.").await;
    let slices: Api<EndpointSlice> = Api::namespaced(cluster.client(), "kube-system");
    let owned = async {
        loop {
            let slice = client::object::found(slices.get("kube-dns-n1").await).unwrap();
            if slice.and_then(|slice| slice.metadata.owner_references).is_some() {
                return;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), owned).await.expect("an owner");
}
