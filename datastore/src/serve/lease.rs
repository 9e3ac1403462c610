//! Leases: grant, revoke, keep alive, ask.

use futures::StreamExt;
use proto::etcd::etcdserverpb::lease_server::Lease;
use proto::etcd::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseLeasesRequest,
    LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseStatus, LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse,
};
use tokio::time::Instant;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use super::Service;
use crate::fault::Fault;
use crate::{lease, sqlite};

/// The time to live of a lease that does not exist, as etcd reports it.
const GONE: i64 = -1;

#[tonic::async_trait]
impl Lease for Service {
    async fn lease_grant(
        &self,
        request: Request<LeaseGrantRequest>,
    ) -> Result<Response<LeaseGrantResponse>, Status> {
        let LeaseGrantRequest { ttl, id } = request.into_inner();
        let ttl = lease::granted(ttl)?;
        // Positive, so that it is the same in hexadecimal, which is how etcdctl writes it.
        let id = if id == 0 { rand::random_range(1..i64::MAX) } else { id };
        let revision = self.commits.grant(id, ttl).await?;
        let header = Some(self.shared.identity.header(revision));
        Ok(Response::new(LeaseGrantResponse { header, id, ttl, error: String::new() }))
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        let revision = self.commits.revoke(request.into_inner().id).await?;
        let header = Some(self.shared.identity.header(revision));
        Ok(Response::new(LeaseRevokeResponse { header }))
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<BoxStream<LeaseKeepAliveResponse>>, Status> {
        let shared = self.shared.clone();
        let answers = request.into_inner().map(move |request| {
            let id = request?.id;
            let ttl = shared.leases.lock().renew(id, Instant::now()).unwrap_or(0);
            let header = Some(shared.identity.header(shared.hub.revision()));
            Ok(LeaseKeepAliveResponse { header, id, ttl })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        let LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        let header = Some(self.shared.identity.header(self.shared.hub.revision()));
        let left = self.shared.leases.lock().left(id, Instant::now());
        let Some((granted_ttl, ttl)) = left else {
            let gone = LeaseTimeToLiveResponse { header, id, ttl: GONE, ..Default::default() };
            return Ok(Response::new(gone));
        };
        let keys = match keys {
            true => sqlite::leased(&self.readers, id).await.map_err(Fault::from)?,
            false => Vec::new(),
        };
        let keys = keys.into_iter().map(Into::into).collect();
        Ok(Response::new(LeaseTimeToLiveResponse { header, id, ttl, granted_ttl, keys }))
    }

    async fn lease_leases(
        &self,
        _request: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        let header = Some(self.shared.identity.header(self.shared.hub.revision()));
        let leases = self.shared.leases.lock().ids().into_iter().map(|id| LeaseStatus { id }).collect();
        Ok(Response::new(LeaseLeasesResponse { header, leases }))
    }
}
