//! Bytes from one peer to the other, both ways, until both have ended or nothing moves any more.

use std::io;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

/// What is under way in one direction: as much as `kubectl` sends at once.
pub(super) const BUFFER: usize = 32 << 10;

/// How long what a client still sends is taken in once the runtime has ended: closing with something unread would
/// reset the connection, and the client could lose the last words.
pub(super) const LINGER: Duration = Duration::from_secs(5);

/// When something last moved, and how long nothing may.
#[derive(Debug)]
pub(super) struct Pulse {
    last: Mutex<Instant>,
    idle: Duration,
}

impl Pulse {
    pub(super) fn new(idle: Duration) -> Self {
        Self { last: Mutex::new(Instant::now()), idle }
    }

    pub(super) fn beat(&self) {
        *self.last.lock() = Instant::now();
    }

    /// Returns once nothing has moved for too long.
    pub(super) async fn stopped(&self) {
        loop {
            let end = *self.last.lock() + self.idle;
            tokio::time::sleep_until(end).await;
            if *self.last.lock() + self.idle <= end {
                return;
            }
        }
    }
}

/// Copies both ways until either peer has ended; what the runtime has said by then reaches the client.
///
/// # Errors
/// Where a peer breaks off, or nothing has moved for as long as `idle`.
pub(super) async fn relay<A, B>(client: A, runtime: B, idle: Duration) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let pulse = Pulse::new(idle);
    let (mut from_client, to_client) = tokio::io::split(client);
    let (from_runtime, to_runtime) = tokio::io::split(runtime);
    let up = async {
        if copy(&mut from_client, to_runtime, &pulse).await.is_err() {
            tokio::io::copy(&mut from_client, &mut tokio::io::sink()).await?;
        }
        Ok(())
    };
    tokio::pin!(up);
    tokio::select! {
        ended = &mut up => ended,
        ended = copy(from_runtime, to_client, &pulse) => {
            ended?;
            tokio::time::timeout(LINGER, up).await.unwrap_or(Ok(()))
        }
        () = pulse.stopped() => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    pulse: &Pulse,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        pulse.beat();
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn the_last_words_arrive() {
        let (mut client, near) = tokio::io::duplex(8);
        let (mut runtime, far) = tokio::io::duplex(8);
        let talk = async {
            client.write_all(b"a long question?").await.unwrap();
            let mut heard = String::new();
            client.read_to_string(&mut heard).await.unwrap();
            client.write_all(b"too late for anybody").await.unwrap();
            drop(client);
            heard
        };
        let answer = async {
            let mut heard = [0; 16];
            runtime.read_exact(&mut heard).await.unwrap();
            runtime.write_all(&heard.to_ascii_uppercase()).await.unwrap();
            drop(runtime);
        };
        let (heard, (), relayed) = tokio::join!(talk, answer, relay(near, far, IDLE));
        relayed.unwrap();
        assert_eq!(heard, "A LONG QUESTION?");
    }

    #[tokio::test]
    async fn a_client_that_leaves_ends_it() {
        let (client, near) = tokio::io::duplex(8);
        let (mut runtime, far) = tokio::io::duplex(8);
        drop(client);
        relay(near, far, IDLE).await.unwrap();
        assert_eq!(runtime.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_not_borne_for_ever() {
        let (_client, near) = tokio::io::duplex(8);
        let (_runtime, far) = tokio::io::duplex(8);
        assert_eq!(relay(near, far, IDLE).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
