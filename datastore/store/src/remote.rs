//! A store behind the etcd v3 protocol: our datastore, etcd, or whatever else speaks it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use etcd_client::{
    Channel, Client, Compare, CompareOp, DeleteOptions, GetOptions, GetResponse, KvClient, LeaseClient,
    PutOptions, Txn, TxnOp, TxnOpResponse, WatchClient, WatchOptions, WatchRequestSender, WatchResponse,
    WatchResponseStream,
};
use parking_lot::Mutex;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};

use crate::{Commit, Error, Event, Interval, KeyValue, LeaseId, Page, Revision, Store, Update, Updates};

/// The largest answer taken, in bytes: what gRPC itself can frame, for a list is as large as what it lists.
const LARGEST_ANSWER: usize = i32::MAX as usize;

/// How long a call may take before it counts as failed: longer than any stall of a disk that is worth waiting for,
/// shorter than the minute an API client waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);

/// How often a connection in use is tested where the peer could vanish without a word.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// How long the peer may take to answer such a test.
const HEARTBEAT_PATIENCE: Duration = Duration::from_secs(10);

/// The files for mutual TLS, in PEM.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The authorities that the server's certificate may come from.
    pub ca: PathBuf,
    /// Our certificate and its key; none where the server asks for none.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A store behind the etcd v3 protocol. Clones share the connection.
///
/// A broken connection fails what was under way with [`Error::Unavailable`] (a change may or may not have been made)
/// and is made anew by the next call.
#[derive(Clone)]
pub struct Remote {
    kv: KvClient,
    lease: LeaseClient,
    watch: WatchClient,
    watches: Arc<Watches>,
}

/// The requesting ends of all open watches: dropping one ends its watch.
#[derive(Default)]
struct Watches {
    open: Mutex<(u64, HashMap<u64, Requests>)>,
}

type Requests = Arc<tokio::sync::Mutex<WatchRequestSender>>;

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("watches", &self.watches.open.lock().1.len()).finish_non_exhaustive()
    }
}

impl Remote {
    /// A store at one or several endpoints (`unix:///path`, `http://host:port`, `https://host:port`) of one cluster.
    ///
    /// Nothing is sent yet: a server that is not there is noticed by the first call.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where an endpoint cannot be parsed or a file of `tls` cannot be read; it is named.
    pub async fn connect(endpoints: &[String], tls: Option<&Tls>) -> Result<Self, Error> {
        let config = match tls {
            Some(tls) => Some(tls.read().await?),
            None => None,
        };
        let made: Result<Vec<Endpoint>, Error> =
            endpoints.iter().map(|address| endpoint(address, config.as_ref())).collect();
        let channel = match &made?[..] {
            [] => return Err(Error::Unavailable("no endpoint of the datastore was given".to_owned())),
            [single] => single.connect_lazy(),
            several => tonic::transport::Channel::balance_list(several.iter().cloned()),
        };
        let client = Client::from_channel(Channel::Tonic(channel), None).await.map_err(|e| fault(e, 0))?;
        Ok(Self {
            kv: client
                .kv_client()
                .max_decoding_message_size(LARGEST_ANSWER)
                .max_encoding_message_size(LARGEST_ANSWER),
            lease: client.lease_client(),
            watch: client.watch_client().max_decoding_message_size(LARGEST_ANSWER),
            watches: Arc::default(),
        })
    }

    /// Makes one change if the key's revision is as expected, and reads the key otherwise.
    async fn change(&self, key: &[u8], expected: Revision, change: TxnOp) -> Result<Commit, Error> {
        let txn = Txn::new()
            .when([Compare::mod_revision(key, CompareOp::Equal, expected)])
            .and_then([change])
            .or_else([TxnOp::get(key, None)]);
        let answer = within(self.kv.clone().txn(txn), 0).await?;
        let revision = answer.header().map_or(0, |header| header.revision());
        match answer.op_responses().into_iter().next() {
            Some(TxnOpResponse::Delete(deleted)) if deleted.deleted() == 0 => Ok(Commit::Refused(None)),
            Some(TxnOpResponse::Put(_) | TxnOpResponse::Delete(_)) => Ok(Commit::Made(revision)),
            Some(TxnOpResponse::Get(mut found)) => Ok(Commit::Refused(first(&mut found))),
            Some(TxnOpResponse::Txn(_)) | None => {
                Err(Error::Unavailable("the answer to a transaction does not fit the request".to_owned()))
            }
        }
    }
}

