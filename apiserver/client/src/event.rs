//! Events: what a daemon tells people about an object, repeated ones counted instead of piled up.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use tokio::sync::mpsc;

use crate::object;

/// Events that wait to be written; when the API server is that slow, further ones are dropped: events are hints.
const WAITING: usize = 512;

/// Distinct events remembered for counting (client-go's figure).
const REMEMBERED: usize = 4096;

/// Whether an event tells of the usual or of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Things went as they should.
    Normal,
    /// Somebody may have to look.
    Warning,
}

impl Severity {
    const fn text(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Hands events to the task that writes them; cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder {
    waiting: mpsc::Sender<Note>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Note {
    severity: Severity,
    reason: String,
    message: String,
    about: About,
}

// ObjectReference is not hashable; this is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct About {
    api_version: String,
    kind: String,
    namespace: String,
    name: String,
    uid: String,
    resource_version: String,
    field_path: String,
}

impl Recorder {
    /// Tells of something that happened to the object that `about` refers to.
    pub fn record(
        &self,
        about: &ObjectReference,
        severity: Severity,
        reason: &str,
        message: impl Into<String>,
    ) {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let about = About {
            api_version: text(&about.api_version),
            kind: text(&about.kind),
            namespace: text(&about.namespace),
            name: text(&about.name),
            uid: text(&about.uid),
            resource_version: text(&about.resource_version),
            field_path: text(&about.field_path),
        };
        let note = Note { severity, reason: reason.to_owned(), message: message.into(), about };
        if self.waiting.try_send(note).is_err() {
            tracing::debug!(reason, "an event was dropped: the API server does not keep up");
        }
    }

    /// Tells of something that happened to an object.
    pub fn about<K>(&self, object: &K, severity: Severity, reason: &str, message: impl Into<String>)
    where
        K: Resource<DynamicType = ()>,
    {
        self.record(&object.object_ref(&()), severity, reason, message);
    }
}

/// A recorder, and the future that writes what it records; run it in a task that ends when the process drains.
///
/// `component` is the source people see (`default-scheduler`, `kubelet`, ...), `host` the node's name or empty.
pub fn recorder(
    client: kube::Client,
    component: &'static str,
    host: &str,
) -> (Recorder, impl Future<Output = anyhow::Result<()>> + Send + use<>) {
    let (waiting, notes) = mpsc::channel(WAITING);
    let writer = Writer { client, component, host: host.to_owned(), seen: HashMap::new() };
    (Recorder { waiting }, writer.write_all(notes))
}

struct Writer {
    client: kube::Client,
    component: &'static str,
    host: String,
    seen: HashMap<Note, Seen>,
}

struct Seen {
    name: String,
    count: i32,
}

impl Writer {
    async fn write_all(mut self, mut notes: mpsc::Receiver<Note>) -> anyhow::Result<()> {
        while let Some(note) = notes.recv().await {
            if let Err(error) = self.write(note).await {
                tracing::debug!("an event could not be written: {error}");
            }
        }
        Ok(())
    }

    async fn write(&mut self, note: Note) -> kube::Result<()> {
        let namespace = if note.about.namespace.is_empty() { "default" } else { &note.about.namespace };
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        // The resource version moves with each change of the object and must not make a repeated event a new one.
        let same =
            Note { about: About { resource_version: String::new(), ..note.about.clone() }, ..note.clone() };
        if let Some(seen) = self.seen.get_mut(&same) {
            seen.count += 1;
            let patch = serde_json::json!({"count": seen.count, "lastTimestamp": Time(Timestamp::now())});
            let patched = api.patch(&seen.name, &PatchParams::default(), &Patch::Merge(patch)).await;
            if object::found(patched)?.is_some() {
                return Ok(());
            }
            self.seen.remove(&same);
        }
        let event = self.event(&note, namespace);
        let name = event.metadata.name.clone().unwrap_or_default();
        api.create(&PostParams::default(), &event).await?;
        if self.seen.len() >= REMEMBERED {
            self.seen.clear();
        }
        self.seen.insert(same, Seen { name, count: 1 });
        Ok(())
    }

    fn event(&self, note: &Note, namespace: &str) -> Event {
        let now = Timestamp::now();
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Event {
            metadata: ObjectMeta {
                // The same form as client-go: the object's name and the moment in hexadecimal nanoseconds.
                name: Some(format!("{}.{:x}", note.about.name, now.as_nanosecond())),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: some(&note.about.api_version),
                kind: some(&note.about.kind),
                namespace: some(&note.about.namespace),
                name: some(&note.about.name),
                uid: some(&note.about.uid),
                resource_version: some(&note.about.resource_version),
                field_path: some(&note.about.field_path),
            },
            reason: Some(note.reason.clone()),
            message: Some(note.message.clone()),
            source: Some(EventSource { component: Some(self.component.to_owned()), host: some(&self.host) }),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            count: Some(1),
            type_: Some(note.severity.text().to_owned()),
            reporting_component: Some(self.component.to_owned()),
            reporting_instance: some(&self.host),
            ..Event::default()
        }
    }
}
