//! What `/metrics` tells of requests and connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use http::StatusCode;

/// Counters of the process.
#[derive(Debug, Default)]
pub struct Counts {
    /// By the first digit of the status.
    answers: [AtomicU64; 6],
    failures: AtomicU64,
    connections: AtomicUsize,
    reloads: AtomicU64,
}

impl Counts {
    /// Notes an answer to a client.
    pub fn answered(&self, status: StatusCode) {
        if let Some(class) = self.answers.get(usize::from(status.as_u16() / 100)) {
            class.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes a backend that did not answer.
    pub fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes a new table of routes.
    pub fn reloaded(&self) {
        self.reloads.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes a client's connection, open until what is given back is dropped.
    pub fn connected(self: &Arc<Self>) -> impl Drop + use<> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Connected(Arc::clone(self))
    }

    /// Appends all of it in the Prometheus exposition format.
    pub fn write(&self, out: &mut String, idle: usize) {
        let name = "ingress_requests_total";
        out.push_str(&format!(
            "# HELP {name} Answers to clients by class of status.\n# TYPE {name} counter\n"
        ));
        for (class, count) in self.answers.iter().enumerate().skip(1) {
            out.push_str(&format!("{name}{{code=\"{class}xx\"}} {}\n", count.load(Ordering::Relaxed)));
        }
        let connections = self.connections.load(Ordering::Relaxed) as u64;
        for (name, kind, help, value) in [
            (
                "ingress_backend_failures_total",
                "counter",
                "Attempts on pods that failed.",
                self.failures.load(Ordering::Relaxed),
            ),
            ("ingress_connections", "gauge", "Open connections of clients.", connections),
            ("ingress_backend_idle_connections", "gauge", "Unused connections to pods.", idle as u64),
            (
                "ingress_reloads_total",
                "counter",
                "Tables of routes put in force.",
                self.reloads.load(Ordering::Relaxed),
            ),
        ] {
            out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"));
        }
    }
}

struct Connected(Arc<Counts>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
