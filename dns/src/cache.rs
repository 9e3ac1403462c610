//! What other servers answered, for as long as they allow and no longer than half a minute.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::time::Instant;

/// The longest an answer is kept, in seconds: K3s' CoreDNS (`cache 30`).
const LONGEST: u32 = 30;

/// How long a failure is kept, in seconds, so that nobody is asked again and again what he cannot tell: CoreDNS' figure.
const FAILURE: u32 = 5;

/// Answers kept at most: about a megabyte where they are of the usual 200 bytes.
const MOST_ENTRIES: usize = 4096;

/// The largest answer kept, in bytes; larger ones are rare and would make the bound above no bound.
const LARGEST: usize = 2048;

/// A question to another server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// The name in lower case.
    pub name: Name,
    pub kind: RecordType,
    /// Whether signatures are wanted: they are part of the answer then.
    pub signatures: bool,
    /// Whether the other server shall not check signatures.
    pub unchecked: bool,
}

/// Answers by question, the oldest of which make room.
#[derive(Debug, Default)]
pub struct Cache {
    entries: HashMap<Arc<Question>, Entry>,
    order: VecDeque<(Instant, Arc<Question>)>,
}

#[derive(Debug)]
struct Entry {
    born: Instant,
    dies: Instant,
    bytes: Box<[u8]>,
}

impl Cache {
    /// What was answered, with what is left of its time.
    pub fn get(&self, question: &Question, now: Instant) -> Option<Message> {
        let entry = self.entries.get(question).filter(|entry| entry.dies > now)?;
        let mut message = Message::from_vec(&entry.bytes).ok()?;
        let age = u32::try_from(now.duration_since(entry.born).as_secs()).unwrap_or(u32::MAX);
        let sections = [&mut message.answers, &mut message.authorities, &mut message.additionals];
        for record in sections.into_iter().flatten() {
            record.decrement_ttl(age);
        }
        Some(message)
    }

    /// Keeps an answer, if it may be kept.
    pub fn put(&mut self, question: &Question, message: &Message, now: Instant) {
        let seconds = lifetime(message);
        if seconds == 0 {
            return;
        }
        let Some(bytes) = message.to_vec().ok().filter(|bytes| bytes.len() <= LARGEST) else { return };
        self.make_room(now);
        let question = Arc::new(question.clone());
        let dies = now + Duration::from_secs(seconds.into());
        self.order.push_back((now, Arc::clone(&question)));
        self.entries.insert(question, Entry { born: now, dies, bytes: bytes.into() });
    }

    /// How many answers there are.
    pub fn size(&self) -> usize {
        self.entries.len()
    }

    /// Lets go of what nobody can live on, and of the oldest where there are too many.
    fn make_room(&mut self, now: Instant) {
        let longest = Duration::from_secs(LONGEST.into());
        while let Some((born, question)) = self.order.front() {
            if self.order.len() < MOST_ENTRIES && now.duration_since(*born) < longest {
                break;
            }
            // The question may have been answered anew since; that answer has a place of its own in the order.
            if self.entries.get(question).is_some_and(|entry| entry.born == *born) {
                self.entries.remove(question);
            }
            self.order.pop_front();
        }
    }
}

/// For how many seconds an answer may be kept.
fn lifetime(message: &Message) -> u32 {
    let code = message.metadata.response_code;
    if code == ResponseCode::ServFail {
        return FAILURE;
    }
    let denial = code == ResponseCode::NXDomain
        || !message.queries.iter().all(|query| {
            message
                .answers
                .iter()
                .any(|record| query.query_type == RecordType::ANY || record.record_type() == query.query_type)
        });
    if !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
        return 0;
    }
    let records = message.answers.iter().map(|record| record.ttl);
    let shortest = if denial {
        let authority = message.authorities.iter().find_map(|record| match &record.data {
            RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
            _ => None,
        });
        // A denial that does not say for how long is good for the moment only: RFC 2308, section 5.
        records.min().into_iter().chain([authority.unwrap_or_default()]).min()
    } else {
        records.min()
    };
    shortest.unwrap_or_default().min(LONGEST)
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{MessageType, OpCode, Query};
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::SOA;

    use super::*;

    fn question(number: usize) -> Question {
        let name = Name::from_ascii(format!("n{number}.example.")).unwrap();
        Question { name, kind: RecordType::A, signatures: false, unchecked: false }
    }

    fn message(code: ResponseCode, ttl: Option<u32>, soa: Option<(u32, u32)>) -> Message {
        let question = question(0);
        let mut message = Message::new(1, MessageType::Response, OpCode::Query);
        message.metadata.response_code = code;
        message.add_query(Query::query(question.name.clone(), RecordType::A));
        let address = RData::from(std::net::IpAddr::from([1, 2, 3, 4]));
        message.answers.extend(ttl.map(|ttl| Record::from_rdata(question.name.clone(), ttl, address)));
        message.authorities.extend(soa.map(|(ttl, minimum)| {
            let soa = SOA::new(Name::root(), Name::root(), 1, 1, 1, 1, minimum);
            Record::from_rdata(question.name.clone(), ttl, RData::SOA(soa))
        }));
        message
    }

    #[test]
    fn how_long_answers_live() {
        let cases = [
            (message(ResponseCode::NoError, Some(9), None), 9),
            (message(ResponseCode::NoError, Some(900), None), LONGEST),
            (message(ResponseCode::NoError, Some(0), None), 0),
            (message(ResponseCode::NXDomain, None, Some((20, 7))), 7),
            (message(ResponseCode::NoError, None, Some((6, 70))), 6),
            (message(ResponseCode::NXDomain, None, None), 0),
            (message(ResponseCode::ServFail, None, None), FAILURE),
            (message(ResponseCode::Refused, None, None), 0),
        ];
        for (message, expected) in cases {
            assert_eq!(lifetime(&message), expected, "{message:?}");
        }
    }

    #[test]
    fn answers_age_and_die() {
        let (mut cache, begun) = (Cache::default(), Instant::now());
        cache.put(&question(0), &message(ResponseCode::NoError, Some(20), None), begun);
        let ttl = |after: u64| {
            let found = cache.get(&question(0), begun + Duration::from_secs(after))?;
            Some(found.answers[0].ttl)
        };
        assert_eq!((ttl(0), ttl(15), ttl(20)), (Some(20), Some(5), None));
        assert!(cache.get(&question(1), begun).is_none());
    }

    #[test]
    fn the_oldest_make_room() {
        let (mut cache, begun) = (Cache::default(), Instant::now());
        let answer = message(ResponseCode::NoError, Some(20), None);
        for number in 0..MOST_ENTRIES + 10 {
            cache.put(&question(number), &answer, begun);
        }
        assert!(cache.size() <= MOST_ENTRIES && cache.order.len() <= MOST_ENTRIES);
        assert!(cache.get(&question(0), begun).is_none());
        assert!(cache.get(&question(MOST_ENTRIES), begun).is_some());
        cache.put(&question(0), &answer, begun + Duration::from_secs(60));
        assert_eq!((cache.size(), cache.order.len()), (1, 1), "the dead do not wait for room to be short");
    }
}
