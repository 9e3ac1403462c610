//! Connections to backends: made, kept for the next request, and forgotten.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::body::Upload;

/// How long a connection may take: pods are one hop away, so this is a node that is gone.
const CONNECT: Duration = Duration::from_secs(2);

/// How long an unused connection is kept: less than the minute after which most servers close theirs.
const IDLE: Duration = Duration::from_secs(30);

/// How many unused connections are kept for one address: a burst reuses them, and each costs some 20 KiB.
const MOST_IDLE_EACH: usize = 16;

/// How many unused connections are kept in all, so that a thousand pods cost no more than a few.
const MOST_IDLE: usize = 256;

/// How long an address that did not answer is left for last.
const AVOIDED: Duration = Duration::from_secs(5);

/// The longest head of an answer. Bytes.
const MOST_HEAD: usize = 256 * 1024;

/// The connections of this process to backends.
#[derive(Debug)]
pub struct Pool {
    context: daemon::Context,
    state: Mutex<State>,
    kept: Notify,
}

#[derive(Debug, Default)]
struct State {
    idle: HashMap<SocketAddr, Vec<Idle>>,
    count: usize,
    avoided: HashMap<SocketAddr, Instant>,
    is_closed: bool,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<Upload>,
    since: Instant,
}

/// A connection in use.
#[derive(Debug)]
pub struct Lease {
    pool: Arc<Pool>,
    address: SocketAddr,
    pub sender: SendRequest<Upload>,
    /// Whether it has served before, and so may have been closed by the other side unseen.
    pub is_used: bool,
}

impl Lease {
    /// Keeps the connection for another request.
    pub fn give_back(self) {
        let Self { pool, address, sender, .. } = self;
        if sender.is_closed() {
            return;
        }
        let mut state = pool.state.lock();
        let full = state.count >= MOST_IDLE;
        let kept = state.idle.get(&address).map_or(0, Vec::len);
        if state.is_closed || full || kept >= MOST_IDLE_EACH {
            return;
        }
        state.idle.entry(address).or_default().push(Idle { sender, since: Instant::now() });
        state.count += 1;
        drop(state);
        pool.kept.notify_one();
    }
}

impl Pool {
    /// One without connections; those it makes are tasks of this process.
    pub fn new(context: daemon::Context) -> Arc<Self> {
        Arc::new(Self { context, state: Mutex::default(), kept: Notify::new() })
    }

    /// A kept connection to this address that can take a request now.
    pub fn reuse(self: &Arc<Self>, address: SocketAddr) -> Option<Lease> {
        let mut state = self.state.lock();
        let idle = state.idle.get_mut(&address)?;
        let before = idle.len();
        idle.retain(|idle| !idle.sender.is_closed());
        // The one used last is the least likely to be closed soon; one that has not got over its last answer stays.
        let ready = idle.iter().rposition(|idle| idle.sender.is_ready());
        let found = ready.map(|position| idle.remove(position));
        let after = idle.len();
        if after == 0 {
            state.idle.remove(&address);
        }
        state.count -= before - after;
        drop(state);
        found.map(|idle| Lease { pool: Arc::clone(self), address, sender: idle.sender, is_used: true })
    }

    /// A new connection.
    ///
    /// # Errors
    /// Where there is none within the limit; the address is avoided for a while then.
    pub async fn connect(self: &Arc<Self>, address: SocketAddr) -> std::io::Result<Lease> {
        let made = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await;
        let made = made.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        let stream = match made {
            Ok(stream) => stream,
            Err(error) => {
                let mut state = self.state.lock();
                let now = Instant::now();
                state.avoided.retain(|_, until| *until > now);
                state.avoided.insert(address, now + AVOIDED);
                return Err(error);
            }
        };
        stream.set_nodelay(true)?;
        let mut builder = Builder::new();
        builder.max_buf_size(MOST_HEAD);
        let (sender, connection) =
            builder.handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        // It ends by itself once nobody can send on it, so a drain lets running requests finish.
        self.context.spawn_draining("backend connection", async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%address, "a connection to a backend broke: {error}");
            }
            Ok(())
        });
        Ok(Lease { pool: Arc::clone(self), address, sender, is_used: false })
    }

    /// Whether this address did not answer a moment ago.
    pub fn is_avoided(&self, address: &SocketAddr) -> bool {
        self.state.lock().avoided.get(address).is_some_and(|until| *until > Instant::now())
    }

    /// Drops kept connections to addresses that nothing leads to any more.
    pub fn retain(&self, is_wanted: impl Fn(&SocketAddr) -> bool) {
        let mut state = self.state.lock();
        state.idle.retain(|address, _| is_wanted(address));
        state.avoided.retain(|address, _| is_wanted(address));
        state.count = state.idle.values().map(Vec::len).sum();
    }

    /// How many connections wait for use.
    pub fn idle(&self) -> usize {
        self.state.lock().count
    }

    /// Closes kept connections that have waited too long, until the process drains; then all.
    ///
    /// # Errors
    /// None; the type fits what spawns it.
    pub async fn tidy(self: Arc<Self>) -> anyhow::Result<()> {
        let drain = self.context.drain();
        let expiring = async {
            loop {
                self.kept.notified().await;
                while self.idle() > 0 {
                    tokio::time::sleep(IDLE / 2).await;
                    self.expire(Instant::now());
                }
            }
        };
        tokio::select! {
            () = expiring => {}
            () = drain.signaled() => {}
        }
        let mut state = self.state.lock();
        state.is_closed = true;
        state.idle.clear();
        state.count = 0;
        Ok(())
    }

    fn expire(&self, now: Instant) {
        let mut state = self.state.lock();
        for idle in state.idle.values_mut() {
            idle.retain(|idle| now.duration_since(idle.since) < IDLE && !idle.sender.is_closed());
        }
        state.idle.retain(|_, idle| !idle.is_empty());
        state.count = state.idle.values().map(Vec::len).sum();
    }
}
