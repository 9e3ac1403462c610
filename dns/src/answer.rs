//! From a question to its answer: values in, values out, with no regard to how either travels.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{CNAME, NS, PTR, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use ipnet::IpNet;

use crate::index::{Index, View};
use crate::resource::Endpoint;
use crate::zone::{Subject, TTL, Zone};

/// The version of Kubernetes' specification of DNS that this follows.
const VERSION: &str = "1.1.0";

/// For how many seconds the address of a Node may be kept, as K3s has it.
const NODE_TTL: u32 = 60;

/// How many aliases lead from one name to the next at most: more is a circle.
const MOST_ALIASES: usize = 8;

/// How many names in an answer get their addresses beside it: those of more would not fit into a packet.
const MOST_BESIDE: usize = 32;

/// What the weights of a name's places add up to, as CoreDNS has it.
const WEIGHTS: usize = 100;

/// What comes back for a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub code: ResponseCode,
    /// Whether this server is the one that knows.
    pub authoritative: bool,
    pub answers: Vec<Record>,
    pub authorities: Vec<Record>,
    pub additionals: Vec<Record>,
}

/// What is to be done for a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Say this.
    Reply(Reply),
    /// Say this, and what somebody else knows about the name.
    Chase(Reply, Name),
    /// Ask somebody else.
    Forward,
}

/// What is known of one name.
enum Found {
    /// There is no such name.
    Absent,
    /// The name stands for another one.
    Alias(Name),
    /// What the name has of the type asked for; nothing where it has only others.
    Records(Vec<Record>),
}

impl Reply {
    /// A reply without records.
    pub fn bare(code: ResponseCode) -> Self {
        Self { code, authoritative: false, answers: vec![], authorities: vec![], additionals: vec![] }
    }

    fn of(answers: Vec<Record>) -> Self {
        Self { authoritative: true, answers, ..Self::bare(ResponseCode::NoError) }
    }
}

/// Answers a question about what the cluster knows. `turn` says which of several addresses comes first.
pub fn answer(zone: &Zone, index: &Index, name: &Name, kind: RecordType, turn: usize) -> Verdict {
    let mut chain = Vec::new();
    let mut owner = name.clone();
    loop {
        let lower = owner.to_lowercase();
        let subject = zone.subject(&lower);
        let asked = Asked { zone, index, owner: &owner, kind, turn };
        let (found, origin) = match subject {
            Subject::Foreign => match node(index, &asked, &lower) {
                Some(found) => (found, None),
                None if chain.is_empty() => return Verdict::Forward,
                None => return Verdict::Chase(Reply::of(chain), owner),
            },
            Subject::Reverse(net) => match asked.reverse(net) {
                Some((found, origin)) => (found, origin),
                None if chain.is_empty() => return Verdict::Forward,
                None => return Verdict::Chase(Reply::of(chain), owner),
            },
            subject => (asked.found(subject), Some(zone.domain().clone())),
        };
        match found {
            Found::Alias(target) if chain.len() < MOST_ALIASES => {
                chain.push(asked.record(RData::CNAME(CNAME(target.clone()))));
                if matches!(kind, RecordType::CNAME | RecordType::ANY) {
                    return Verdict::Reply(Reply::of(chain));
                }
                owner = target;
            }
            Found::Alias(_) => return Verdict::Reply(Reply::bare(ResponseCode::ServFail)),
            Found::Records(records) if !records.is_empty() => {
                let additionals = asked.beside(&records);
                chain.extend(records);
                return Verdict::Reply(Reply { additionals, ..Reply::of(chain) });
            }
            nothing => {
                let exists = matches!(nothing, Found::Records(_));
                return Verdict::Reply(negative(zone, index, chain, origin, exists));
            }
        }
    }
}

/// Says that there is no such name, or nothing of this type under it.
fn negative(zone: &Zone, index: &Index, chain: Vec<Record>, origin: Option<Name>, exists: bool) -> Reply {
    if !index.complete {
        // What is not known yet must not be denied: clients keep a denial.
        return Reply::bare(ResponseCode::ServFail);
    }
    let code = if exists { ResponseCode::NoError } else { ResponseCode::NXDomain };
    let authorities = origin.map(|origin| zone.authority(origin, index.serial)).into_iter().collect();
    Reply { code, authorities, ..Reply::of(chain) }
}

/// The addresses of a Node, by its bare name.
fn node(index: &Index, asked: &Asked<'_>, lower: &Name) -> Option<Found> {
    let text = lower.to_ascii();
    let node = index.node(text.trim_end_matches('.'))?;
    let mut records = asked.addresses(node.addresses(&["InternalIP"]));
    records.iter_mut().for_each(|record| record.ttl = NODE_TTL);
    Some(Found::Records(records))
}

