//! Transactions as values: what makes a request malformed, whether a comparison holds, what a range shows.

use std::cmp::Ordering;

use bytes::Bytes;
use proto::etcd::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcd::etcdserverpb::range_request::{SortOrder, SortTarget};
use proto::etcd::etcdserverpb::request_op::Request;
use proto::etcd::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse, RequestOp, ResponseHeader,
    TxnRequest,
};
use proto::etcd::mvccpb::KeyValue;
use store::Interval;

use crate::fault::Fault;
use crate::revision::interval;
use crate::sqlite::{Query, Slice};

/// The most operations in one branch of a transaction: etcd's default.
const MOST_OPS: usize = 128;

/// Refuses a range that is malformed.
pub(crate) fn check_range(request: &RangeRequest) -> Result<(), Fault> {
    if request.key.is_empty() {
        return Err(Fault::EmptyKey);
    }
    let known =
        SortOrder::try_from(request.sort_order).is_ok() && SortTarget::try_from(request.sort_target).is_ok();
    if known { Ok(()) } else { Err(Fault::InvalidSort) }
}

/// Refuses a put that is malformed.
pub(crate) fn check_put(request: &PutRequest) -> Result<(), Fault> {
    if request.key.is_empty() {
        Err(Fault::EmptyKey)
    } else if request.ignore_value && !request.value.is_empty() {
        Err(Fault::ValueProvided)
    } else if request.ignore_lease && request.lease != 0 {
        Err(Fault::LeaseProvided)
    } else {
        Ok(())
    }
}

/// Refuses a deletion that is malformed.
pub(crate) fn check_delete(request: &DeleteRangeRequest) -> Result<(), Fault> {
    if request.key.is_empty() { Err(Fault::EmptyKey) } else { Ok(()) }
}

/// Refuses a transaction that is malformed, also within.
pub(crate) fn check(request: &TxnRequest) -> Result<(), Fault> {
    let most = request.compare.len().max(request.success.len()).max(request.failure.len());
    if most > MOST_OPS {
        return Err(Fault::TooManyOps);
    }
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(Fault::EmptyKey);
    }
    touches(&request.success)?;
    touches(&request.failure)?;
    Ok(())
}

/// What one branch puts and deletes; a key that it would change twice is refused.
fn touches(branch: &[RequestOp]) -> Result<(Vec<Bytes>, Vec<Interval>), Fault> {
    let (mut puts, mut deletions): (Vec<Bytes>, Vec<Interval>) = (Vec::new(), Vec::new());
    for op in branch {
        let (put, deleted) = match &op.request {
            Some(Request::RequestRange(range)) => {
                check_range(range)?;
                continue;
            }
            Some(Request::RequestPut(put)) => {
                check_put(put)?;
                (vec![put.key.clone()], Vec::new())
            }
            Some(Request::RequestDeleteRange(delete)) => {
                check_delete(delete)?;
                (Vec::new(), vec![interval(&delete.key, &delete.range_end)])
            }
            Some(Request::RequestTxn(inner)) => {
                check(inner)?;
                // Only one branch of the inner one comes to pass, so the two may touch the same keys.
                let (mut put, mut deleted) = touches(&inner.success)?;
                let (more, also) = touches(&inner.failure)?;
                put.extend(more);
                put.sort();
                put.dedup();
                deleted.extend(also);
                (put, deleted)
            }
            None => return Err(Fault::KeyNotFound),
        };
        let twice =
            put.iter().any(|key| puts.contains(key) || deletions.iter().any(|gone| gone.contains(key)))
                || deleted.iter().any(|gone| puts.iter().any(|key| gone.contains(key)));
        if twice {
            return Err(Fault::DuplicateKey);
        }
        puts.extend(put);
        deletions.extend(deleted);
    }
    Ok((puts, deletions))
}

/// Whether a comparison holds for all keys of its interval; for a key that is not there, zeros are compared.
pub(crate) fn holds(compare: &Compare, found: &[KeyValue]) -> bool {
    if !found.is_empty() {
        return found.iter().all(|key_value| holds_for(compare, key_value));
    }
    compare.target() != CompareTarget::Value && holds_for(compare, &KeyValue::default())
}