impl Tls {
    async fn read(&self) -> Result<ClientTlsConfig, Error> {
        let read = async |path: &PathBuf| {
            tokio::fs::read(path)
                .await
                .map_err(|error| Error::Unavailable(format!("could not read {}: {error}", path.display())))
        };
        let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(&self.ca).await?));
        Ok(match &self.identity {
            Some((certificate, key)) => {
                config.identity(Identity::from_pem(read(certificate).await?, read(key).await?))
            }
            None => config,
        })
    }
}

fn endpoint(address: &str, tls: Option<&ClientTlsConfig>) -> Result<Endpoint, Error> {
    let unusable = |error: &dyn std::fmt::Display| {
        Error::Unavailable(format!(
            "{address:?} is no endpoint of a datastore ({error}); write unix:///path, http://host:port or https://host:port"
        ))
    };
    let known = ["unix://", "http://", "https://"].iter().any(|scheme| address.starts_with(scheme));
    if !known {
        return Err(unusable(&"unknown scheme"));
    }
    let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|error| unusable(&error))?;
    let endpoint = endpoint.connect_timeout(CONNECT);
    if address.starts_with("unix://") {
        return Ok(endpoint);
    }
    let endpoint = endpoint
        .http2_keep_alive_interval(HEARTBEAT)
        .keep_alive_timeout(HEARTBEAT_PATIENCE)
        .tcp_nodelay(true);
    match tls {
        Some(tls) if address.starts_with("https://") => {
            endpoint.tls_config(tls.clone()).map_err(|error| unusable(&error))
        }
        None if address.starts_with("https://") => Err(unusable(&"https needs a certificate authority")),
        _ => Ok(endpoint),
    }
}

/// Ends the watch when the stream is dropped.
struct Registration {
    watches: Arc<Watches>,
    number: u64,
    stream: WatchResponseStream,
    /// The first revision that has not been delivered.
    next: Revision,
    failed: bool,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.watches.open.lock().1.remove(&self.number);
    }
}

impl Registration {
    async fn next(mut self) -> Option<(Result<Update, Error>, Self)> {
        if self.failed {
            return None;
        }
        let update = loop {
            match self.stream.message().await {
                Ok(Some(response)) => {
                    if let Some(update) = update(response, self.next).transpose() {
                        break update;
                    }
                }
                Ok(None) => break Err(Error::Unavailable("the server ended the watch".to_owned())),
                Err(error) => break Err(fault(error, self.next)),
            }
        };
        match &update {
            Ok(Update::Events(events)) => {
                self.next = events.last().map_or(self.next, |event| event.now.mod_revision + 1);
            }
            Ok(Update::Progress(revision)) => self.next = self.next.max(revision + 1),
            Err(_) => self.failed = true,
        }
        Some((update, self))
    }
}

/// What a message of a watch says, if anything.
fn update(mut response: WatchResponse, next: Revision) -> Result<Option<Update>, Error> {
    if response.canceled() {
        return Err(match response.compact_revision() {
            0 => Error::Unavailable(format!("the server ended the watch: {}", response.cancel_reason())),
            oldest => Error::Compacted { asked: next, oldest },
        });
    }
    if response.created() {
        return Ok(None);
    }
    if response.events().is_empty() {
        return Ok(response.take_header().map(|header| Update::Progress(header.revision())));
    }
    let events = response.events().iter().filter_map(|event| {
        Some(Event {
            now: key_value(event.kv()?),
            before: event.prev_kv().map(key_value),
            deleted: event.event_type() == etcd_client::EventType::Delete,
        })
    });
    Ok(Some(Update::Events(events.collect())))
}

fn key_value(found: &etcd_client::KeyValue) -> KeyValue {
    KeyValue {
        key: Bytes::copy_from_slice(found.key()),
        value: Bytes::copy_from_slice(found.value()),
        create_revision: found.create_revision(),
        mod_revision: found.mod_revision(),
        version: found.version(),
        lease: found.lease(),
    }
}

/// The same without a copy of the bytes.
fn taken(found: etcd_client::KeyValue) -> KeyValue {
    let (create_revision, mod_revision) = (found.create_revision(), found.mod_revision());
    let (version, lease) = (found.version(), found.lease());
    let (key, value) = found.into_key_value();
    KeyValue { key: key.into(), value: value.into(), create_revision, mod_revision, version, lease }
}

fn first(found: &mut GetResponse) -> Option<KeyValue> {
    found.take_kvs().into_iter().next().map(taken)
}

/// An interval as the protocol writes it: no key is empty, and an end of one zero byte means there is none.
fn bounds(keys: &Interval) -> (Vec<u8>, Vec<u8>) {
    let or_zero = |bytes: &[u8]| if bytes.is_empty() { vec![0] } else { bytes.to_vec() };
    (or_zero(&keys.start), or_zero(&keys.end))
}

