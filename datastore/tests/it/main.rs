//! The datastore from outside: laws, etcdctl, crashes, churn. One binary, for each links for seconds.

mod etcd;
mod law;
