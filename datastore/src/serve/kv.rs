//! Ranges, puts, deletions, transactions, compaction.

use prost::Message;
use proto::etcd::etcdserverpb::kv_server::Kv;
use proto::etcd::etcdserverpb::request_op::Request as Operation;
use proto::etcd::etcdserverpb::response_op::Response as Outcome;
use proto::etcd::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, RequestOp, ResponseOp, TxnRequest, TxnResponse,
};
use tonic::{Request, Response, Status};

use super::Service;
use crate::fault::Fault;
use crate::{MOST_BYTES, sqlite, txn};

impl Service {
    async fn read(&self, request: &RangeRequest) -> Result<RangeResponse, Fault> {
        let query = txn::query(request);
        let read = match query.at {
            0 => sqlite::range_now(&self.readers, &query).await?,
            _ => {
                let mut snapshot = self.readers.begin().await?;
                let read = sqlite::range_past(&mut snapshot, &query).await?;
                snapshot.commit().await?;
                read
            }
        };
        let header = self.shared.identity.header(read.revision);
        Ok(txn::answer(request, read, header))
    }

    /// Commits a single operation and returns what it came to.
    async fn single(&self, operation: Operation) -> Result<Option<Outcome>, Fault> {
        let success = vec![RequestOp { request: Some(operation) }];
        let answer = self.transact(TxnRequest { success, ..TxnRequest::default() }).await?;
        Ok(answer.responses.into_iter().next().and_then(|ResponseOp { response }| response))
    }

    async fn transact(&self, request: TxnRequest) -> Result<TxnResponse, Fault> {
        if request.encoded_len() > MOST_BYTES {
            return Err(Fault::TooLarge);
        }
        self.commits.transact(request).await
    }
}

fn mismatch() -> Status {
    Status::internal("the outcome of a transaction does not fit its operation")
}

#[tonic::async_trait]
impl Kv for Service {
    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        let request = request.into_inner();
        txn::check_range(&request)?;
        Ok(Response::new(self.read(&request).await?))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let request = request.into_inner();
        txn::check_put(&request)?;
        match self.single(Operation::RequestPut(request)).await? {
            Some(Outcome::ResponsePut(answer)) => Ok(Response::new(answer)),
            _ => Err(mismatch()),
        }
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let request = request.into_inner();
        txn::check_delete(&request)?;
        match self.single(Operation::RequestDeleteRange(request)).await? {
            Some(Outcome::ResponseDeleteRange(answer)) => Ok(Response::new(answer)),
            _ => Err(mismatch()),
        }
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let request = request.into_inner();
        txn::check(&request)?;
        Ok(Response::new(self.transact(request).await?))
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        let revision = self.commits.compact(request.into_inner().revision).await?;
        let header = Some(self.shared.identity.header(revision));
        Ok(Response::new(CompactionResponse { header }))
    }
}
