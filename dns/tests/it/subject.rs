//! The daemon under test, and how to ask it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, Query};
use hickory_proto::rr::{Name, RecordType};

/// How long an answer may take: far beyond what one takes, so only a lost one fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running daemon.
pub(crate) struct Subject {
    pub(crate) address: SocketAddr,
    pub(crate) trigger: daemon::drain::Trigger,
    /// Holds its tasks, which end with it.
    _context: daemon::Context,
    _folder: tempfile::TempDir,
}

/// An API server that lets each do only what it may.
pub(crate) async fn cluster() -> testkit::Cluster {
    let mut settings = apiserver::config::Settings::for_tests();
    settings.authorization_mode = vec!["RBAC".to_owned()];
    testkit::start_with(settings, Arc::new(store::memory::Memory::new())).await
}

/// A port that is free for both protocols.
pub(crate) fn free_port() -> u16 {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        if UdpSocket::bind(address).is_ok() {
            return address.port();
        }
    }
}

/// Starts the daemon for a cluster with these further flags, and waits until it is ready.
pub(crate) async fn start(cluster: &testkit::Cluster, flags: &[&str]) -> Subject {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, cluster.kubeconfig("system:isopod-dns", &["system:authenticated"])).unwrap();
    let port = free_port();
    let line = format!(
        "--kubeconfig {} --bind-address 127.0.0.1 --advertise-address 10.214.0.11 --port {port} --node-name n1 \
         --metrics-bind-address= --resolv-conf {}",
        kubeconfig.display(),
        folder.path().join("none").display(),
    );
    let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    words.extend(flags.iter().map(ToString::to_string));
    let (settings, _, _) = daemon::flag::parse(&words).unwrap();
    let (context, trigger) = daemon::Context::new("dns");
    let running = context.clone();
    cluster.context.spawn("dns", async move { dns::run(settings, running).await });
    // The daemon holds its gate from its first step on.
    tokio::task::yield_now().await;
    context.gates().ready().await;
    Subject { address: SocketAddr::from(([127, 0, 0, 1], port)), trigger, _context: context, _folder: folder }
}

/// A question as bytes.
pub(crate) fn question(name: &str, kind: RecordType, payload: Option<u16>) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.edns = payload.map(|payload| {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        edns
    });
    message.to_vec().unwrap()
}

impl Subject {
    /// Sends a packet and gives the answer.
    pub(crate) async fn udp(&self, packet: Vec<u8>) -> Message {
        let address = self.address;
        let asking = tokio::task::spawn_blocking(move || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.send_to(&packet, address).unwrap();
            let mut buffer = [0; 4096];
            let length = socket.recv(&mut buffer).expect("an answer");
            Message::from_vec(&buffer[..length]).unwrap()
        });
        asking.await.unwrap()
    }

    /// Sends packets through one connection and gives the answers.
    pub(crate) async fn tcp(&self, packets: Vec<Vec<u8>>) -> Vec<Message> {
        let address = self.address;
        let asking = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            for packet in &packets {
                let length = u16::try_from(packet.len()).unwrap().to_be_bytes();
                stream.write_all(&[&length[..], packet].concat()).unwrap();
            }
            let mut answers = Vec::new();
            for _ in packets {
                let mut length = [0; 2];
                stream.read_exact(&mut length).expect("an answer");
                let mut reply = vec![0; u16::from_be_bytes(length).into()];
                stream.read_exact(&mut reply).unwrap();
                answers.push(Message::from_vec(&reply).unwrap());
            }
            answers
        });
        asking.await.unwrap()
    }

    /// What Debian's dig prints for these words.
    pub(crate) async fn dig(&self, line: &str) -> String {
        let line = format!("@127.0.0.1 -p {} {line}", self.address.port());
        let asking = tokio::task::spawn_blocking(move || {
            let output = Command::new("dig").args(line.split_whitespace()).output().expect("dig runs");
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        });
        asking.await.unwrap()
    }
}
