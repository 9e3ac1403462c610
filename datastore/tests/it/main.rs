//! The datastore from outside: laws, etcdctl, crashes, churn. One binary, for each links for seconds.
#![expect(clippy::unwrap_used, reason = "a test stops where it fails, in its helpers too")]

mod churn;
mod crash;
mod etcd;
mod etcdctl;
mod law;
mod ours;
mod power;
mod space;
mod start;
mod tls;
