//! Asking other servers: over UDP, over TCP where that is too narrow, one after another, each question once at a time.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use crate::cache::{Cache, Question};
use crate::message::PAYLOAD;
use crate::upstream::Servers;

/// How long one server has for one try: CoreDNS' read timeout.
const TRY: Duration = Duration::from_secs(2);

/// How long all servers have together: libc's resolvers ask again after five seconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often each server is tried within that: a datagram may be lost.
const TRIES: usize = 2;

/// Asks other servers and remembers what they said.
#[derive(Debug)]
pub struct Forwarder {
    state: Mutex<State>,
    /// Which server answered last.
    preferred: AtomicUsize,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Debug)]
struct State {
    servers: Servers,
    cache: Cache,
    /// Questions that are being asked. A question that comes back here through others, in a circle, waits for itself
    /// until its time is over, and is not multiplied.
    flights: HashMap<Question, watch::Receiver<Option<Message>>>,
}

/// A question that this task asks for all who want to know.
struct Flight<'a> {
    forwarder: &'a Forwarder,
    question: &'a Question,
    landed: watch::Sender<Option<Message>>,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.forwarder.state.lock().flights.remove(self.question);
    }
}

impl Forwarder {
    pub fn new(servers: Servers) -> Self {
        let state = State { servers, cache: Cache::default(), flights: HashMap::new() };
        let zero = AtomicU64::default;
        Self { state: Mutex::new(state), preferred: AtomicUsize::new(0), hits: zero(), misses: zero() }
    }

    /// What is remembered.
    pub fn cached(&self, question: &Question) -> Option<Message> {
        let found = self.state.lock().cache.get(question, Instant::now());
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Hits, misses and entries of what is remembered.
    pub fn figures(&self) -> (u64, u64, usize) {
        let entries = self.state.lock().cache.size();
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed), entries)
    }

    /// What the other servers say; a failure to find out is an answer as well.
    pub async fn resolve(&self, question: &Question) -> Message {
        let (landed, seen) = watch::channel(None);
        let other = {
            let mut state = self.state.lock();
            let other = state.flights.get(question).cloned();
            if other.is_none() {
                state.flights.insert(question.clone(), seen);
            }
            other
        };
        if let Some(mut other) = other {
            return match other.wait_for(Option::is_some).await {
                Ok(message) => message.clone().unwrap_or_else(failure),
                // Who asked was stopped.
                Err(_) => failure(),
            };
        }
        let flight = Flight { forwarder: self, question, landed };
        let message = self.ask(question).await;
        self.state.lock().cache.put(question, &message, Instant::now());
        flight.landed.send_replace(Some(message.clone()));
        message
    }

    async fn ask(&self, question: &Question) -> Message {
        let servers = self.state.lock().servers.current().to_vec();
        let (deadline, count) = (Instant::now() + PATIENCE, servers.len());
        let first = self.preferred.load(Ordering::Relaxed);
        let mut unhelpful = None;
        for number in (first..).take(count * TRIES).map(|number| number % count) {
            match timeout_at(deadline, exchange(servers[number], question)).await {
                Ok(Ok(message)) if is_helpful(&message) => {
                    self.preferred.store(number, Ordering::Relaxed);
                    return message;
                }
                Ok(Ok(message)) => unhelpful = Some(message),
                Ok(Err(error)) => tracing::debug!(name = %question.name, "{error:#}"),
                Err(_) => break,
            }
        }
        unhelpful.unwrap_or_else(failure)
    }
}

/// Whether another server could not know better.
fn is_helpful(message: &Message) -> bool {
    let code = message.metadata.response_code;
    matches!(code, ResponseCode::NoError | ResponseCode::NXDomain)
}

fn failure() -> Message {
    let mut message = Message::new(0, MessageType::Response, OpCode::Query);
    message.metadata.response_code = ResponseCode::ServFail;
    message
}

/// Asks one server.
async fn exchange(server: SocketAddr, question: &Question) -> anyhow::Result<Message> {
    let mut query = query(question);
    let asked = || format!("could not ask {server}");
    let mut reply = timeout(TRY, datagram(server, &query)).await.with_context(asked)?.with_context(asked)?;
    if reply.metadata.response_code == ResponseCode::FormErr && reply.edns.is_none() {
        // A server from before 1999, which takes the extension for an error.
        query.edns = None;
        reply = timeout(TRY, datagram(server, &query)).await.with_context(asked)?.with_context(asked)?;
    }
    if reply.metadata.truncation {
        reply = timeout(TRY, stream(server, &query)).await.with_context(asked)?.with_context(asked)?;
    }
    reply.edns = None;
    Ok(reply)
}

fn query(question: &Question) -> Message {
    let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.metadata.checking_disabled = question.unchecked;
    message.add_query(Query::query(question.name.clone(), question.kind));
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD).set_dnssec_ok(question.signatures);
    message.set_edns(edns);
    message
}

/// Whether a message answers this query, and not another that somebody would like it to.
fn answers(message: &Message, query: &Message) -> bool {
    message.metadata.message_type == MessageType::Response
        && message.metadata.id == query.metadata.id
        && (message.queries == query.queries
            || message.queries.is_empty() && message.metadata.response_code != ResponseCode::NoError)
}

async fn datagram(server: SocketAddr, query: &Message) -> anyhow::Result<Message> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // A socket of its own for each question: its port is as hard to guess as the number in the header.
    let socket = UdpSocket::bind((any, 0)).await.context("no socket")?;
    socket.connect(server).await?;
    socket.send(&query.to_vec()?).await?;
    let mut buffer = vec![0; usize::from(PAYLOAD)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Ok(message) = Message::from_vec(&buffer[..length])
            && answers(&message, query)
        {
            return Ok(message);
        }
    }
}

async fn stream(server: SocketAddr, query: &Message) -> anyhow::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let bytes = query.to_vec()?;
    let length = u16::try_from(bytes.len())?;
    stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat()).await?;
    let mut reply = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut reply).await?;
    let message = Message::from_vec(&reply)?;
    if !answers(&message, query) {
        bail!("what came back answers another question");
    }
    Ok(message)
}
