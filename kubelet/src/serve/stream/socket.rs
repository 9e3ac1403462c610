//! The client's end of a WebSocket.

use std::io;

use bytes::{Bytes, BytesMut};
use proto::websocket::{Decoder, Event, Frame};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::channel::Protocol;
use super::relay::{BUFFER, Pulse};

/// What the client sends.
pub(super) struct Reader<R> {
    from: R,
    buffer: BytesMut,
    decoder: Decoder,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, buffer: BytesMut::with_capacity(BUFFER), decoder: Decoder::new(true) }
    }

    /// What the client did next; nothing once it is gone. A call that is given up loses nothing.
    pub(super) async fn read(&mut self, pulse: &Pulse) -> io::Result<Option<Event>> {
        loop {
            if let Some(event) = self.decoder.read().map_err(io::Error::other)? {
                return Ok(Some(event));
            }
            self.buffer.clear();
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
            pulse.beat();
            self.decoder.take(&self.buffer);
        }
    }
}

/// What is sent to the client.
pub(super) struct Writer<W> {
    to: W,
    out: Vec<u8>,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    pub(super) fn new(to: W) -> Self {
        Self { to, out: Vec::new() }
    }

    /// Bytes of a channel.
    pub(super) async fn channel(&mut self, protocol: &Protocol, channel: u8, bytes: &[u8]) -> io::Result<()> {
        protocol.message(channel, bytes, &mut self.out);
        self.flush().await
    }

    /// Bytes with nothing before them.
    pub(super) async fn plain(&mut self, bytes: &[u8]) -> io::Result<()> {
        Frame::Binary(&[bytes]).write(None, &mut self.out);
        self.flush().await
    }

    pub(super) async fn pong(&mut self, bytes: &Bytes) -> io::Result<()> {
        Frame::Pong(bytes).write(None, &mut self.out);
        self.flush().await
    }

    /// Says goodbye; nothing can be sent any more.
    pub(super) async fn close(&mut self, code: u16) -> io::Result<()> {
        Frame::Close(code, "").write(None, &mut self.out);
        self.flush().await?;
        self.to.shutdown().await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.to.write_all(&self.out).await?;
        self.out.clear();
        self.to.flush().await
    }
}