async fn within<T>(
    call: impl Future<Output = Result<T, etcd_client::Error>>,
    asked: Revision,
) -> Result<T, Error> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(answer) => answer.map_err(|error| fault(error, asked)),
        Err(_) => Err(Error::Unavailable(format!("it did not answer within {} s", PATIENCE.as_secs()))),
    }
}

/// What an error of the client means to the caller of a store, who asked for a revision or a lease.
fn fault(error: etcd_client::Error, asked: i64) -> Error {
    match error {
        etcd_client::Error::GRpcStatus(status) => meaning(&status, asked),
        other => Error::Unavailable(other.to_string()),
    }
}

fn meaning(status: &Status, asked: i64) -> Error {
    let says = |part: &str| status.message().contains(part);
    match status.code() {
        Code::OutOfRange if says("has been compacted") => Error::Compacted { asked, oldest: 0 },
        Code::OutOfRange if says("future revision") => Error::Future { asked },
        Code::NotFound if says("lease not found") => Error::NoLease(asked),
        Code::InvalidArgument if says("request is too large") => Error::TooLarge,
        // gRPC libraries refuse by size before the store sees the request; they differ in the code.
        Code::OutOfRange | Code::ResourceExhausted if says("message") && says("large") => Error::TooLarge,
        _ => Error::Unavailable(format!("{}: {}", status.code(), status.message())),
    }
}

#[async_trait::async_trait]
impl Store for Remote {
    async fn get(&self, key: &[u8]) -> Result<(Option<KeyValue>, Revision), Error> {
        let mut found = within(self.kv.clone().get(key, None), 0).await?;
        let revision = found.header().map_or(0, |header| header.revision());
        Ok((first(&mut found), revision))
    }

    async fn range(&self, keys: Interval, limit: usize, at: Revision) -> Result<Page, Error> {
        let (start, end) = bounds(&keys);
        let limit = i64::try_from(limit).unwrap_or(0);
        let options = GetOptions::new().with_range(end).with_limit(limit).with_revision(at);
        let mut found = within(self.kv.clone().get(start, Some(options)), at).await?;
        let revision = found.header().map_or(0, |header| header.revision());
        let items: Vec<KeyValue> = found.take_kvs().into_iter().map(taken).collect();
        Ok(Page { items, count: found.count(), revision })
    }

    async fn put(
        &self,
        key: &[u8],
        value: Bytes,
        expected: Revision,
        lease: LeaseId,
    ) -> Result<Commit, Error> {
        let change = TxnOp::put(key, value, Some(PutOptions::new().with_lease(lease)));
        match self.change(key, expected, change).await {
            Err(Error::NoLease(_)) => Err(Error::NoLease(lease)),
            other => other,
        }
    }

    async fn delete(&self, key: &[u8], expected: Revision) -> Result<Commit, Error> {
        self.change(key, expected, TxnOp::delete(key, Some(DeleteOptions::new()))).await
    }

    async fn watch(&self, keys: Interval, from: Revision) -> Result<Updates, Error> {
        let (start, end) = bounds(&keys);
        let options = WatchOptions::new().with_range(end).with_start_revision(from).with_prev_key();
        let establish = async {
            let (requests, mut stream) = self.watch.clone().watch(start, Some(options)).await?.split();
            let created = stream.message().await?;
            Ok((requests, stream, created))
        };
        let (requests, stream, created) = within(establish, from).await?;
        // An error may come in the place of the confirmation.
        let now = match created {
            Some(mut response) => {
                let revision = response.take_header().map_or(0, |header| header.revision());
                update(response, from)?;
                revision
            }
            None => return Err(Error::Unavailable("the server ended the watch".to_owned())),
        };
        let number = {
            let mut open = self.watches.open.lock();
            open.0 += 1;
            let number = open.0;
            open.1.insert(number, Arc::new(tokio::sync::Mutex::new(requests)));
            number
        };
        let next = if from == 0 { now + 1 } else { from };
        let watches = Arc::clone(&self.watches);
        let registration = Registration { watches, number, stream, next, failed: false };
        Ok(Box::pin(futures::stream::unfold(registration, Registration::next)))
    }

    async fn request_progress(&self) -> Result<(), Error> {
        let open: Vec<Requests> = self.watches.open.lock().1.values().map(Arc::clone).collect();
        for requests in open {
            // A watch that cannot be asked has ended, and says so itself.
            drop(requests.lock().await.request_progress().await);
        }
        Ok(())
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        within(self.kv.clone().compact(revision, None), revision).await.map(drop)
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, Error> {
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        Ok(within(self.lease.clone().grant(seconds, None), 0).await?.id())
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), Error> {
        within(self.lease.clone().revoke(lease), lease).await.map(drop)
    }
}
