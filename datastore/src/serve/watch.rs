//! Watch streams: many watchers on one stream, told in order, with cancellation, progress and fragments.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use proto::etcd::etcdserverpb::watch_create_request::FilterType;
use proto::etcd::etcdserverpb::watch_request::RequestUnion;
use proto::etcd::etcdserverpb::watch_server::Watch;
use proto::etcd::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use proto::etcd::mvccpb::Event;
use proto::etcd::mvccpb::event::EventType;
use sqlx::sqlite::SqlitePool;
use store::Interval;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use super::Service;
use crate::commit::Shared;
use crate::fault::Fault;
use crate::watch::{Hub, Id, Told};
use crate::{MOST_BYTES, revision, sqlite};

/// Answers that may wait for a slow client; what comes after waits in history.
const MOST_WAITING: usize = 16;

/// How often a watcher that asked for it hears of progress: etcd's default.
const PROGRESS: Duration = Duration::from_secs(600);

/// The watcher's number on an answer that concerns all of a stream, as etcd writes it.
const ALL: i64 = -1;

#[tonic::async_trait]
impl Watch for Service {
    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<BoxStream<WatchResponse>>, Status> {
        let (answers, out) = mpsc::channel(MOST_WAITING);
        let session = Session {
            shared: self.shared.clone(),
            readers: self.readers.clone(),
            watchers: BTreeMap::new(),
            wake: Arc::new(Notify::new()),
            progress_wanted: false,
            answers,
        };
        self.context.spawn_isolated("watch", session.run(request.into_inner()));
        Ok(Response::new(Box::pin(ReceiverStream::new(out))))
    }
}

/// One stream.
struct Session {
    shared: Shared,
    readers: SqlitePool,
    watchers: BTreeMap<i64, Watcher>,
    /// Told whenever there may be something for one of the watchers.
    wake: Arc<Notify>,
    /// Whether progress is to be reported as soon as nobody is behind.
    progress_wanted: bool,
    answers: mpsc::Sender<Result<WatchResponse, Status>>,
}

/// One watcher of a stream; it leaves the hub when dropped.
struct Watcher {
    hub: Arc<Hub>,
    id: Id,
    keys: Interval,
    wants: Wants,
}

/// How a watcher wants its events.
#[derive(Debug, Clone, Copy)]
struct Wants {
    before: bool,
    puts: bool,
    deletions: bool,
    progress: bool,
    fragments: bool,
}

/// The client has gone; there is nobody left to tell.
struct Gone;

impl Drop for Watcher {
    fn drop(&mut self) {
        self.hub.cancel(self.id);
    }
}

impl Wants {
    fn of(request: &WatchCreateRequest) -> Self {
        Self {
            before: request.prev_kv,
            puts: request.filters().all(|filter| filter != FilterType::Noput),
            deletions: request.filters().all(|filter| filter != FilterType::Nodelete),
            progress: request.progress_notify,
            fragments: request.fragment,
        }
    }

    /// The events as the watcher wants them.
    fn filter(self, mut events: Vec<Event>) -> Vec<Event> {
        events.retain(|event| match event.r#type() {
            EventType::Put => self.puts,
            EventType::Delete => self.deletions,
        });
        if !self.before {
            events.iter_mut().for_each(|event| event.prev_kv = None);
        }
        events
    }

    /// The events in parts: one, unless it is too large and the watcher takes fragments.
    fn fragment(self, events: Vec<Event>) -> Vec<Vec<Event>> {
        let mut parts = vec![Vec::new()];
        let mut bytes = 0;
        for event in events {
            let size = if self.fragments { event.encoded_len() } else { 0 };
            if bytes + size > MOST_BYTES && bytes > 0 {
                parts.push(Vec::new());
                bytes = 0;
            }
            bytes += size;
            if let Some(part) = parts.last_mut() {
                part.push(event);
            }
        }
        parts
    }
}

impl Session {
    async fn run(mut self, mut requests: Streaming<WatchRequest>) -> anyhow::Result<()> {
        let mut progress = tokio::time::interval(PROGRESS);
        progress.reset();
        loop {
            let wants_progress = self.watchers.values().any(|watcher| watcher.wants.progress);
            let done = tokio::select! {
                request = requests.message() => match request? {
                    Some(WatchRequest { request_union: Some(request) }) => self.handle(request).await,
                    Some(WatchRequest { request_union: None }) => Ok(()),
                    None => Err(Gone),
                },
                () = self.wake.notified() => self.deliver().await,
                _ = progress.tick(), if wants_progress => self.report().await,
                () = self.answers.closed() => Err(Gone),
            };
            if let Err(Gone) = done {
                return Ok(());
            }
        }
    }

