//! One side of a connection: which streams there are, and what each side may still send on them.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::SpdyError;
use super::frame::{Decoder, Encoder, Frame};
use super::header::Headers;

/// Streams open at once, of either side: `kubectl port-forward` opens two for each connection it carries.
pub const STREAMS: usize = 1024;

/// The last id that a stream can have.
const LAST_ID: u32 = 0x7fff_ffff;

/// Why a stream is broken off (section 2.6.3 of the draft).
const PROTOCOL_ERROR: u32 = 1;
const INVALID_STREAM: u32 = 2;
const REFUSED_STREAM: u32 = 3;
const CANCEL: u32 = 5;

/// Which side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Opened the connection; its streams and pings have odd ids.
    Client,
    /// Accepted it; its streams and pings have even ids.
    Server,
}

/// What the peer did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It opened a stream; answer with [`Endpoint::accept`] or [`Endpoint::reset`].
    Opened {
        /// The stream.
        stream: u32,
        /// What it is for.
        headers: Headers,
    },
    /// It accepted a stream of ours.
    Accepted(u32),
    /// It sent bytes; data that comes together may be told piece by piece.
    Data {
        /// The stream.
        stream: u32,
        /// The bytes.
        bytes: Bytes,
    },
    /// It will send nothing more on a stream.
    Ended(u32),
    /// It broke a stream off.
    Reset(u32),
    /// It takes no further streams.
    Away,
}