/// A question about one name, which may be what an alias led to.
#[derive(Clone, Copy)]
struct Asked<'a> {
    zone: &'a Zone,
    index: &'a Index,
    owner: &'a Name,
    kind: RecordType,
    turn: usize,
}

impl Asked<'_> {
    fn found(&self, subject: Subject<'_>) -> Found {
        let exists = |exists: bool| if exists { Found::Records(Vec::new()) } else { Found::Absent };
        match subject {
            Subject::Apex => Found::Records(self.apex(self.owner.clone())),
            Subject::Version => {
                Found::Records(Vec::from_iter(self.only(RData::TXT(TXT::new(vec![VERSION.to_owned()])))))
            }
            Subject::NameServer => Found::Records(self.addresses(self.zone.cluster_dns.iter().copied())),
            Subject::Branch => exists(true),
            Subject::Namespace(namespace) => exists(self.index.has_namespace(namespace)),
            Subject::Pod(namespace, label) => match pod(label) {
                Some(address) if self.index.has_namespace(namespace) => {
                    Found::Records(self.addresses([address]))
                }
                _ => Found::Absent,
            },
            Subject::Service(namespace, name) => self.service(namespace, name, None),
            Subject::Port(namespace, name, port, protocol) => {
                self.service(namespace, name, Some((port, protocol)))
            }
            Subject::Protocol(namespace, name, protocol) => {
                let view = self.index.service(namespace, name);
                exists(
                    view.is_some_and(|view| view.service.spec.ports.iter().any(|port| port.speaks(protocol))),
                )
            }
            Subject::Endpoint(namespace, name, label) => match self.index.service(namespace, name) {
                Some(view) => self.endpoints(view, namespace, name, None, Some(label)),
                None => Found::Absent,
            },
            Subject::Nothing | Subject::Reverse(_) | Subject::Foreign => Found::Absent,
        }
    }

    /// What a Service's name has, or that of one of its ports.
    fn service(&self, namespace: &str, name: &str, port: Option<(&str, &str)>) -> Found {
        let Some(view) = self.index.service(namespace, name) else { return Found::Absent };
        if let Some(alias) = view.service.alias() {
            return match (port, alias.parse::<IpAddr>(), Name::from_ascii(alias)) {
                (None, Err(_), Ok(mut target)) => {
                    target.set_fqdn(true);
                    Found::Alias(target)
                }
                // An address is no name to stand for another.
                (None, _, _) => Found::Records(Vec::new()),
                _ => Found::Absent,
            };
        }
        if view.service.is_headless() {
            return self.endpoints(view, namespace, name, port, None);
        }
        let spec = &view.service.spec;
        let ports: Vec<u16> = spec
            .ports
            .iter()
            .filter(|each| port.is_none_or(|(name, protocol)| each.is(name, protocol)))
            .map(|each| each.port)
            .collect();
        if port.is_some() && ports.is_empty() {
            return Found::Absent;
        }
        if self.kind == RecordType::SRV {
            let target = self.zone.below(&format!("{name}.{namespace}.svc"));
            return Found::Records(
                self.places(ports.into_iter().map(|port| (port, target.clone())).collect()),
            );
        }
        Found::Records(self.addresses(spec.cluster_ips.iter().copied()))
    }

    /// What the endpoints of a Service have: those with this label, on this port.
    fn endpoints(
        &self,
        view: View<'_>,
        namespace: &str,
        name: &str,
        port: Option<(&str, &str)>,
        label: Option<&str>,
    ) -> Found {
        let (mut addresses, mut places) = (BTreeSet::new(), BTreeSet::new());
        let mut known = false;
        for (slice, endpoint) in view.endpoints() {
            for address in &endpoint.addresses {
                let own = self::label(endpoint, *address);
                if label.is_some_and(|label| label != own) {
                    continue;
                }
                let ports: Vec<u16> = slice
                    .ports
                    .iter()
                    .filter(|each| port.is_none_or(|(name, protocol)| each.is(name, protocol)))
                    .map(|each| each.port)
                    .collect();
                if port.is_some() && ports.is_empty() {
                    continue;
                }
                known = true;
                addresses.insert(*address);
                if self.kind == RecordType::SRV {
                    let target = format!("{own}.{name}.{namespace}.svc");
                    places.extend(ports.into_iter().map(|port| (port, target.clone())));
                }
            }
        }
        if !known {
            return Found::Absent;
        }
        if self.kind == RecordType::SRV {
            let places = places.into_iter().map(|(port, target)| (port, self.zone.below(&target)));
            return Found::Records(self.places(places.collect()));
        }
        Found::Records(self.addresses(addresses))
    }

    /// What a name in `arpa` has, and the reverse zone it is in; nothing where somebody else may know.
    fn reverse(&self, net: IpNet) -> Option<(Found, Option<Name>)> {
        let origin = self.zone.reverse_origin(self.owner, net);
        let whole = net.prefix_len() == net.max_prefix_len();
        if whole {
            let names = self.names(net.addr());
            if !names.is_empty() {
                let records = names.into_iter().flat_map(|name| self.only(RData::PTR(PTR(name)))).collect();
                return Some((Found::Records(records), origin.or_else(|| Some(self.owner.clone()))));
            }
        }
        let origin = origin?;
        let found = if *self.owner == origin {
            Found::Records(self.apex(origin.clone()))
        } else if whole {
            Found::Absent
        } else {
            Found::Records(Vec::new())
        };
        Some((found, Some(origin)))
    }

    /// The names of an address.
    fn names(&self, address: IpAddr) -> BTreeSet<Name> {
        let mut names = BTreeSet::new();
        for (key, view) in self.index.owners(address) {
            let service = format!("{}.{}.svc", key.name, key.namespace);
            if view.service.spec.cluster_ips.contains(&address) {
                names.insert(self.zone.below(&service));
                continue;
            }
            let at = view.endpoints().filter(|(_, endpoint)| endpoint.addresses.contains(&address));
            let hosts = at.filter_map(|(_, endpoint)| endpoint.hostname.as_deref());
            names.extend(hosts.map(|host| self.zone.below(&format!("{host}.{service}"))));
        }
        if names.is_empty() {
            let home = self.index.node_at(address).and_then(|name| Name::from_ascii(name).ok());
            names.extend(home.map(|mut name| {
                name.set_fqdn(true);
                name
            }));
        }
        names
    }

    /// What the top of a zone has.
    fn apex(&self, origin: Name) -> Vec<Record> {
        let mut records = Vec::new();
        if matches!(self.kind, RecordType::SOA | RecordType::ANY) {
            records.push(self.zone.authority(origin, self.index.serial));
        }
        records.extend(self.only(RData::NS(NS(self.zone.name_server()))));
        records
    }

    /// The addresses of the family asked for, each time another one first.
    fn addresses(&self, addresses: impl IntoIterator<Item = IpAddr>) -> Vec<Record> {
        let mut records: Vec<Record> =
            addresses.into_iter().filter_map(|address| self.only(RData::from(address))).collect();
        if !records.is_empty() {
            let first = self.turn % records.len();
            records.rotate_left(first);
        }
        records
    }

    /// Where a service is reached, each place as good as the other.
    fn places(&self, places: Vec<(u16, Name)>) -> Vec<Record> {
        let weight = u16::try_from(WEIGHTS / places.len().max(1)).unwrap_or_default();
        let places = places.into_iter().map(|(port, target)| SRV::new(0, weight, port, target));
        places.map(|srv| self.record(RData::SRV(srv))).collect()
    }

    /// The addresses of the names in an answer, so that nobody needs to ask for them.
    fn beside(&self, records: &[Record]) -> Vec<Record> {
        let targets: BTreeSet<&Name> = records
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(srv) => Some(&srv.target),
                RData::NS(NS(server)) => Some(server),
                _ => None,
            })
            .collect();
        let mut beside = Vec::new();
        for target in targets.into_iter().take(MOST_BESIDE) {
            for kind in [RecordType::A, RecordType::AAAA] {
                let asked = Asked { owner: target, kind, ..*self };
                if let Found::Records(found) = asked.found(self.zone.subject(target)) {
                    beside.extend(found);
                }
            }
        }
        beside
    }

    fn only(&self, data: RData) -> Option<Record> {
        (self.kind == RecordType::ANY || self.kind == data.record_type()).then(|| self.record(data))
    }

    fn record(&self, data: RData) -> Record {
        Record::from_rdata(self.owner.clone(), TTL, data)
    }
}

/// The label of an endpoint: its host name, else its address with dashes.
fn label(endpoint: &Endpoint, address: IpAddr) -> String {
    match (&endpoint.hostname, address) {
        (Some(name), _) if !name.is_empty() => name.to_ascii_lowercase(),
        (_, IpAddr::V4(address)) => address.to_string().replace('.', "-"),
        (_, IpAddr::V6(address)) => {
            let dashed = address.to_string().replace(':', "-");
            // A label must not end in a dash.
            if dashed.ends_with('-') { dashed + "0" } else { dashed }
        }
    }
}

/// The address that a pod's label spells.
fn pod(label: &str) -> Option<IpAddr> {
    let v4 = label.bytes().filter(|byte| *byte == b'-').count() == 3 && !label.contains("--");
    label.replace('-', if v4 { "." } else { ":" }).parse().ok()
}

#[cfg(test)]
mod tests;
