//! From bytes to a question, and from a reply to bytes that fit.

use hickory_proto::op::{Edns, Header, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use crate::answer::Reply;

/// The largest UDP message sent or asked for, in bytes: what every path carries unfragmented (DNS flag day 2020).
pub const PAYLOAD: u16 = 1232;

/// The largest UDP message to who does not say what it can take, in bytes: RFC 1035.
const PLAIN_PAYLOAD: u16 = 512;

/// The header's length in bytes.
const HEADER: usize = 12;

/// What travels as one datagram or through a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// A question with all that its answer must repeat or respect.
#[derive(Debug, Clone)]
pub struct Request {
    pub metadata: Metadata,
    pub query: Query,
    /// What the client says of itself, if it does.
    pub edns: Option<Edns>,
    pub transport: Transport,
}

/// What has arrived.
#[derive(Debug)]
pub enum Arrived {
    Question(Request),
    /// No question that can be answered; this says so.
    Refusal(Vec<u8>),
    /// Not worth a word: too short to be answered, or itself an answer.
    Noise,
}

/// Reads a packet.
pub fn read(packet: &[u8], transport: Transport) -> Arrived {
    let Ok(header) = Header::read(&mut BinDecoder::new(packet)) else { return Arrived::Noise };
    let metadata = header.metadata;
    if packet.len() < HEADER || metadata.message_type == MessageType::Response {
        return Arrived::Noise;
    }
    if metadata.op_code != OpCode::Query {
        return refusal(&metadata, None, None, ResponseCode::NotImp);
    }
    let Ok(mut message) = Message::from_vec(packet) else {
        return refusal(&metadata, None, None, ResponseCode::FormErr);
    };
    let edns = message.edns.take();
    let (Some(query), true) = (message.queries.pop(), message.queries.is_empty()) else {
        return refusal(&metadata, None, edns, ResponseCode::FormErr);
    };
    if edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return refusal(&metadata, Some(query), edns, ResponseCode::BADVERS);
    }
    // A transfer of the zone, or another class than the Internet, is nobody's business here.
    let odd = matches!(query.query_type, RecordType::AXFR | RecordType::IXFR);
    if odd || !matches!(query.query_class, DNSClass::IN | DNSClass::ANY) {
        return refusal(&metadata, Some(query), edns, ResponseCode::Refused);
    }
    Arrived::Question(Request { metadata, query, edns, transport })
}

fn refusal(metadata: &Metadata, query: Option<Query>, edns: Option<Edns>, code: ResponseCode) -> Arrived {
    let mut message = response(metadata, edns.as_ref());
    message.queries.extend(query);
    message.metadata.response_code = code;
    message.to_vec().map_or(Arrived::Noise, Arrived::Refusal)
}

/// A response without content to a request with this header.
fn response(request: &Metadata, edns: Option<&Edns>) -> Message {
    let mut message = Message::response(request.id, request.op_code);
    message.metadata.recursion_desired = request.recursion_desired;
    message.metadata.recursion_available = true;
    message.metadata.checking_disabled = request.checking_disabled;
    message.edns = edns.map(|asked| {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD).set_dnssec_ok(asked.flags().dnssec_ok);
        edns
    });
    message
}

impl Request {
    /// Whether the client wants signatures.
    pub fn wants_signatures(&self) -> bool {
        self.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok)
    }

    /// The reply as bytes that the client can take; nothing where it cannot be written down at all.
    pub fn write(&self, reply: Reply) -> Option<Vec<u8>> {
        let mut message = response(&self.metadata, self.edns.as_ref());
        message.metadata.response_code = reply.code;
        message.metadata.authoritative = reply.authoritative;
        message.queries.push(self.query.clone());
        message.answers = reply.answers;
        message.authorities = reply.authorities;
        message.additionals = reply.additionals;
        let room = match self.transport {
            Transport::Tcp => u16::MAX,
            Transport::Udp => {
                let asked = self.edns.as_ref().map_or(PLAIN_PAYLOAD, Edns::max_payload);
                asked.clamp(PLAIN_PAYLOAD, PAYLOAD)
            }
        };
        fit(message, usize::from(room))
    }
}

