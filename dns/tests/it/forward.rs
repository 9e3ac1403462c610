//! Questions about the rest of the world, which a fake server of it answers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::subject::{self, free_port, question};

/// A server of a small world.
struct World {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

/// What it says. Names tell it what to do.
fn answer(packet: &[u8], over_tcp: bool) -> Option<Vec<u8>> {
    let mut message = Message::from_vec(packet).unwrap();
    message.metadata.message_type = MessageType::Response;
    let name = message.queries[0].name.clone();
    let first =
        name.iter().next().map(|label| String::from_utf8_lossy(label).into_owned()).unwrap_or_default();
    let record = |data: RData| Record::from_rdata(name.clone(), 300, data);
    match first.as_str() {
        "silent" => return None,
        "none" => message.metadata.response_code = ResponseCode::NXDomain,
        "broken" => message.metadata.response_code = ResponseCode::ServFail,
        "old" if message.edns.is_some() => {
            message.edns = None;
            message.metadata.response_code = ResponseCode::FormErr;
        }
        "large" if !over_tcp => message.metadata.truncation = true,
        "large" => {
            let lines = (0..20).map(|number| format!("{number:0>100}"));
            message.answers.extend(lines.map(|line| record(RData::TXT(TXT::new(vec![line])))));
        }
        _ => {
            message.answers.push(record(RData::from(std::net::IpAddr::from([192, 0, 2, 1]))));
        }
    }
    Some(message.to_vec().unwrap())
}

impl World {
    fn start() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (udp, tcp) = (UdpSocket::bind(address).unwrap(), TcpListener::bind(address).unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let (over_udp, over_tcp) = (Arc::clone(&asked), Arc::clone(&asked));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = udp.recv_from(&mut buffer) {
                over_udp.fetch_add(1, Ordering::SeqCst);
                // Somebody who guesses comes first: another number, another name.
                let mut forged = buffer[..length].to_vec();
                (forged[0], forged[2]) = (!forged[0], forged[2] | 0x80);
                udp.send_to(&forged, from).unwrap();
                if let Some(reply) = answer(&buffer[..length], false) {
                    udp.send_to(&reply, from).unwrap();
                }
            }
        });
        std::thread::spawn(move || {
            for mut stream in tcp.incoming().flatten() {
                over_tcp.fetch_add(1, Ordering::SeqCst);
                let mut length = [0; 2];
                stream.read_exact(&mut length).unwrap();
                let mut packet = vec![0; u16::from_be_bytes(length).into()];
                stream.read_exact(&mut packet).unwrap();
                let reply = answer(&packet, true).unwrap();
                let length = u16::try_from(reply.len()).unwrap().to_be_bytes();
                stream.write_all(&[&length[..], &reply].concat()).unwrap();
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn ask(name: &str, kind: RecordType) -> Vec<u8> {
    question(name, kind, None)
}

#[tokio::test(flavor = "multi_thread")]
async fn others_are_asked_and_their_answers_kept() {
    let (cluster, world) = (subject::cluster().await, World::start());
    // The first server is nowhere; the second answers.
    let nowhere = format!("127.0.0.1:{}", free_port());
    let forward = format!("--forward={nowhere},{}", world.address);
    let subject = subject::start(&cluster, &[&forward]).await;
    let message = subject.udp(ask("WWW.example.com.", RecordType::A)).await;
    assert_eq!(message.metadata.response_code, ResponseCode::NoError);
    assert_eq!(message.answers.len(), 1);
    assert!(message.queries[0].name.eq_case(&Name::from_ascii("WWW.example.com.").unwrap()));
    assert!(!message.metadata.authoritative && message.metadata.recursion_available);
    let asked = world.asked();
    let again = subject.udp(ask("www.example.com.", RecordType::A)).await;
    assert_eq!((again.answers.len(), world.asked()), (1, asked), "the second answer comes from memory");
    let cases = [
        ("none.example.com.", ResponseCode::NXDomain, 0),
        ("broken.example.com.", ResponseCode::ServFail, 0),
        ("old.example.com.", ResponseCode::NoError, 1),
        ("large.example.com.", ResponseCode::NoError, 20),
    ];
    for (name, code, count) in cases {
        let kind = if name.starts_with("large") { RecordType::TXT } else { RecordType::A };
        let message = &subject.tcp(vec![ask(name, kind)]).await[0];
        assert_eq!((message.metadata.response_code, message.answers.len()), (code, count), "{name}");
    }
    let cut = subject.udp(ask("large.example.com.", RecordType::TXT)).await;
    assert!(cut.metadata.truncation, "what came over TCP does not fit a datagram");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_leads_out() {
    let (cluster, world) = (subject::cluster().await, World::start());
    let services = client::kube::Api::namespaced(cluster.client(), "default");
    for (name, target) in [("out", "www.example.com"), ("nowhere", "none.example.com")] {
        let service = serde_json::json!({
            "metadata": {"name": name}, "spec": {"type": "ExternalName", "externalName": target},
        });
        let service: client::k8s_openapi::api::core::v1::Service = serde_json::from_value(service).unwrap();
        services.create(&Default::default(), &service).await.unwrap();
    }
    let subject = subject::start(&cluster, &[&format!("--forward={}", world.address)]).await;
    let found = subject.dig("+short out.default.svc.cluster.local").await;
    assert_eq!(found, "www.example.com.\n192.0.2.1");
    let found = subject.dig("nowhere.default.svc.cluster.local").await;
    assert!(found.contains("status: NXDOMAIN") && found.contains("CNAME\tnone.example.com."), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_anybody_to_ask_it_fails_at_once() {
    let cluster = subject::cluster().await;
    let alone = subject::start(&cluster, &[]).await;
    let message = alone.udp(ask("www.example.com.", RecordType::A)).await;
    assert_eq!(message.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_in_a_circle_ends() {
    let cluster = subject::cluster().await;
    // Two servers, each of which takes the other for the one that knows.
    let relay = UdpSocket::bind("127.0.0.1:0").unwrap();
    let there = relay.local_addr().unwrap();
    let subject = subject::start(&cluster, &[&format!("--forward={there}")]).await;
    let back = subject.address;
    let passed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&passed);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = relay.recv_from(&mut buffer) {
            if from != back {
                count.fetch_add(1, Ordering::SeqCst);
                relay.send_to(&buffer[..length], back).unwrap();
            }
        }
    });
    let message = subject.udp(ask("www.example.com.", RecordType::A)).await;
    assert_eq!(message.metadata.response_code, ResponseCode::ServFail);
    let passed = passed.load(Ordering::SeqCst);
    assert!(passed <= 4, "one question became {passed}");
}
