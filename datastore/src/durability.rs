//! What need not wait for the disk, and how far revisions may run ahead of what is on it.
//!
//! SQLite's log is written in order, so a power cut loses at most the end of it: some of the latest lazy commits, and
//! never one that a later durable commit has followed. What was lost was seen, though, so its revisions must not be
//! given again: they come from a block that was reserved on disk before.

use proto::etcd::etcdserverpb::request_op::Request;
use proto::etcd::etcdserverpb::{RequestOp, TxnRequest};
use store::{Interval, Revision};

use crate::revision::interval;

/// Revisions reserved at a time: hours of lease renewals on a small cluster, and few enough that a jump over them
/// after a power cut means nothing.
const BLOCK: Revision = 1024;

/// The keys whose changes may be lost in a power cut: each is written again soon, or was to go soon.
#[derive(Debug, Clone)]
pub(crate) struct Lazy(Vec<Interval>);

impl Lazy {
    pub(crate) fn new(prefixes: Vec<String>) -> Self {
        Self(prefixes.into_iter().map(Interval::prefix).collect())
    }

    /// Whether a transaction changes only such keys, whichever branch it takes.
    pub(crate) fn covers(&self, request: &TxnRequest) -> bool {
        self.covers_all(&request.success) && self.covers_all(&request.failure)
    }

    fn covers_all(&self, branch: &[RequestOp]) -> bool {
        branch.iter().all(|op| match &op.request {
            None | Some(Request::RequestRange(_)) => true,
            Some(Request::RequestPut(put)) => self.0.iter().any(|lazy| lazy.contains(&put.key)),
            Some(Request::RequestDeleteRange(delete)) => {
                let keys = interval(&delete.key, &delete.range_end);
                self.0.iter().any(|lazy| holds(lazy, &keys))
            }
            Some(Request::RequestTxn(inner)) => self.covers(inner),
        })
    }
}

/// Whether an interval lies within another.
fn holds(outer: &Interval, inner: &Interval) -> bool {
    let ends_within = outer.end.is_empty() || (!inner.end.is_empty() && inner.end <= outer.end);
    outer.contains(&inner.start) && ends_within
}

/// The end of the next block, if it is time to reserve one with a durable commit that reaches `revision`: early, so
/// that commits that are durable anyway do it for the lazy ones between them.
pub(crate) fn reservation(revision: Revision, reserved: Revision) -> Option<Revision> {
    (revision + BLOCK / 2 > reserved).then_some(revision + BLOCK)
}

/// The revision to go on from after a power cut that may have lost some, with which everything before is history: who
/// has seen what was lost must read anew.
pub(crate) fn beyond(reserved: Revision) -> Revision {
    // A watch goes on from the revision after the last one seen, and even that must lie before what is kept.
    reserved + 2
}

#[cfg(test)]
mod tests {
    use proto::etcd::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest};

    use super::*;

    fn op(request: Request) -> RequestOp {
        RequestOp { request: Some(request) }
    }

    fn put(key: &'static str) -> RequestOp {
        op(Request::RequestPut(PutRequest { key: key.into(), ..PutRequest::default() }))
    }

    fn delete(key: &'static str, end: &'static str) -> RequestOp {
        let (key, range_end) = (key.into(), end.into());
        op(Request::RequestDeleteRange(DeleteRangeRequest { key, range_end, prev_kv: false }))
    }

    fn branches(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> TxnRequest {
        TxnRequest { success, failure, ..TxnRequest::default() }
    }

    #[test]
    fn what_may_be_lost() {
        let lazy = Lazy::new(vec!["/l/".to_owned(), "/e/".to_owned()]);
        let range = || op(Request::RequestRange(RangeRequest::default()));
        let inner = |op| self::op(Request::RequestTxn(branches(vec![op], vec![])));
        let cases = [
            (branches(vec![put("/l/a")], vec![range()]), true),
            (branches(vec![put("/l/a"), put("/e/b")], vec![]), true),
            (branches(vec![range()], vec![]), true),
            (branches(vec![put("/l")], vec![]), false),
            (branches(vec![put("/l/a"), put("/p/b")], vec![]), false),
            (branches(vec![put("/l/a")], vec![put("/p/b")]), false),
            (branches(vec![inner(put("/l/a"))], vec![]), true),
            (branches(vec![inner(put("/p/a"))], vec![]), false),
            (branches(vec![delete("/l/a", "")], vec![]), true),
            (branches(vec![delete("/l/a", "/l/b")], vec![]), true),
            (branches(vec![delete("/l/a", "/l0")], vec![]), true),
            (branches(vec![delete("/l/a", "/m")], vec![]), false),
            (branches(vec![delete("/l/a", "\0")], vec![]), false),
        ];
        for (request, expected) in cases {
            assert_eq!(lazy.covers(&request), expected, "{request:?}");
        }
        assert!(!Lazy::new(vec![]).covers(&branches(vec![put("/l/a")], vec![])));
    }

    #[test]
    fn blocks_are_reserved_before_they_are_used_up() {
        let cases = [(1, 0, Some(1 + BLOCK)), (10, 10 + BLOCK, None), (600, 10 + BLOCK, Some(600 + BLOCK))];
        for (revision, reserved, expected) in cases {
            assert_eq!(reservation(revision, reserved), expected, "{revision} {reserved}");
        }
    }
}
