//! A process's streams between a client that speaks WebSocket channels and a runtime that speaks SPDY.

use std::io;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use proto::spdy::{self, Endpoint, Role};
use proto::websocket::{Event, INTERNAL_ERROR, NORMAL};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::ask::Ask;
use super::channel::{self, Listener, Protocol, Word};
use super::relay::{BUFFER, LINGER, Pulse};
use super::socket::{Reader, Writer};
use super::tunnel::PINGS;

/// Until the runtime has accepted all streams (upstream's figure).
const PATIENCE: Duration = Duration::from_secs(30);
/// The most that is read of how a process ended.
const VERDICT_BYTES: usize = 64 << 10;

/// The runtime's side: its connection, and which stream is which channel.
pub(super) struct Process<R> {
    runtime: R,
    endpoint: Endpoint,
    channels: Vec<(u8, u32)>,
}

impl<R: AsyncRead + AsyncWrite + Unpin> Process<R> {
    /// Opens the streams that are wanted.
    ///
    /// # Errors
    /// Where the runtime does not accept them in time.
    pub(super) async fn open(mut runtime: R, ask: Ask) -> anyhow::Result<Self> {
        let wanted = [
            ("error", channel::ERROR, true),
            ("stdin", channel::STDIN, ask.stdin),
            ("stdout", channel::STDOUT, ask.stdout),
            ("stderr", channel::STDERR, ask.stderr),
            ("resize", channel::RESIZE, ask.tty),
        ];
        let mut endpoint = Endpoint::new(Role::Client);
        let mut channels = Vec::new();
        for (kind, channel, _) in wanted.into_iter().filter(|(.., wanted)| *wanted) {
            channels.push((channel, endpoint.open(vec![("streamtype".to_owned(), kind.to_owned())])?));
        }
        runtime.write_all(&endpoint.output()).await?;
        // What is sent before all are accepted would be lost.
        let accepted = accepted(&mut runtime, &mut endpoint, channels.len());
        let accepted = tokio::time::timeout(PATIENCE, accepted).await;
        accepted.context("timed out").flatten().context("the runtime did not accept the streams")?;
        Ok(Self { runtime, endpoint, channels })
    }

