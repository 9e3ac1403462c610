//! The datastore from outside: laws, etcdctl, crashes, churn. One binary, for each links for seconds.
#![expect(clippy::unwrap_used, reason = "a test stops where it fails, in its helpers too")]

mod churn;
mod etcd;
mod law;
mod ours;
