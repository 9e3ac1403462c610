//! One transaction against the file: choose its branches, check them, make the changes.
//!
//! What can be refused is refused before the first change, so an attempt that fails later has met a broken file.

use std::pin::Pin;

use bytes::Bytes;
use proto::etcd::etcdserverpb::request_op::Request;
use proto::etcd::etcdserverpb::response_op::Response;
use proto::etcd::etcdserverpb::{
    Compare, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RequestOp,
    ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
};
use proto::etcd::mvccpb::{Event, KeyValue};
use sqlx::sqlite::SqliteConnection;
use store::{LeaseId, Revision};

use crate::fault::Fault;
use crate::revision::{MOST_CHANGES, Place, interval, place};
use crate::sqlite::{self, Change};
use crate::txn;

/// Who answers: what every answer's header says beside the revision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity {
    pub(crate) cluster: u64,
    pub(crate) member: u64,
}

impl Identity {
    pub(crate) fn header(self, revision: Revision) -> ResponseHeader {
        /// The term of a cluster whose only member was never voted out.
        const TERM: u64 = 2;
        ResponseHeader { cluster_id: self.cluster, member_id: self.member, revision, raft_term: TERM }
    }
}

/// A transaction's operations, with the branches chosen.
#[derive(Debug)]
struct Chosen {
    succeeded: bool,
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Range(RangeRequest),
    Put(PutRequest),
    Delete(DeleteRangeRequest),
    Inner(Chosen),
}

#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    pub(crate) file: &'a mut SqliteConnection,
    pub(crate) identity: Identity,
    /// The latest revision so far; if anything changes, it becomes the next one.
    pub(crate) revision: Revision,
    pub(crate) events: Vec<Event>,
}

type Doing<'a, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'a>>;

