//! The server: packets in, packets out, whatever carries them.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::Name;
use ipnet::IpNet;
use parking_lot::RwLock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::answer::{Reply, Verdict, answer};
use crate::cache::Question;
use crate::forward::Forwarder;
use crate::index::Index;
use crate::message::{Arrived, Request, Transport, read};
use crate::metric::Counters;
use crate::zone::Zone;

pub mod tcp;
pub mod udp;

/// Questions that wait for other servers at most: each costs a socket and a few kilobytes.
const MOST_WAITING: usize = 512;

/// Answers questions.
#[derive(Debug)]
pub struct Server {
    zone: Zone,
    index: Arc<RwLock<Index>>,
    forwarder: Forwarder,
    allowed: Vec<IpNet>,
    turn: AtomicUsize,
    waiting: Arc<Semaphore>,
    counters: Counters,
}

/// How far an answer has got without waiting.
#[derive(Debug)]
pub enum Begun {
    /// There is nothing to say.
    Nothing,
    /// Say this.
    Reply(Vec<u8>),
    /// Others must be asked; [`Server::finish`] does.
    Wait(Box<Pending>),
}

/// A question that others must be asked.
#[derive(Debug)]
pub struct Pending {
    request: Request,
    /// What is to be said before what the others say: the aliases that led there.
    reply: Reply,
    question: Question,
    _permit: OwnedSemaphorePermit,
}

impl Server {
    pub fn new(zone: Zone, index: Arc<RwLock<Index>>, forwarder: Forwarder, allowed: Vec<IpNet>) -> Self {
        let waiting = Arc::new(Semaphore::new(MOST_WAITING));
        let (turn, counters) = (AtomicUsize::new(0), Counters::default());
        Self { zone, index, forwarder, allowed, turn, waiting, counters }
    }

    /// Answers a packet as far as that needs nobody else.
    pub fn begin(&self, packet: &[u8], transport: Transport, from: IpAddr) -> Begun {
        self.counters.asked(transport);
        let request = match read(packet, transport) {
            Arrived::Question(request) => request,
            Arrived::Refusal(bytes) => return self.said(Some(bytes)),
            Arrived::Noise => return Begun::Nothing,
        };
        let (name, kind) = (&request.query.name, request.query.query_type);
        let verdict = {
            let index = self.index.read();
            if self.may_ask(&index, from) {
                // In turn, so that the first of several addresses is each time another one.
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                answer(&self.zone, &index, name, kind, turn)
            } else {
                Verdict::Reply(Reply::bare(ResponseCode::Refused))
            }
        };
        match verdict {
            Verdict::Reply(reply) => self.said(request.write(reply)),
            Verdict::Chase(reply, target) => self.look_elsewhere(request, reply, &target),
            Verdict::Forward => {
                let name = name.clone();
                self.look_elsewhere(request, Reply::bare(ResponseCode::NoError), &name)
            }
        }
    }

    /// Asks others, and answers with what they say.
    pub async fn finish(&self, pending: Box<Pending>) -> Option<Vec<u8>> {
        let Pending { request, reply, question, _permit } = *pending;
        let message = self.forwarder.resolve(&question).await;
        let bytes = request.write(joined(reply, message))?;
        self.counters.answered(&bytes);
        Some(bytes)
    }

    /// Writes the metrics.
    pub fn expose(&self, out: &mut String) {
        self.counters.expose(self.forwarder.figures(), out);
    }

    fn look_elsewhere(&self, request: Request, reply: Reply, name: &Name) -> Begun {
        let question = Question {
            name: name.to_lowercase(),
            kind: request.query.query_type,
            signatures: request.wants_signatures(),
            unchecked: request.metadata.checking_disabled,
        };
        if let Some(message) = self.forwarder.cached(&question) {
            return self.said(request.write(joined(reply, message)));
        }
        match Arc::clone(&self.waiting).try_acquire_owned() {
            Ok(permit) => Begun::Wait(Box::new(Pending { request, reply, question, _permit: permit })),
            Err(_) => self.said(request.write(Reply::bare(ResponseCode::ServFail))),
        }
    }

    fn said(&self, bytes: Option<Vec<u8>>) -> Begun {
        match bytes {
            Some(bytes) => {
                self.counters.answered(&bytes);
                Begun::Reply(bytes)
            }
            None => Begun::Nothing,
        }
    }

    /// Whether somebody at this address is answered. A server that answers all the world is a weapon in the hands of
    /// who forges addresses; the cluster, its nodes and private neighbours are not all the world.
    fn may_ask(&self, index: &Index, from: IpAddr) -> bool {
        let from = from.to_canonical();
        is_private(from)
            || self.zone.holds(from)
            || index.node_at(from).is_some()
            || self.allowed.iter().any(|range| range.contains(&from))
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

/// What others said, after what this server said first.
fn joined(mut reply: Reply, message: Message) -> Reply {
    reply.code = message.metadata.response_code;
    reply.answers.extend(message.answers);
    reply.authorities.extend(message.authorities);
    reply.additionals.extend(message.additionals);
    reply
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Upstream;
    use crate::upstream::Servers;

    #[test]
    fn who_may_ask() {
        let zone = Zone::new(
            &Name::from_ascii("cluster.local").unwrap(),
            Vec::new(),
            vec!["100.64.0.0/16".parse().unwrap()],
        );
        let forwarder = Forwarder::new(Servers::new(Upstream::Fixed(Vec::new()), Vec::new()));
        let allowed = vec!["9.9.9.0/24".parse().unwrap()];
        let server = Server::new(zone, Arc::default(), forwarder, allowed);
        let cases = [
            ("127.0.0.1", true),
            ("192.168.3.4", true),
            ("::ffff:10.0.0.1", true),
            ("fd00::1", true),
            ("100.64.0.9", true),
            ("9.9.9.9", true),
            ("100.65.0.9", false),
            ("8.8.8.8", false),
            ("2001:db8::1", false),
        ];
        for (from, expected) in cases {
            assert_eq!(server.may_ask(&Index::default(), from.parse().unwrap()), expected, "{from}");
        }
    }
}
