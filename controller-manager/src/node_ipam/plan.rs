//! Which pod ranges are taken and which one a new node gets.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::config::PodRanges;

/// The ranges of one cluster: who has which.
#[derive(Debug)]
pub(super) struct Ranges {
    settings: PodRanges,
    /// Range number to the node that has it.
    taken: BTreeMap<u64, String>,
    /// Where the search begins: ranges are given out in turn, so that one just freed is not reused at once.
    cursor: u64,
}

impl Ranges {
    pub(super) fn new(settings: PodRanges) -> Self {
        Self { settings, taken: BTreeMap::new(), cursor: 0 }
    }

    fn count(&self) -> u64 {
        1 << (self.settings.node_prefix - self.settings.cluster.prefix_len())
    }

    fn shift(&self) -> u32 {
        let bits = if self.settings.cluster.addr().is_ipv4() { 32 } else { 128 };
        bits - u32::from(self.settings.node_prefix)
    }

    fn base(&self) -> u128 {
        match self.settings.cluster.network() {
            IpAddr::V4(address) => u128::from(u32::from(address)),
            IpAddr::V6(address) => u128::from(address),
        }
    }

    fn range(&self, number: u64) -> Option<IpNet> {
        // A shift of 128 bits: one range that is the whole address space.
        let address = self.base() + u128::from(number).checked_shl(self.shift()).unwrap_or(0);
        let address = match self.settings.cluster {
            IpNet::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::try_from(address).ok()?)),
            IpNet::V6(_) => IpAddr::V6(Ipv6Addr::from(address)),
        };
        IpNet::new(address, self.settings.node_prefix).ok()
    }

    fn numbers(&self, range: IpNet) -> std::ops::RangeInclusive<u64> {
        let number = |address: IpAddr| {
            let address = match address {
                IpAddr::V4(address) => u128::from(u32::from(address)),
                IpAddr::V6(address) => u128::from(address),
            };
            let offset = address.saturating_sub(self.base()).checked_shr(self.shift()).unwrap_or(0);
            u64::try_from(offset).unwrap_or(u64::MAX).min(self.count() - 1)
        };
        number(range.network())..=number(range.broadcast())
    }

    /// Notes what a node has, in place of what was meant for it.
    pub(super) fn hold(&mut self, node: &str, ranges: &[IpNet]) {
        if !ranges.is_empty() {
            self.release(node);
            ranges.iter().for_each(|range| self.occupy(node, *range));
        }
    }

    /// A range outside the cluster's is nobody's concern.
    fn occupy(&mut self, node: &str, range: IpNet) {
        if self.settings.cluster.contains(&range.network())
            || range.contains(&self.settings.cluster.network())
        {
            for number in self.numbers(range) {
                self.taken.entry(number).or_insert_with(|| node.to_owned());
            }
        }
    }

    /// Forgets a node.
    pub(super) fn release(&mut self, node: &str) {
        self.taken.retain(|_, owner| owner != node);
    }

    /// A free range, noted as the node's; the same one again until it is released; `None` when all are taken.
    pub(super) fn allot(&mut self, node: &str) -> Option<IpNet> {
        if let Some((&number, _)) = self.taken.iter().find(|(_, owner)| *owner == node) {
            return self.range(number);
        }
        let services = self.settings.services;
        let overlaps = |range: &IpNet| {
            services.is_some_and(|services| {
                services.contains(&range.network()) || range.contains(&services.network())
            })
        };
        let count = self.count();
        for step in 0..count {
            let number = (self.cursor + step) % count;
            if self.taken.contains_key(&number) {
                continue;
            }
            let Some(range) = self.range(number).filter(|range| !overlaps(range)) else { continue };
            self.taken.insert(number, node.to_owned());
            self.cursor = (number + 1) % count;
            return Some(range);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(cluster: &str, node_prefix: u8, services: Option<&str>) -> Ranges {
        let services = services.map(|services| services.parse().unwrap());
        Ranges::new(PodRanges { cluster: cluster.parse().unwrap(), node_prefix, services })
    }

    fn allot(ranges: &mut Ranges, node: &str) -> Option<String> {
        ranges.allot(node).map(|range| range.to_string())
    }

    #[test]
    fn ranges_are_given_in_turn_and_once() {
        let mut ranges = ranges("10.42.0.0/16", 24, None);
        ranges.occupy("a", "10.42.1.0/24".parse().unwrap());
        assert_eq!(allot(&mut ranges, "b").as_deref(), Some("10.42.0.0/24"));
        assert_eq!(allot(&mut ranges, "c").as_deref(), Some("10.42.2.0/24"));
        assert_eq!(allot(&mut ranges, "c").as_deref(), Some("10.42.2.0/24"), "asked for again");
        ranges.release("b");
        assert_eq!(allot(&mut ranges, "d").as_deref(), Some("10.42.3.0/24"));
        ranges.hold("d", &["10.42.9.0/24".parse().unwrap()]);
        assert!(!ranges.taken.contains_key(&3), "somebody else gave the node another one");
    }

    #[test]
    fn the_last_is_found_and_then_none() {
        let mut small = ranges("10.42.0.0/23", 24, None);
        assert_eq!(allot(&mut small, "a").as_deref(), Some("10.42.0.0/24"));
        assert_eq!(allot(&mut small, "b").as_deref(), Some("10.42.1.0/24"));
        assert_eq!(allot(&mut small, "c"), None);
        small.release("a");
        assert_eq!(allot(&mut small, "c").as_deref(), Some("10.42.0.0/24"));
        let mut six = ranges("fd00:42::/56", 64, None);
        assert_eq!(allot(&mut six, "a").as_deref(), Some("fd00:42::/64"));
        assert_eq!(allot(&mut six, "b").as_deref(), Some("fd00:42:0:1::/64"));
    }

    #[test]
    fn services_ranges_and_larger_ones_are_left_alone() {
        let mut ranges = ranges("10.42.0.0/22", 24, Some("10.42.0.0/24"));
        ranges.occupy("big", "10.42.2.0/23".parse().unwrap());
        assert_eq!(allot(&mut ranges, "a").as_deref(), Some("10.42.1.0/24"));
        assert_eq!(allot(&mut ranges, "b"), None);
    }
}
