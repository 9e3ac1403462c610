//! What is counted, under the names that CoreDNS' dashboards know.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::message::Transport;

/// Response codes in a header: four bits, each with the name that metrics have for it.
const CODES: [&str; 16] = [
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET",
    "NOTAUTH", "NOTZONE", "11", "12", "13", "14", "15",
];

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Counters {
    udp: AtomicU64,
    tcp: AtomicU64,
    codes: [AtomicU64; CODES.len()],
}

impl Counters {
    /// Counts a packet that has arrived.
    pub fn asked(&self, transport: Transport) {
        let counter = match transport {
            Transport::Udp => &self.udp,
            Transport::Tcp => &self.tcp,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a reply by the code in its header.
    pub fn answered(&self, reply: &[u8]) {
        if let Some(byte) = reply.get(3) {
            self.codes[usize::from(byte & 0x0f)].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes the counters and those of the cache in the Prometheus exposition format.
    pub fn expose(&self, (hits, misses, entries): (u64, u64, usize), out: &mut String) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut text = String::from("# TYPE coredns_dns_requests_total counter\n");
        for (protocol, counter) in [("udp", &self.udp), ("tcp", &self.tcp)] {
            text += &format!("coredns_dns_requests_total{{proto=\"{protocol}\"}} {}\n", load(counter));
        }
        text += "# TYPE coredns_dns_responses_total counter\n";
        for (code, counter) in CODES.iter().zip(&self.codes).filter(|(_, counter)| load(counter) > 0) {
            text += &format!("coredns_dns_responses_total{{rcode=\"{code}\"}} {}\n", load(counter));
        }
        text += &format!(
            "# TYPE coredns_cache_hits_total counter\ncoredns_cache_hits_total {hits}\n\
             # TYPE coredns_cache_misses_total counter\ncoredns_cache_misses_total {misses}\n\
             # TYPE coredns_cache_entries gauge\ncoredns_cache_entries {entries}\n"
        );
        out.push_str(&text);
    }
}