    /// Carries everything both ways until the process or the client has ended.
    ///
    /// # Errors
    /// Where a peer breaks off or does not keep to the protocol, or nothing moves for as long as `idle`.
    pub(super) async fn carry(
        self,
        client: impl AsyncRead + AsyncWrite,
        protocol: &'static Protocol,
        idle: Duration,
    ) -> io::Result<()> {
        let (from_client, to_client) = tokio::io::split(client);
        let (from_runtime, to_runtime) = tokio::io::split(self.runtime);
        let line = Line {
            endpoint: Mutex::new(self.endpoint),
            channels: self.channels,
            protocol,
            pulse: Pulse::new(idle),
        };
        let (pings, asked) = mpsc::channel(PINGS);
        let (answers, answered) = mpsc::channel(PINGS);
        let up = line.up(Reader::new(from_client), to_runtime, pings, answered);
        let down = line.down(from_runtime, Writer::new(to_client), asked, answers);
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
            () = line.pulse.stopped() => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

async fn accepted(
    runtime: &mut (impl AsyncRead + Unpin),
    endpoint: &mut Endpoint,
    mut missing: usize,
) -> anyhow::Result<()> {
    let mut buffer = [0; 1024];
    while missing > 0 {
        match endpoint.read()? {
            Some(spdy::Event::Accepted(_)) => missing -= 1,
            Some(spdy::Event::Reset(_) | spdy::Event::Away) => bail!("it refused one"),
            Some(_) => {}
            None => match runtime.read(&mut buffer).await? {
                0 => bail!("it closed the connection"),
                length => endpoint.take(&buffer[..length]),
            },
        }
    }
    Ok(())
}

/// What both directions share.
struct Line {
    endpoint: Mutex<Endpoint>,
    channels: Vec<(u8, u32)>,
    protocol: &'static Protocol,
    pulse: Pulse,
}

impl Line {
    /// Ends with the client; what it says after the runtime has gone is not heard.
    async fn up(
        &self,
        mut client: Reader<impl AsyncRead + Unpin>,
        mut runtime: impl AsyncWrite + Unpin,
        pings: mpsc::Sender<Bytes>,
        mut answers: mpsc::Receiver<Vec<u8>>,
    ) -> io::Result<()> {
        let mut listener = Listener::new(self.protocol);
        let mut heard = true;
        loop {
            let event = tokio::select! {
                event = client.read(&self.pulse) => event?,
                Some(answer) = answers.recv() => {
                    heard = heard && runtime.write_all(&answer).await.is_ok();
                    continue;
                }
            };
            match event {
                Some(Event::Piece { first, bytes, .. }) => {
                    if let Some(word) = listener.hear(first, bytes).map_err(io::Error::other)?
                        && let Some(output) = self.say(word)
                    {
                        heard = heard && runtime.write_all(&output).await.is_ok();
                    }
                }
                Some(Event::Ping(bytes)) => drop(pings.try_send(bytes)),
                Some(Event::Pong) => {}
                Some(Event::Close(_)) | None => return Ok(()),
            }
        }
    }

    /// A client's word as the runtime is told it; none where it concerns no open stream.
    fn say(&self, word: Word) -> Option<Vec<u8>> {
        let (channel, bytes, end) = match word {
            Word::Bytes(channel, bytes) => (channel, bytes, false),
            Word::End(channel) => (channel, Bytes::new(), true),
        };
        let ours = [channel::STDIN, channel::RESIZE].contains(&channel);
        let (_, stream) = self.channels.iter().find(|(known, _)| ours && *known == channel)?;
        let mut endpoint = self.endpoint.lock();
        endpoint.send(*stream, bytes, end).ok()?;
        Some(endpoint.output())
    }

    /// Ends with the runtime, or when the client is gone, which closes `pings`.
    async fn down(
        &self,
        mut runtime: impl AsyncRead + Unpin,
        mut client: Writer<impl AsyncWrite + Unpin>,
        mut pings: mpsc::Receiver<Bytes>,
        answers: mpsc::Sender<Vec<u8>>,
    ) -> io::Result<()> {
        let mut buffer = BytesMut::with_capacity(BUFFER);
        let mut telling = self.telling();
        let mut verdict = Vec::new();
        // A client knows by the first message that it is connected.
        client
            .channel(self.protocol, telling.last().map_or(channel::ERROR, |(channel, _)| *channel), &[])
            .await?;
        while !telling.is_empty() {
            match self.event(&answers)? {
                Some(spdy::Event::Data { stream, bytes }) => {
                    match telling.iter().find(|(_, known)| *known == stream) {
                        Some((channel::ERROR, _)) => {
                            let room = VERDICT_BYTES.saturating_sub(verdict.len());
                            verdict.extend_from_slice(&bytes[..bytes.len().min(room)]);
                        }
                        Some((channel, _)) => client.channel(self.protocol, *channel, &bytes).await?,
                        None => {}
                    }
                }
                Some(spdy::Event::Ended(stream) | spdy::Event::Reset(stream)) => {
                    telling.retain(|(_, known)| *known != stream);
                }
                Some(_) => {}
                None => tokio::select! {
                    read = runtime.read_buf(&mut buffer) => {
                        if read? == 0 {
                            break;
                        }
                        self.pulse.beat();
                        self.endpoint.lock().take(&buffer);
                        buffer.clear();
                    }
                    ping = pings.recv() => match ping {
                        Some(ping) => client.pong(&ping).await?,
                        None => return client.close(NORMAL).await,
                    },
                },
            }
        }
        self.judge(&verdict, client).await
    }

    /// The channels on which the runtime speaks, and their streams; the first output last.
    fn telling(&self) -> Vec<(u8, u32)> {
        let ours = [channel::STDIN, channel::RESIZE];
        let mut telling: Vec<_> =
            self.channels.iter().copied().filter(|(known, _)| !ours.contains(known)).collect();
        telling.sort_unstable_by_key(|(channel, _)| std::cmp::Reverse(*channel));
        telling
    }

    /// What the runtime did next, as far as it is known; what there is to answer goes its way.
    fn event(&self, answers: &mpsc::Sender<Vec<u8>>) -> io::Result<Option<spdy::Event>> {
        let mut endpoint = self.endpoint.lock();
        let event = endpoint.read().map_err(io::Error::other)?;
        let output = endpoint.output();
        if !output.is_empty() {
            // A runtime that asks for life more often than it takes the answers gets fewer.
            drop(answers.try_send(output));
        }
        Ok(event)
    }

    /// Tells how it ended and says goodbye.
    async fn judge(&self, verdict: &[u8], mut client: Writer<impl AsyncWrite + Unpin>) -> io::Result<()> {
        if verdict.is_empty() {
            return client.close(INTERNAL_ERROR).await;
        }
        if self.protocol.tells_status {
            client.channel(self.protocol, channel::ERROR, verdict).await?;
        } else if let Some(words) = channel::in_words(verdict) {
            client.channel(self.protocol, channel::ERROR, words.as_bytes()).await?;
        }
        client.close(NORMAL).await
    }
}

#[cfg(test)]
mod tests;