/// One side of a connection.
#[derive(Debug)]
pub struct Endpoint {
    role: Role,
    next_id: u32,
    streams: BTreeMap<u32, Stream>,
    last_taken: u32,
    away: bool,
    encoder: Encoder,
    decoder: Decoder,
    output: Vec<u8>,
    /// What follows from the last frame beside the first event.
    also: Option<Event>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Stream {
    we_ended: bool,
    they_ended: bool,
}

impl Endpoint {
    /// One with no streams.
    pub fn new(role: Role) -> Self {
        Self {
            role,
            next_id: if role == Role::Client { 1 } else { 2 },
            streams: BTreeMap::new(),
            last_taken: 0,
            away: false,
            encoder: Encoder::default(),
            decoder: Decoder::default(),
            output: Vec::new(),
            also: None,
        }
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// Where there are too many, or the peer takes no more.
    pub fn open(&mut self, headers: Headers) -> Result<u32, SpdyError> {
        if self.away || self.streams.len() >= STREAMS || self.next_id > LAST_ID {
            return Err(SpdyError::Exhausted);
        }
        let stream = self.next_id;
        self.next_id += 2;
        self.streams.insert(stream, Stream::default());
        self.put(&Frame::Open { stream, end: false, one_way: false, headers });
        Ok(stream)
    }

    /// Accepts a stream that the peer has opened.
    pub fn accept(&mut self, stream: u32) {
        if self.streams.contains_key(&stream) {
            self.put(&Frame::Reply { stream, end: false, headers: Headers::new() });
        }
    }

    /// Sends bytes; with `end`, the last ones.
    ///
    /// # Errors
    /// Where the stream is not open, or its end has been sent.
    pub fn send(&mut self, stream: u32, bytes: Bytes, end: bool) -> Result<(), SpdyError> {
        let open = self.streams.get_mut(&stream).filter(|known| !known.we_ended);
        let open = open.ok_or(SpdyError::Closed(stream))?;
        open.we_ended = end;
        if !bytes.is_empty() || end {
            self.put(&Frame::Data { stream, end, bytes });
        }
        self.forget_if_over(stream);
        Ok(())
    }

    /// Breaks a stream off.
    pub fn reset(&mut self, stream: u32) {
        if self.streams.remove(&stream).is_some() {
            self.put(&Frame::Reset { stream, status: CANCEL });
        }
    }

    /// Says that no further streams are taken.
    pub fn close(&mut self) {
        self.put(&Frame::Away { last: self.last_taken, status: 0 });
    }

    /// Whether any stream is open.
    pub fn is_idle(&self) -> bool {
        self.streams.is_empty()
    }

    /// What is to be sent; empty where nothing is.
    pub fn output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Takes what has come. Call [`Endpoint::read`] until it has nothing more, before there is more to take.
    pub fn take(&mut self, bytes: &[u8]) {
        self.decoder.take(bytes);
    }

    /// What the peer did next, as far as it is known. Pings are answered, which makes output.
    ///
    /// # Errors
    /// Where the peer does not speak SPDY/3; nothing more can be read then.
    pub fn read(&mut self) -> Result<Option<Event>, SpdyError> {
        if let Some(also) = self.also.take() {
            return Ok(Some(also));
        }
        while let Some(frame) = self.decoder.read()? {
            if let Some(event) = self.event(frame) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn event(&mut self, frame: Frame) -> Option<Event> {
        match frame {
            Frame::Open { stream, end, headers, .. } => self.opened(stream, end, headers),
            Frame::Reply { stream, end, .. } => {
                self.streams.get(&stream)?;
                self.also = if end { self.ended(stream) } else { None };
                Some(Event::Accepted(stream))
            }
            Frame::Headers { stream, end, .. } if end => self.ended(stream),
            Frame::Data { stream, end, bytes } => self.data(stream, end, bytes),
            Frame::Reset { stream, .. } => self.streams.remove(&stream).map(|_| Event::Reset(stream)),
            Frame::Ping(id) => {
                // The answer to one of ours is of no interest.
                if (id % 2 == 1) != (self.role == Role::Client) {
                    self.put(&Frame::Ping(id));
                }
                None
            }
            Frame::Away { .. } => {
                self.away = true;
                Some(Event::Away)
            }
            Frame::Headers { .. } | Frame::Window { .. } => None,
        }
    }

    fn opened(&mut self, stream: u32, end: bool, headers: Headers) -> Option<Event> {
        let theirs = (stream % 2 == 1) == (self.role == Role::Server);
        if !theirs || stream <= self.last_taken {
            self.put(&Frame::Reset { stream, status: PROTOCOL_ERROR });
            return None;
        }
        self.last_taken = stream;
        if self.streams.len() >= STREAMS {
            self.put(&Frame::Reset { stream, status: REFUSED_STREAM });
            return None;
        }
        self.streams.insert(stream, Stream::default());
        self.also = if end { self.ended(stream) } else { None };
        Some(Event::Opened { stream, headers })
    }

    fn data(&mut self, stream: u32, end: bool, bytes: Bytes) -> Option<Event> {
        match self.streams.get(&stream) {
            // What is still on its way on a stream that we broke off.
            None if stream < self.next_id || stream <= self.last_taken => return None,
            Some(known) if !known.they_ended => {}
            _ => {
                self.put(&Frame::Reset { stream, status: INVALID_STREAM });
                return None;
            }
        }
        let ended = if end { self.ended(stream) } else { None };
        if bytes.is_empty() {
            return ended;
        }
        self.also = ended;
        Some(Event::Data { stream, bytes })
    }

    fn ended(&mut self, stream: u32) -> Option<Event> {
        let known = self.streams.get_mut(&stream)?;
        known.they_ended = true;
        self.forget_if_over(stream);
        Some(Event::Ended(stream))
    }

    fn forget_if_over(&mut self, stream: u32) {
        if self.streams.get(&stream).is_some_and(|known| known.we_ended && known.they_ended) {
            self.streams.remove(&stream);
        }
    }

    fn put(&mut self, frame: &Frame) {
        self.encoder.write(frame, &mut self.output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(kind: &str) -> Headers {
        vec![("streamtype".to_owned(), kind.to_owned())]
    }

    /// Carries what one side has to say over to the other, which tells what it saw.
    fn carry(from: &mut Endpoint, to: &mut Endpoint) -> Vec<Event> {
        to.take(&from.output());
        std::iter::from_fn(|| to.read().unwrap()).collect()
    }

    #[test]
    fn a_conversation() {
        let (mut client, mut server) = (Endpoint::new(Role::Client), Endpoint::new(Role::Server));
        let [a, b] = ["stdin", "stdout"].map(|kind| client.open(headers(kind)).unwrap());
        assert_eq!((a, b), (1, 3));
        let opened = |stream, kind| Event::Opened { stream, headers: headers(kind) };
        assert_eq!(carry(&mut client, &mut server), [opened(1, "stdin"), opened(3, "stdout")]);
        server.accept(1);
        server.accept(3);
        assert_eq!(carry(&mut server, &mut client), [Event::Accepted(1), Event::Accepted(3)]);

        client.send(1, Bytes::from_static(b"in"), true).unwrap();
        let data = |stream, bytes: &'static [u8]| Event::Data { stream, bytes: Bytes::from_static(bytes) };
        assert_eq!(carry(&mut client, &mut server), [data(1, b"in"), Event::Ended(1)]);
        assert_eq!(client.send(1, Bytes::new(), false), Err(SpdyError::Closed(1)));
        server.send(3, Bytes::from_static(b"out"), false).unwrap();
        server.send(3, Bytes::new(), true).unwrap();
        server.reset(1);
        server.close();
        let seen = [data(3, b"out"), Event::Ended(3), Event::Reset(1), Event::Away];
        assert_eq!(carry(&mut server, &mut client), seen);
        assert!(!client.is_idle());
        client.send(3, Bytes::new(), true).unwrap();
        assert!(client.is_idle());
        assert_eq!(client.open(headers("late")), Err(SpdyError::Exhausted));
    }

    #[test]
    fn pings_of_the_peer_are_answered() {
        let mut server = Endpoint::new(Role::Server);
        let mut bytes = Vec::new();
        for id in [1, 2] {
            Encoder::default().write(&Frame::Ping(id), &mut bytes);
        }
        server.take(&bytes);
        assert_eq!(server.read(), Ok(None));
        assert_eq!(server.output(), bytes[..12]);
    }

    #[test]
    fn what_cannot_be_is_broken_off() {
        let check = |frames: &[Frame], status: u32| {
            let (mut server, mut bytes, mut encoder) =
                (Endpoint::new(Role::Server), Vec::new(), Encoder::default());
            for frame in frames {
                encoder.write(frame, &mut bytes);
            }
            server.take(&bytes);
            while server.read().unwrap().is_some() {}
            let mut decoder = Decoder::default();
            decoder.take(&server.output());
            let answer = decoder.read().unwrap();
            assert!(matches!(answer, Some(Frame::Reset { status: is, .. }) if is == status), "{answer:?}");
        };
        let open = |stream| Frame::Open { stream, end: false, one_way: false, headers: Headers::new() };
        let data = |stream, end| Frame::Data { stream, end, bytes: Bytes::from_static(b"x") };
        check(&[open(2)], PROTOCOL_ERROR);
        check(&[open(3), open(1)], PROTOCOL_ERROR);
        check(&[data(9, false)], INVALID_STREAM);
        check(&[open(1), data(1, true), data(1, false)], INVALID_STREAM);
        let many: Vec<Frame> = (0..=STREAMS as u32).map(|index| open(2 * index + 1)).collect();
        check(&many, REFUSED_STREAM);
    }
}
