//! How the store is, what it takes, a copy of it, and the one member it has.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use proto::etcd::etcdserverpb::cluster_server::Cluster;
use proto::etcd::etcdserverpb::maintenance_server::Maintenance;
use proto::etcd::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmResponse, AlarmType, DefragmentRequest, DefragmentResponse,
    HashKvRequest, HashKvResponse, Member, MemberListRequest, MemberListResponse, SnapshotRequest,
    SnapshotResponse, StatusRequest, StatusResponse,
};
use store::{Interval, Revision};
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use super::Service;
use crate::fault::Fault;
use crate::sqlite::{Query, Slice};
use crate::{checksum, snapshot, sqlite};

/// The etcd whose protocol this is: clients look here for what they may use (progress on request, for one).
const PROTOCOL: &str = "3.5.13";

/// The name of the one member: etcd's default.
const MEMBER: &str = "default";

impl Service {
    /// Everything as it was at a revision, and the oldest revision that could have been asked for.
    async fn state(&self, revision: Revision) -> Result<(Slice, Revision), Fault> {
        let everything = Interval { start: Bytes::new(), end: Bytes::new() };
        let query = Query { keys: everything, limit: -1, at: revision, keys_only: false };
        let mut snapshot = self.readers.begin().await?;
        let read = sqlite::range_past(&mut snapshot, &query).await?;
        let compacted = sqlite::compacted(&mut snapshot).await?;
        snapshot.commit().await?;
        Ok((read, compacted))
    }

    fn alarms(&self) -> Vec<AlarmMember> {
        let alarm = AlarmMember { member_id: self.shared.identity.member, alarm: AlarmType::Nospace as i32 };
        let full = self.shared.full.load(Ordering::Relaxed);
        full.then_some(alarm).into_iter().collect()
    }
}

#[tonic::async_trait]
impl Maintenance for Service {
    /// An alarm here is a fact (the disk is full) and ends with it, so there is none to raise or to disarm.
    async fn alarm(&self, _request: Request<AlarmRequest>) -> Result<Response<AlarmResponse>, Status> {
        let header = Some(self.shared.identity.header(self.shared.hub.revision()));
        Ok(Response::new(AlarmResponse { header, alarms: self.alarms() }))
    }

    async fn status(&self, _request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let (db_size, db_size_in_use) = sqlite::size(&self.readers).await.map_err(Fault::from)?;
        let revision = self.shared.hub.revision();
        let header = self.shared.identity.header(revision);
        let index = revision.unsigned_abs();
        let errors = self.alarms().iter().map(|_| Fault::NoSpace.to_string()).collect();
        Ok(Response::new(StatusResponse {
            version: PROTOCOL.to_owned(),
            db_size,
            db_size_in_use,
            leader: header.member_id,
            raft_index: index,
            raft_applied_index: index,
            raft_term: header.raft_term,
            header: Some(header),
            errors,
            ..StatusResponse::default()
        }))
    }

    async fn defragment(
        &self,
        _request: Request<DefragmentRequest>,
    ) -> Result<Response<DefragmentResponse>, Status> {
        let revision = self.commits.shrink().await?;
        Ok(Response::new(DefragmentResponse { header: Some(self.shared.identity.header(revision)) }))
    }

    /// A sum over the keys as they were at a revision: the same on every copy that holds the same, however it was
    /// compacted, and so not the one etcd would give.
    async fn hash_kv(&self, request: Request<HashKvRequest>) -> Result<Response<HashKvResponse>, Status> {
        let asked = request.into_inner().revision;
        let revision = if asked > 0 { asked } else { self.shared.hub.revision() };
        let (read, compact_revision) = self.state(revision).await?;
        let hash = read.items.iter().fold(0, |sum, item| {
            let sum = checksum::extend(sum, &item.key);
            checksum::extend(checksum::extend(sum, &item.mod_revision.to_be_bytes()), &item.value)
        });
        let header = Some(self.shared.identity.header(read.revision));
        Ok(Response::new(HashKvResponse { header, hash, compact_revision, hash_revision: revision }))
    }

    async fn snapshot(
        &self,
        _request: Request<SnapshotRequest>,
    ) -> Result<Response<BoxStream<SnapshotResponse>>, Status> {
        let copy = snapshot::take(&self.readers, &self.data).await?;
        let header = self.shared.identity.header(self.shared.hub.revision());
        Ok(Response::new(Box::pin(snapshot::stream(copy, header))))
    }
}

#[tonic::async_trait]
impl Cluster for Service {
    async fn member_list(
        &self,
        _request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        let header = self.shared.identity.header(self.shared.hub.revision());
        let member = Member {
            id: header.member_id,
            name: MEMBER.to_owned(),
            client_ur_ls: self.urls.to_vec(),
            ..Member::default()
        };
        Ok(Response::new(MemberListResponse { header: Some(header), members: vec![member] }))
    }
}