fn holds_for(compare: &Compare, found: &KeyValue) -> bool {
    let wanted = |union: Option<&TargetUnion>| match union {
        Some(
            TargetUnion::Version(number)
            | TargetUnion::CreateRevision(number)
            | TargetUnion::ModRevision(number)
            | TargetUnion::Lease(number),
        ) => *number,
        Some(TargetUnion::Value(_)) | None => 0,
    };
    let number = wanted(compare.target_union.as_ref());
    let order = match compare.target() {
        CompareTarget::Version => found.version.cmp(&number),
        CompareTarget::Create => found.create_revision.cmp(&number),
        CompareTarget::Mod => found.mod_revision.cmp(&number),
        CompareTarget::Lease => found.lease.cmp(&number),
        CompareTarget::Value => match &compare.target_union {
            Some(TargetUnion::Value(value)) => found.value.cmp(value),
            _ => found.value[..].cmp(b""),
        },
    };
    match compare.result() {
        CompareResult::Equal => order == Ordering::Equal,
        CompareResult::NotEqual => order != Ordering::Equal,
        CompareResult::Greater => order == Ordering::Greater,
        CompareResult::Less => order == Ordering::Less,
    }
}

/// Whether a range is answered in key order without looking at what it finds, so that its limit can be applied at once.
pub(crate) fn is_plain(request: &RangeRequest) -> bool {
    let by_key = request.sort_order() == SortOrder::None
        || (request.sort_order() == SortOrder::Ascend && request.sort_target() == SortTarget::Key);
    let bounds = [
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    ];
    // Without an order, a target other than the key still means ascending, as etcd has it.
    by_key && (request.sort_target() == SortTarget::Key) && bounds == [0; 4]
}

/// What a range that is not plain shows of all that is in its interval.
pub(crate) fn shape(request: &RangeRequest, mut items: Vec<KeyValue>) -> Vec<KeyValue> {
    let inside = |number: i64, least: i64, most: i64| number >= least && (most == 0 || number <= most);
    items.retain(|item| {
        inside(item.mod_revision, request.min_mod_revision, request.max_mod_revision)
            && inside(item.create_revision, request.min_create_revision, request.max_create_revision)
    });
    items.sort_by(|one, other| match request.sort_target() {
        SortTarget::Key => one.key.cmp(&other.key),
        SortTarget::Version => one.version.cmp(&other.version),
        SortTarget::Create => one.create_revision.cmp(&other.create_revision),
        SortTarget::Mod => one.mod_revision.cmp(&other.mod_revision),
        SortTarget::Value => one.value.cmp(&other.value),
    });
    if request.sort_order() == SortOrder::Descend {
        items.reverse();
    }
    items
}

/// What to read for a range: as little as it needs.
pub(crate) fn query(request: &RangeRequest) -> Query {
    let plain = is_plain(request);
    let limit = match request.limit {
        _ if request.count_only => 0,
        limit if plain && limit > 0 => limit,
        _ => -1,
    };
    Query {
        keys: interval(&request.key, &request.range_end),
        limit,
        at: request.revision.max(0),
        keys_only: plain && request.keys_only,
    }
}

/// The answer to a range from what was read for it.
pub(crate) fn answer(request: &RangeRequest, read: Slice, header: ResponseHeader) -> RangeResponse {
    let count = read.count;
    let (mut kvs, mut more) = (read.items, false);
    if is_plain(request) {
        more = !request.count_only && count > kvs.len() as i64;
    } else if !request.count_only {
        kvs = shape(request, kvs);
        if let Ok(limit) = usize::try_from(request.limit)
            && limit > 0
            && kvs.len() > limit
        {
            kvs.truncate(limit);
            more = true;
        }
        if request.keys_only {
            kvs.iter_mut().for_each(|item| item.value = Bytes::new());
        }
    }
    RangeResponse { header: Some(header), kvs, more, count }
}

#[cfg(test)]
mod tests;