    async fn handle(&mut self, request: RequestUnion) -> Result<(), Gone> {
        match request {
            RequestUnion::CreateRequest(create) => self.create(create).await,
            RequestUnion::CancelRequest(cancel) => match self.watchers.remove(&cancel.watch_id) {
                Some(_) => {
                    let canceled =
                        WatchResponse { watch_id: cancel.watch_id, canceled: true, ..Default::default() };
                    self.answer(canceled, None).await
                }
                None => Ok(()),
            },
            RequestUnion::ProgressRequest(_) => {
                self.progress_wanted = true;
                self.deliver().await
            }
        }
    }

    async fn create(&mut self, request: WatchCreateRequest) -> Result<(), Gone> {
        let number = match request.watch_id {
            0 => (0..).find(|number| !self.watchers.contains_key(number)).unwrap_or_default(),
            number if self.watchers.contains_key(&number) => {
                let refusal = WatchResponse {
                    watch_id: ALL,
                    created: true,
                    canceled: true,
                    cancel_reason: "mvcc: duplicate watch ID provided on the WatchStream".to_owned(),
                    ..Default::default()
                };
                return self.answer(refusal, None).await;
            }
            number => number,
        };
        let key = if request.key.is_empty() { Bytes::from_static(b"\0") } else { request.key.clone() };
        let keys = revision::interval(&key, &request.range_end);
        let wake = Arc::clone(&self.wake);
        let (id, now) = self.shared.hub.watch(keys.clone(), request.start_revision, wake);
        let hub = Arc::clone(&self.shared.hub);
        self.watchers.insert(number, Watcher { hub, id, keys, wants: Wants::of(&request) });
        let created = WatchResponse { watch_id: number, created: true, ..Default::default() };
        self.answer(created, Some(now)).await?;
        self.deliver_to(number).await
    }

    /// Tells every watcher what there is for it, then of the progress if that was asked for.
    async fn deliver(&mut self) -> Result<(), Gone> {
        let numbers: Vec<i64> = self.watchers.keys().copied().collect();
        for number in numbers {
            self.deliver_to(number).await?;
        }
        if self.progress_wanted {
            let settled = self.shared.hub.settled(self.watchers.values().map(|watcher| watcher.id));
            match settled {
                Some(revision) => {
                    self.progress_wanted = false;
                    let progress = WatchResponse { watch_id: ALL, ..Default::default() };
                    self.answer(progress, Some(revision)).await?;
                }
                // Something was committed meanwhile: go on behind it.
                None => self.wake.notify_one(),
            }
        }
        Ok(())
    }

    async fn deliver_to(&mut self, number: i64) -> Result<(), Gone> {
        while let Some(watcher) = self.watchers.get(&number) {
            let events = match self.shared.hub.tell(watcher.id) {
                Told::Nothing => return Ok(()),
                Told::Events(events) => events,
                Told::Replay(from) => match sqlite::replay(&self.readers, &watcher.keys, from).await {
                    Ok((events, next)) => {
                        self.shared.hub.replayed(watcher.id, next);
                        events
                    }
                    Err(fault) => return self.cancel(number, fault).await,
                },
            };
            let wants = watcher.wants;
            let events = wants.filter(events);
            if events.is_empty() {
                continue;
            }
            let mut parts = wants.fragment(events).into_iter().peekable();
            while let Some(events) = parts.next() {
                let fragment = parts.peek().is_some();
                let told = WatchResponse { watch_id: number, fragment, events, ..Default::default() };
                self.answer(told, None).await?;
            }
        }
        Ok(())
    }

    /// Ends a watcher that cannot be told what it asked for.
    async fn cancel(&mut self, number: i64, fault: Fault) -> Result<(), Gone> {
        self.watchers.remove(&number);
        let compact_revision = if let Fault::Compacted { oldest } = fault { oldest } else { 0 };
        let canceled = WatchResponse {
            watch_id: number,
            canceled: true,
            compact_revision,
            cancel_reason: fault.to_string(),
            ..Default::default()
        };
        self.answer(canceled, None).await
    }

    /// Tells the watchers that want it how far they are.
    async fn report(&self) -> Result<(), Gone> {
        let wanting: Vec<(i64, Id)> = self
            .watchers
            .iter()
            .filter(|(_, watcher)| watcher.wants.progress)
            .map(|(number, watcher)| (*number, watcher.id))
            .collect();
        for (number, id) in wanting {
            if let Some(revision) = self.shared.hub.settled([id]) {
                let progress = WatchResponse { watch_id: number, ..Default::default() };
                self.answer(progress, Some(revision)).await?;
            }
        }
        Ok(())
    }

    /// Sends an answer that speaks of a revision (`None`: of the present one) as soon as the client takes it.
    async fn answer(&self, mut answer: WatchResponse, at: Option<i64>) -> Result<(), Gone> {
        let revision = at.unwrap_or_else(|| self.shared.hub.revision());
        answer.header = Some(self.shared.identity.header(revision));
        self.answers.send(Ok(answer)).await.map_err(|_| Gone)
    }
}
