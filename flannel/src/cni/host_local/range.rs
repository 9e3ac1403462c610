//! A range of addresses, and in which order to try them.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

use crate::cni::fault::Fault;
use crate::cni::result::Address;

/// Addresses of one subnet, or some of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Range {
    subnet: IpNet,
    #[serde(default)]
    range_start: Option<IpAddr>,
    #[serde(default)]
    range_end: Option<IpAddr>,
    #[serde(default)]
    gateway: Option<IpAddr>,
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.range_start, self.range_end) {
            (Some(start), Some(end)) => write!(f, "{start}-{end}"),
            _ => write!(f, "{}", self.subnet),
        }
    }
}

impl Range {
    /// Fills in what was not said and refuses what cannot be.
    pub(super) fn complete(&mut self) -> Result<(), Fault> {
        let subnet = self.subnet;
        if subnet.max_prefix_len() - subnet.prefix_len() < 2 {
            return Err(Fault::configuration(format!(
                "the subnet {subnet} is too small to give addresses from"
            )));
        }
        let (first, last) = (number(subnet.network()) + 1, number(subnet.broadcast()));
        // IPv6 has no broadcast address to keep free.
        let last = if subnet.addr().is_ipv4() { last - 1 } else { last };
        let start = *self.range_start.get_or_insert_with(|| address(first, subnet));
        let end = *self.range_end.get_or_insert_with(|| address(last, subnet));
        self.gateway.get_or_insert_with(|| address(first, subnet));
        if !subnet.contains(&start) || !subnet.contains(&end) || number(start) > number(end) {
            return Err(Fault::configuration(format!("the range {start}-{end} is not part of {subnet}")));
        }
        Ok(())
    }

    pub(super) fn gateway(&self) -> Option<IpAddr> {
        self.gateway
    }

    pub(super) fn contains(&self, ip: IpAddr) -> bool {
        let (start, end) = self.bounds();
        self.subnet.contains(&ip) && (start..=end).contains(&number(ip))
    }

    /// The address as results have it, with the subnet's prefix length.
    pub(super) fn address(&self, ip: IpAddr) -> Address {
        let address = IpNet::new(ip, self.subnet.prefix_len()).unwrap_or_else(|_| ip.into());
        Address { address, gateway: self.gateway, interface: None }
    }

    fn bounds(&self) -> (u128, u128) {
        let start = self.range_start.map_or_else(|| number(self.subnet.network()) + 1, number);
        let end = self.range_end.map_or_else(|| number(self.subnet.broadcast()), number);
        (start, end)
    }
}

/// Every address of the ranges once, but gateways: beginning after the one given last, then around.
pub(super) fn next(ranges: &[Range], last: Option<IpAddr>) -> impl Iterator<Item = (&Range, IpAddr)> {
    let begin = ranges.iter().position(|range| last.is_some_and(|last| range.contains(last)));
    let at = last.filter(|_| begin.is_some()).map(number);
    let begin = begin.unwrap_or(0);
    let whole = |range: &Range| range.bounds();
    // The rest of the range in use, the others whole, and the beginning of the range in use.
    let mut parts: Vec<(usize, u128, u128)> = Vec::new();
    for step in 0..ranges.len() {
        let index = (begin + step) % ranges.len();
        let (start, end) = whole(&ranges[index]);
        match at {
            Some(at) if step == 0 => parts.push((index, at + 1, end)),
            _ => parts.push((index, start, end)),
        }
    }
    if let Some(at) = at {
        parts.push((begin, whole(&ranges[begin]).0, at));
    }
    parts
        .into_iter()
        .flat_map(move |(index, start, end)| {
            (start..=end).map(move |number| (&ranges[index], address(number, ranges[index].subnet)))
        })
        .filter(|(range, ip)| range.gateway != Some(*ip))
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

fn address(number: u128, subnet: IpNet) -> IpAddr {
    match subnet {
        // Numbers come from addresses of the same family, so they fit.
        IpNet::V4(_) => IpAddr::V4(u32::try_from(number).unwrap_or(u32::MAX).into()),
        IpNet::V6(_) => IpAddr::V6(number.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Range {
        let mut range: Range = serde_json::from_str(text).unwrap();
        range.complete().unwrap();
        range
    }

    #[test]
    fn addresses_come_in_turn() {
        let small = range(r#"{"subnet": "10.1.0.0/29"}"#);
        let part = range(
            r#"{"subnet": "10.2.0.0/24", "rangeStart": "10.2.0.7", "rangeEnd": "10.2.0.8", "gateway": "10.2.0.1"}"#,
        );
        let cases: &[(&[&Range], Option<&str>, &str)] = &[
            (&[&small], None, "1.0.2 1.0.3 1.0.4 1.0.5 1.0.6"),
            (&[&small], Some("10.1.0.4"), "1.0.5 1.0.6 1.0.2 1.0.3 1.0.4"),
            (&[&small], Some("10.1.0.6"), "1.0.2 1.0.3 1.0.4 1.0.5 1.0.6"),
            (&[&small], Some("10.9.0.6"), "1.0.2 1.0.3 1.0.4 1.0.5 1.0.6"),
            (&[&part, &small], Some("10.2.0.8"), "1.0.2 1.0.3 1.0.4 1.0.5 1.0.6 2.0.7 2.0.8"),
        ];
        for (ranges, last, expected) in cases {
            let ranges: Vec<Range> = ranges.iter().map(|range| (*range).clone()).collect();
            let order: Vec<String> = next(&ranges, last.map(|last| last.parse().unwrap()))
                .map(|(_, ip)| ip.to_string()[3..].to_owned())
                .collect();
            assert_eq!(order.join(" "), *expected, "after {last:?}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for text in [
            r#"{"subnet": "10.1.0.0/31"}"#,
            r#"{"subnet": "10.1.0.0/24", "rangeStart": "10.2.0.1"}"#,
            r#"{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.8"}"#,
        ] {
            let mut range: Range = serde_json::from_str(text).unwrap();
            assert!(range.complete().is_err(), "{text}");
        }
    }
}