impl Attempt<'_> {
    /// The revision after the attempt.
    pub(crate) fn reached(&self) -> Revision {
        self.revision + i64::from(!self.events.is_empty())
    }

    pub(crate) async fn transact(&mut self, request: TxnRequest) -> Result<TxnResponse, Fault> {
        let chosen = self.choose(request).await?;
        self.check(&chosen).await?;
        self.perform(chosen).await
    }

    /// Deletes what is attached to a lease, and the lease.
    pub(crate) async fn revoke(&mut self, lease: LeaseId) -> Result<(), Fault> {
        if !sqlite::has_lease(self.file, lease).await? {
            return Err(Fault::NoLease);
        }
        sqlite::remove_lease(self.file, lease).await?;
        for key in sqlite::leased(&mut *self.file, lease).await? {
            if let Some((before, place)) = sqlite::find(self.file, &key).await? {
                self.bury(before, place).await?;
            }
        }
        Ok(())
    }

    fn choose(&mut self, request: TxnRequest) -> Doing<'_, Chosen> {
        Box::pin(async move {
            let mut succeeded = true;
            for compare in &request.compare {
                succeeded = succeeded && self.holds(compare).await?;
            }
            let branch = if succeeded { request.success } else { request.failure };
            let mut steps = Vec::with_capacity(branch.len());
            for RequestOp { request } in branch {
                steps.push(match request.ok_or(Fault::KeyNotFound)? {
                    Request::RequestRange(range) => Step::Range(range),
                    Request::RequestPut(put) => Step::Put(put),
                    Request::RequestDeleteRange(delete) => Step::Delete(delete),
                    Request::RequestTxn(inner) => Step::Inner(self.choose(inner).await?),
                });
            }
            Ok(Chosen { succeeded, steps })
        })
    }

    async fn holds(&mut self, compare: &Compare) -> Result<bool, Fault> {
        let found: Vec<KeyValue> = if compare.range_end.is_empty() {
            sqlite::find(self.file, &compare.key).await?.into_iter().map(|(found, _)| found).collect()
        } else {
            let keys = interval(&compare.key, &compare.range_end);
            sqlite::find_all(self.file, &keys).await?.into_iter().map(|(found, _)| found).collect()
        };
        Ok(txn::holds(compare, &found))
    }

    fn check<'b>(&'b mut self, chosen: &'b Chosen) -> Doing<'b, ()> {
        Box::pin(async move {
            for step in &chosen.steps {
                match step {
                    Step::Range(range) if range.revision > 0 => {
                        sqlite::readable(self.file, range.revision, self.revision).await?;
                    }
                    Step::Put(put) => self.check_put(put).await?,
                    Step::Inner(inner) => self.check(inner).await?,
                    Step::Range(_) | Step::Delete(_) => {}
                }
            }
            Ok(())
        })
    }

    async fn check_put(&mut self, put: &PutRequest) -> Result<(), Fault> {
        if put.lease != 0 && !sqlite::has_lease(self.file, put.lease).await? {
            return Err(Fault::NoLease);
        }
        let takes_over = put.ignore_value || put.ignore_lease;
        if takes_over && sqlite::find(self.file, &put.key).await?.is_none() {
            return Err(Fault::KeyNotFound);
        }
        Ok(())
    }

    fn perform(&mut self, chosen: Chosen) -> Doing<'_, TxnResponse> {
        Box::pin(async move {
            let mut responses = Vec::with_capacity(chosen.steps.len());
            for step in chosen.steps {
                let response = match step {
                    Step::Range(range) => Response::ResponseRange(self.range(&range).await?),
                    Step::Put(put) => Response::ResponsePut(self.put(put).await?),
                    Step::Delete(delete) => Response::ResponseDeleteRange(self.delete(&delete).await?),
                    Step::Inner(inner) => Response::ResponseTxn(self.perform(inner).await?),
                };
                responses.push(ResponseOp { response: Some(response) });
            }
            let header = Some(self.identity.header(self.reached()));
            Ok(TxnResponse { header, succeeded: chosen.succeeded, responses })
        })
    }

    async fn range(
        &mut self,
        request: &RangeRequest,
    ) -> Result<proto::etcd::etcdserverpb::RangeResponse, Fault> {
        let query = txn::query(request);
        let read = match query.at {
            0 => sqlite::range_now(&mut *self.file, &query).await?,
            _ => sqlite::range_past(self.file, &query).await?,
        };
        let header = self.identity.header(read.revision);
        Ok(txn::answer(request, read, header))
    }

    async fn put(&mut self, request: PutRequest) -> Result<PutResponse, Fault> {
        let found = sqlite::find(self.file, &request.key).await?;
        let (before, before_place) = found.map_or((None, 0), |(before, place)| (Some(before), place));
        let revision = self.revision + 1;
        // The request's bytes share the buffer of their connection, and events outlive both: hence copies.
        let mut now = KeyValue {
            key: Bytes::copy_from_slice(&request.key),
            value: Bytes::copy_from_slice(&request.value),
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            lease: request.lease,
        };
        if let Some(before) = &before {
            now.create_revision = before.create_revision;
            now.version = before.version + 1;
            if request.ignore_value {
                now.value = before.value.clone();
            }
            if request.ignore_lease {
                now.lease = before.lease;
            }
        }
        self.write(&now, before_place, false).await?;
        let prev_kv = request.prev_kv.then(|| before.clone()).flatten();
        self.events.push(sqlite::event(Some(now), before, false));
        Ok(PutResponse { header: Some(self.identity.header(revision)), prev_kv })
    }

    async fn delete(&mut self, request: &DeleteRangeRequest) -> Result<DeleteRangeResponse, Fault> {
        let keys = interval(&request.key, &request.range_end);
        let found = sqlite::find_all(self.file, &keys).await?;
        let deleted = found.len() as i64;
        let mut prev_kvs = Vec::new();
        for (before, place) in found {
            if request.prev_kv {
                prev_kvs.push(before.clone());
            }
            self.bury(before, place).await?;
        }
        let header = Some(self.identity.header(self.reached()));
        Ok(DeleteRangeResponse { header, deleted, prev_kvs })
    }

    /// Deletes a key.
    async fn bury(&mut self, before: KeyValue, before_place: Place) -> Result<(), Fault> {
        let gone =
            KeyValue { key: before.key.clone(), mod_revision: self.revision + 1, ..KeyValue::default() };
        self.write(&gone, before_place, true).await?;
        self.events.push(sqlite::event(Some(gone), Some(before), true));
        Ok(())
    }

    async fn write(&mut self, now: &KeyValue, before: Place, deleted: bool) -> Result<(), Fault> {
        let number = self.events.len() as i64;
        if number >= MOST_CHANGES {
            return Err(Fault::Storage(format!("a transaction may change {MOST_CHANGES} keys at most")));
        }
        let change = Change {
            key: now.key.clone(),
            value: now.value.clone(),
            create_revision: now.create_revision,
            version: now.version,
            lease: now.lease,
            deleted,
            before,
        };
        Ok(sqlite::write(self.file, place(self.revision + 1, number), &change).await?)
    }
}
