//! The daemons that are in the executable.

use std::process::ExitCode;

/// A daemon's entry: it takes its command line without the program's name.
pub(crate) type Entry = fn(Vec<String>) -> ExitCode;

/// The daemons by the name of their crate.
pub(crate) const DAEMONS: &[(&str, Entry)] = &[
    (apiserver::NAME, apiserver::main),
    (controller_manager::NAME, controller_manager::main),
    (datastore::NAME, datastore::main),
    (dns::NAME, dns::main),
    (flannel::NAME, flannel::main),
    (ingress::NAME, ingress::main),
    (kubelet::NAME, kubelet::main),
    (kubeproxy::NAME, kubeproxy::main),
    (scheduler::NAME, scheduler::main),
];

/// The entry of a daemon, by its name.
pub(crate) fn entry(name: &str) -> Option<Entry> {
    DAEMONS.iter().find(|(daemon, _)| *daemon == name).map(|(_, entry)| *entry)
}
