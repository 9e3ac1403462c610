//! Readiness by dropping: the process is ready when no [`Gate`] is left, and says so to who started it.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

/// The set of things a process still waits for before it is ready.
#[derive(Debug, Clone)]
pub struct Gates {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    waiting: Mutex<BTreeMap<&'static str, usize>>,
    ready: watch::Sender<bool>,
}

/// Holds back readiness until dropped.
#[derive(Debug)]
pub struct Gate {
    name: &'static str,
    gates: Gates,
}

impl Default for Gates {
    fn default() -> Self {
        Self { inner: Arc::new(Inner { waiting: Mutex::default(), ready: watch::channel(false).0 }) }
    }
}

impl Gates {
    /// Adds a thing to wait for; readiness is held back until the gate is dropped.
    pub fn gate(&self, name: &'static str) -> Gate {
        *self.inner.waiting.lock().entry(name).or_insert(0) += 1;
        Gate { name, gates: self.clone() }
    }

    /// The names of what is still awaited, in alphabetical order.
    pub fn pending(&self) -> Vec<&'static str> {
        self.inner.waiting.lock().keys().copied().collect()
    }

    /// Returns once no gate is left.
    pub async fn ready(&self) {
        let mut ready = self.inner.ready.subscribe();
        drop(ready.wait_for(|ready| *ready).await);
    }
}

impl Gate {
    /// Drops the gate; a name for the moment.
    pub fn release(self) {}
}

impl Drop for Gate {
    fn drop(&mut self) {
        let mut waiting = self.gates.inner.waiting.lock();
        if let Some(count) = waiting.get_mut(self.name) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(self.name);
            }
        }
        let ready = waiting.is_empty();
        drop(waiting);
        if ready {
            self.gates.inner.ready.send_replace(true);
        }
    }
}

/// Sends `state` (such as `READY=1`) to the socket named by `NOTIFY_SOCKET`, if there is one: sd_notify(3).
///
/// # Errors
/// Where the variable is set but the socket cannot be written to.
pub fn notify(state: &str) -> std::io::Result<()> {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let socket = UnixDatagram::unbound()?;
    match path.to_str().and_then(|p| p.strip_prefix('@')) {
        Some(name) => {
            use std::os::linux::net::SocketAddrExt;
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            socket.send_to_addr(state.as_bytes(), &address)?;
        }
        None => {
            socket.send_to(state.as_bytes(), path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_when_the_last_gate_is_dropped() {
        let gates = Gates::default();
        let (listener, cache) = (gates.gate("listener"), gates.gate("cache"));
        assert_eq!(gates.pending(), ["cache", "listener"]);
        drop(listener);
        assert_eq!(gates.pending(), ["cache"]);
        drop(cache);
        gates.ready().await;
    }
}
