//! What the parts of one kubelet share.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use client::Cache;
use client::event::{Recorder, Severity};
use client::k8s_openapi::api::core::v1::{ObjectReference, Pod, Service};
use client::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::image::Images;
use crate::pod::name::Layout;
use crate::pod::report::Reports;
use crate::pod::{self, Member};
use crate::reference::References;
use crate::runtime::Runtime;
use crate::runtime::sandbox::Surroundings;
use crate::serve::stream::Sessions;

/// The shared parts of one kubelet.
pub struct Agent {
    pub context: daemon::Context,
    pub runtime: Runtime,
    /// Such as `containerd`: the scheme of container ids.
    pub runtime_name: String,
    pub images: Images,
    pub layout: Layout,
    pub around: Surroundings,
    pub node: String,
    pub host_ips: Vec<IpAddr>,
    pub allocatable: BTreeMap<String, Quantity>,
    /// None where only static pods run.
    pub client: Option<client::kube::Client>,
    pub events: Option<Recorder>,
    pub references: References,
    pub services: Cache<Service>,
    pub reports: Reports,
    pub bells: Bells,
    pub sessions: Sessions,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Agent {
    /// Tells of a pod.
    pub fn tell(&self, pod: &Pod, severity: Severity, reason: &str, message: impl Into<String>) {
        self.record(&pod::reference(pod, None), severity, reason, message);
    }

    /// Tells of a container of a pod.
    pub fn tell_of(
        &self,
        pod: &Pod,
        member: &Member<'_>,
        severity: Severity,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.record(&pod::reference(pod, Some(member.field_path())), severity, reason, message);
    }

    fn record(&self, about: &ObjectReference, severity: Severity, reason: &str, message: impl Into<String>) {
        let message = message.into();
        tracing::debug!(pod = about.name, reason, "{message}");
        if let Some(events) = &self.events {
            events.record(about, severity, reason, message);
        }
    }
}

/// Wakes a pod's worker.
#[derive(Debug, Default)]
pub struct Bell {
    rung: Notify,
    /// Whether something that the pod refers to has changed.
    fresh: AtomicBool,
}

impl Bell {
    pub fn ring(&self) {
        self.rung.notify_one();
    }

    pub fn ring_for_news(&self) {
        self.fresh.store(true, Ordering::Release);
        self.rung.notify_one();
    }

    pub async fn heard(&self) {
        self.rung.notified().await;
    }

    /// Whether something that the pod refers to has changed since the last time asked.
    pub fn news(&self) -> bool {
        self.fresh.swap(false, Ordering::AcqRel)
    }
}

/// The bells of all workers, by pod uid; as many as there are workers.
#[derive(Debug, Clone, Default)]
pub struct Bells {
    bells: Arc<Mutex<HashMap<Arc<str>, Arc<Bell>>>>,
}

impl Bells {
    /// Hangs up a bell for a new worker.
    pub fn hang(&self, uid: &Arc<str>) -> Arc<Bell> {
        let bell = Arc::new(Bell::default());
        self.bells.lock().insert(Arc::clone(uid), Arc::clone(&bell));
        bell
    }

    pub fn take_down(&self, uid: &str) {
        self.bells.lock().remove(uid);
    }

    pub fn get(&self, uid: &str) -> Option<Arc<Bell>> {
        self.bells.lock().get(uid).cloned()
    }

    pub fn ring(&self, uid: &str) {
        if let Some(bell) = self.get(uid) {
            bell.ring();
        }
    }

    pub fn ring_all(&self) {
        for bell in self.bells.lock().values() {
            bell.ring();
        }
    }

    pub fn is_empty(&self) -> bool {
        self.bells.lock().is_empty()
    }
}
