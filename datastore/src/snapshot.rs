//! A consistent copy of the whole store, as a stream.
//!
//! What `etcdctl snapshot save` stores is an SQLite file of our schema followed by the SHA-256 of its bytes, as etcd
//! appends one to its own file. To restore: cut off those 32 bytes and start with the rest as the data directory's
//! `state.db`; [`crate::sqlite`] opens it as any other.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::Stream;
use proto::etcd::etcdserverpb::{ResponseHeader, SnapshotResponse};
use ring::digest;
use sqlx::sqlite::SqlitePool;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tonic::Status;

use crate::fault::Fault;

/// Bytes of one message: a few pages of the file, far below what gRPC takes.
const CHUNK: usize = 64 * 1024;

/// How the names of copies begin, so that those which a crash left behind are known.
pub(crate) const PREFIX: &str = "snapshot-";

/// A finished copy; its file goes with it.
#[derive(Debug)]
pub(crate) struct Copy {
    file: File,
    path: PathBuf,
    bytes: u64,
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!("could not remove the copy {}: {error}; remove it by hand", self.path.display());
        }
    }
}

/// Copies the store into a file below `data`, as it is at one moment, while it goes on.
pub(crate) async fn take(readers: &SqlitePool, data: &Path) -> Result<Copy, Fault> {
    let path = data.join(format!("{PREFIX}{:016x}", rand::random::<u64>()));
    let failed = |error: &dyn std::fmt::Display| Fault::Storage(format!("{}: {error}", path.display()));
    let name = path.to_str().ok_or_else(|| failed(&"the path is not UTF-8"))?;
    sqlx::query("VACUUM INTO ?1").bind(name).execute(readers).await?;
    let file = File::open(&path).await.map_err(|error| failed(&error))?;
    let bytes = file.metadata().await.map_err(|error| failed(&error))?.len();
    Ok(Copy { file, path, bytes })
}

/// What is left to send.
struct Sending {
    copy: Copy,
    header: ResponseHeader,
    digest: Option<digest::Context>,
    left: u64,
}

/// The copy as messages, with its SHA-256 as the last one.
pub(crate) fn stream(
    copy: Copy,
    header: ResponseHeader,
) -> impl Stream<Item = Result<SnapshotResponse, Status>> {
    let left = copy.bytes;
    let sending = Sending { copy, header, digest: Some(digest::Context::new(&digest::SHA256)), left };
    futures::stream::try_unfold(sending, Sending::next)
}

impl Sending {
    async fn next(mut self) -> Result<Option<(SnapshotResponse, Self)>, Status> {
        let Some(digest) = &mut self.digest else { return Ok(None) };
        let mut chunk = vec![0; CHUNK];
        let count = self.copy.file.read(&mut chunk).await?;
        chunk.truncate(count);
        digest.update(&chunk);
        self.left = self.left.saturating_sub(count as u64);
        let blob = match count {
            0 => self
                .digest
                .take()
                .map_or_else(Bytes::new, |digest| Bytes::copy_from_slice(digest.finish().as_ref())),
            _ => chunk.into(),
        };
        let remaining_bytes = self.left;
        let message =
            SnapshotResponse { header: Some(self.header), remaining_bytes, blob, version: String::new() };
        Ok(Some((message, self)))
    }
}
