//! A connection of another protocol inside a WebSocket: its bytes are the messages', whatever they mean.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use proto::websocket::{Event, NORMAL};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::relay::{BUFFER, LINGER, Pulse};
use super::socket::{Reader, Writer};

/// Pings that wait for their answer; a client that sends more at once gets an answer to these.
pub(super) const PINGS: usize = 4;

/// Carries bytes both ways until either side has ended.
///
/// # Errors
/// Where a peer breaks off or does not keep to the protocol, or nothing moves for as long as `idle`.
pub(super) async fn tunnel<C, R>(client: C, runtime: R, idle: Duration) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite,
    R: AsyncRead + AsyncWrite,
{
    let pulse = Pulse::new(idle);
    let (from_client, to_client) = tokio::io::split(client);
    let (from_runtime, to_runtime) = tokio::io::split(runtime);
    let (pings, asked) = mpsc::channel(PINGS);
    let up = up(Reader::new(from_client), to_runtime, pings, &pulse);
    let down = down(from_runtime, Writer::new(to_client), asked, &pulse);
    tokio::pin!(up, down);
    tokio::select! {
        ended = &mut up => {
            ended?;
            tokio::time::timeout(LINGER, down).await.unwrap_or(Ok(()))
        }
        ended = &mut down => {
            ended?;
            tokio::time::timeout(LINGER, up).await.unwrap_or(Ok(()))
        }
        () = pulse.stopped() => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Ends with the client; what it says after the runtime has gone is not heard.
async fn up(
    mut client: Reader<impl AsyncRead + Unpin>,
    mut runtime: impl AsyncWrite + Unpin,
    pings: mpsc::Sender<Bytes>,
    pulse: &Pulse,
) -> io::Result<()> {
    let mut heard = true;
    while let Some(event) = client.read(pulse).await? {
        match event {
            Event::Piece { bytes, .. } if heard => heard = runtime.write_all(&bytes).await.is_ok(),
            Event::Ping(bytes) => drop(pings.try_send(bytes)),
            Event::Close(_) => break,
            Event::Piece { .. } | Event::Pong => {}
        }
    }
    Ok(())
}

/// Ends with the runtime, or when the client is gone, which closes `pings`.
async fn down(
    mut runtime: impl AsyncRead + Unpin,
    mut client: Writer<impl AsyncWrite + Unpin>,
    mut pings: mpsc::Receiver<Bytes>,
    pulse: &Pulse,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        tokio::select! {
            read = runtime.read(&mut buffer) => match read? {
                0 => break,
                length => {
                    pulse.beat();
                    client.plain(&buffer[..length]).await?;
                }
            },
            ping = pings.recv() => match ping {
                Some(ping) => client.pong(&ping).await?,
                None => break,
            },
        }
    }
    client.close(NORMAL).await
}
