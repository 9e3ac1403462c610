//! Which leases there are and when they end.

use std::collections::BTreeMap;
use std::time::Duration;

use store::LeaseId;
use tokio::time::Instant;

use crate::fault::Fault;

/// The shortest lease granted, in seconds, as etcd has it: less would end between two keep-alives of a busy client.
const SHORTEST: i64 = 2;

/// The longest lease granted, in seconds: etcd's limit.
const LONGEST: i64 = 9_000_000_000;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Lease {
    pub(crate) ttl: i64,
    end: Instant,
}

/// The leases by name. Ends are kept in memory alone: after a restart every lease has its full time again.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    leases: BTreeMap<LeaseId, Lease>,
}

/// The time a lease is granted for, given what was asked.
pub(crate) fn granted(ttl: i64) -> Result<i64, Fault> {
    if ttl > LONGEST { Err(Fault::LeaseTooLong) } else { Ok(ttl.max(SHORTEST)) }
}

impl Leases {
    pub(crate) fn insert(&mut self, id: LeaseId, ttl: i64, now: Instant) {
        self.leases.insert(id, Lease { ttl, end: now + seconds(ttl) });
    }

    pub(crate) fn remove(&mut self, id: LeaseId) {
        self.leases.remove(&id);
    }

    pub(crate) fn ids(&self) -> Vec<LeaseId> {
        self.leases.keys().copied().collect()
    }

    /// Begins a lease's time anew and returns it.
    pub(crate) fn renew(&mut self, id: LeaseId, now: Instant) -> Option<i64> {
        let lease = self.leases.get_mut(&id)?;
        lease.end = now + seconds(lease.ttl);
        Some(lease.ttl)
    }

    /// What a lease was granted for and what is left of it, in seconds.
    pub(crate) fn left(&self, id: LeaseId, now: Instant) -> Option<(i64, i64)> {
        let lease = self.leases.get(&id)?;
        let left = lease.end.saturating_duration_since(now).as_secs();
        Some((lease.ttl, i64::try_from(left).unwrap_or(i64::MAX)))
    }

    pub(crate) fn ended(&self, now: Instant) -> Vec<LeaseId> {
        self.leases.iter().filter(|(_, lease)| lease.end <= now).map(|(id, _)| *id).collect()
    }

    /// When the next lease ends, unless it is renewed.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.leases.values().map(|lease| lease.end).min()
    }
}

fn seconds(ttl: i64) -> Duration {
    Duration::from_secs(ttl.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_unless_renewed() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let mut leases = Leases::default();
        leases.insert(1, 10, now);
        leases.insert(2, 20, now);
        assert_eq!(leases.next(), Some(after(10)));
        assert_eq!(leases.renew(1, after(9)), Some(10));
        assert_eq!((leases.renew(3, now), leases.left(1, after(10))), (None, Some((10, 9))));
        assert_eq!(leases.ended(after(19)), [1]);
        leases.remove(1);
        assert_eq!(leases.ended(after(20)), [2]);
    }

    #[test]
    fn times_granted() {
        assert_eq!(granted(1), Ok(2));
        assert_eq!(granted(60), Ok(60));
        assert_eq!(granted(LONGEST + 1), Err(Fault::LeaseTooLong));
    }
}
