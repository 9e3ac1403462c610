//! What a request can fail with, in etcd's words: clients compare them.

use tonic::{Code, Status};

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("etcdserver: key is not provided")]
    EmptyKey,
    #[error("etcdserver: key not found")]
    KeyNotFound,
    #[error("etcdserver: value is provided")]
    ValueProvided,
    #[error("etcdserver: lease is provided")]
    LeaseProvided,
    #[error("etcdserver: duplicate key given in txn request")]
    DuplicateKey,
    #[error("etcdserver: too many operations in txn request")]
    TooManyOps,
    #[error("etcdserver: invalid sort option")]
    InvalidSort,
    #[error("etcdserver: request is too large")]
    TooLarge,
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted { oldest: i64 },
    #[error("etcdserver: mvcc: required revision is a future revision")]
    Future,
    #[error("etcdserver: mvcc: database space exceeded")]
    NoSpace,
    #[error("etcdserver: requested lease not found")]
    NoLease,
    #[error("etcdserver: lease already exists")]
    LeaseExists,
    #[error("etcdserver: too large lease TTL")]
    LeaseTooLong,
    #[error("etcdserver: request timed out")]
    TimedOut,
    #[error("etcdserver: server stopped")]
    Stopped,
    #[error("etcdserver: storage failed: {0}")]
    Storage(String),
}

impl Fault {
    /// Whether the file failed, and not the request.
    pub(crate) fn is_storage(&self) -> bool {
        matches!(self, Self::NoSpace | Self::Storage(_))
    }

    fn code(&self) -> Code {
        match self {
            Self::EmptyKey
            | Self::KeyNotFound
            | Self::ValueProvided
            | Self::LeaseProvided
            | Self::DuplicateKey
            | Self::TooManyOps
            | Self::InvalidSort
            | Self::TooLarge => Code::InvalidArgument,
            Self::Compacted { .. } | Self::Future | Self::LeaseTooLong => Code::OutOfRange,
            Self::NoSpace => Code::ResourceExhausted,
            Self::NoLease => Code::NotFound,
            Self::LeaseExists => Code::FailedPrecondition,
            Self::TimedOut | Self::Stopped | Self::Storage(_) => Code::Unavailable,
        }
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        Self::new(fault.code(), fault.to_string())
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        /// SQLite's primary result code for a disk that is full.
        const FULL: u32 = 13;
        /// The part of an extended result code that is the primary one.
        const PRIMARY: u32 = 0xff;
        let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
        match code {
            Some(code) if code & PRIMARY == FULL => Self::NoSpace,
            _ => Self::Storage(error.to_string()),
        }
    }
}