/// The bytes of a message, without what does not fit: first what was only added, then answers, which the message
/// then says it lacks.
fn fit(mut message: Message, room: usize) -> Option<Vec<u8>> {
    let whole = message.to_vec();
    if let Ok(bytes) = &whole
        && bytes.len() <= room
    {
        return whole.ok();
    }
    message.additionals.clear();
    if let Ok(bytes) = message.to_vec()
        && bytes.len() <= room
    {
        return Some(bytes);
    }
    message.metadata.truncation = true;
    message.authorities.clear();
    let answers: Vec<Record> = std::mem::take(&mut message.answers);
    let mut bytes_of = |count: usize| {
        message.answers = answers[..count].to_vec();
        message.to_vec().ok().filter(|bytes| bytes.len() <= room)
    };
    // The most answers that fit lie between these two.
    let (mut fits, mut exceeds) = (0, answers.len());
    while exceeds - fits > 1 {
        let middle = usize::midpoint(fits, exceeds);
        if bytes_of(middle).is_some() {
            fits = middle;
        } else {
            exceeds = middle;
        }
    }
    bytes_of(fits)
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::{Name, RData};

    use super::*;

    fn question(edns: Option<u16>) -> Message {
        let mut message = Message::query();
        message.metadata.id = 7;
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii("a.example.").unwrap(), RecordType::A));
        message.edns = edns.map(|payload| {
            let mut edns = Edns::new();
            edns.set_max_payload(payload);
            edns
        });
        message
    }

    #[test]
    fn packets_and_what_becomes_of_them() {
        let good = question(Some(1232)).to_vec().unwrap();
        let altered = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut packet = good.clone();
            change(&mut packet);
            packet
        };
        let mut two = question(None);
        two.add_query(two.queries[0].clone());
        let mut chaos = question(None);
        chaos.queries[0].query_class = DNSClass::CH;
        let mut transfer = question(None);
        transfer.queries[0].query_type = RecordType::AXFR;
        let mut newer = question(Some(512));
        newer.edns.as_mut().unwrap().set_version(1);
        let cases = [
            ("good", good.clone(), "question"),
            ("empty", Vec::new(), "noise"),
            ("half a header", good[..7].to_vec(), "noise"),
            ("an answer", altered(&|packet| packet[2] |= 0x80), "noise"),
            ("cut", good[..20].to_vec(), "FORMERR"),
            ("a count too high", altered(&|packet| packet[7] = 9), "FORMERR"),
            ("no question", altered(&|packet| packet[5] = 0), "FORMERR"),
            ("two questions", two.to_vec().unwrap(), "FORMERR"),
            ("an update", altered(&|packet| packet[2] |= 5 << 3), "NOTIMP"),
            ("another class", chaos.to_vec().unwrap(), "REFUSED"),
            ("a transfer", transfer.to_vec().unwrap(), "REFUSED"),
            ("a later EDNS", newer.to_vec().unwrap(), "BADVERS"),
        ];
        for (what, packet, expected) in cases {
            let found = match read(&packet, Transport::Udp) {
                Arrived::Question(_) => "question",
                Arrived::Noise => "noise",
                Arrived::Refusal(bytes) => {
                    let message = Message::from_vec(&bytes).unwrap();
                    assert_eq!((message.id, message.message_type), (7, MessageType::Response), "{what}");
                    let high = message.edns.map_or(0, |edns| edns.rcode_high());
                    match ResponseCode::from(high, message.metadata.response_code.low()) {
                        ResponseCode::FormErr => "FORMERR",
                        ResponseCode::NotImp => "NOTIMP",
                        ResponseCode::Refused => "REFUSED",
                        ResponseCode::BADVERS | ResponseCode::BADSIG => "BADVERS",
                        code => panic!("{what}: {code}"),
                    }
                }
            };
            assert_eq!(found, expected, "{what}");
        }
    }

    #[test]
    fn no_packet_does_harm() {
        let good = question(Some(1232)).to_vec().unwrap();
        // Numbers that look random and are the same each time: Marsaglia's xorshift.
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).unwrap()
        };
        for _ in 0..20_000 {
            let mut packet = good.clone();
            for _ in 0..next() % 6 {
                let place = next() % packet.len();
                packet[place] = u8::try_from(next() % 256).unwrap();
            }
            packet.truncate(packet.len() - next() % 8);
            if let Arrived::Question(request) = read(&packet, Transport::Udp) {
                let written = request.write(Reply::bare(ResponseCode::NXDomain));
                assert!(written.is_some_and(|bytes| bytes.len() <= usize::from(PAYLOAD)), "{packet:?}");
            }
        }
    }

    #[test]
    fn replies_are_cut_to_what_the_client_takes() {
        let cases = [
            // (payload said, transport, records, added, answers left, added left, cut)
            (None, Transport::Udp, 5, 1, 5, 1, false),
            (None, Transport::Udp, 25, 10, 25, 0, false),
            (None, Transport::Udp, 40, 0, 30, 0, true),
            (Some(1232), Transport::Udp, 40, 0, 40, 0, false),
            (Some(4096), Transport::Udp, 100, 0, 74, 0, true),
            (Some(100), Transport::Udp, 25, 0, 25, 0, false),
            (None, Transport::Tcp, 1000, 10, 1000, 10, false),
        ];
        for (payload, transport, records, added, left, added_left, cut) in cases {
            let packet = question(payload).to_vec().unwrap();
            let Arrived::Question(request) = read(&packet, transport) else { panic!("it is a question") };
            let address = RData::from(std::net::IpAddr::from([10, 0, 0, 1]));
            let record = Record::from_rdata(request.query.name.clone(), 5, address);
            let reply = Reply {
                answers: vec![record.clone(); records],
                additionals: vec![record; added],
                ..Reply::bare(ResponseCode::NoError)
            };
            let message = Message::from_vec(&request.write(reply).unwrap()).unwrap();
            let found = (message.answers.len(), message.additionals.len(), message.metadata.truncation);
            assert_eq!(found, (left, added_left, cut), "{payload:?} {transport:?} {records}");
            assert_eq!(message.edns.is_some(), payload.is_some());
        }
    }
}
