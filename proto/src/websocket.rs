//! WebSocket framing (RFC 6455): bytes in, events out, and no I/O. Messages are given out piece by piece as they come,
//! so that no message is ever held whole.

use bytes::{Buf, Bytes, BytesMut};

/// What is appended to a client's key before it is hashed with SHA-1 into `Sec-WebSocket-Accept`.
pub const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The most that a control frame can hold.
const CONTROL_BYTES: usize = 125;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Everything went well.
pub const NORMAL: u16 = 1000;
/// This side could not go on.
pub const INTERNAL_ERROR: u16 = 1011;

/// What the peer did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It sent a part of a message.
    Piece {
        /// A message begins with this piece.
        first: bool,
        /// The message ends with this piece.
        last: bool,
        /// Some of its bytes; none where a message is empty or its end came late.
        bytes: Bytes,
    },
    /// It asks for a sign of life: a pong with the same bytes.
    Ping(Bytes),
    /// It gave a sign of life.
    Pong,
    /// It closes, for this reason.
    Close(u16),
}

/// What the peer did that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WebSocketError {
    /// Bits that nothing was agreed on for, or a kind of frame that there is not.
    #[error("a frame of a kind that was not agreed on")]
    Kind,
    /// Clients must mask what they send, and servers must not.
    #[error("a frame that is masked and should not be, or the reverse")]
    Mask,
    /// A control frame in parts or too large, or a message that begins within another.
    #[error("a frame that is in parts where it cannot be")]
    Parts,
}

/// Reads what a client sends (`masked`), or what a server sends.
#[derive(Debug)]
pub struct Decoder {
    masked: bool,
    input: BytesMut,
    /// The data frame whose bytes are coming.
    under_way: Option<UnderWay>,
    /// A message has begun and not ended.
    in_message: bool,
}

#[derive(Debug)]
struct UnderWay {
    first: bool,
    /// The frame is the last one of its message.
    last: bool,
    left: u64,
    mask: [u8; 4],
    /// How far into the mask the next byte is.
    turn: usize,
}

struct Head {
    flags: u8,
    length: u64,
    mask: [u8; 4],
    size: usize,
}

impl Decoder {
    /// One for the server's side reads masked frames, one for the client's side plain ones.
    pub fn new(masked: bool) -> Self {
        Self { masked, input: BytesMut::new(), under_way: None, in_message: false }
    }

    /// Takes what has come. Call [`Decoder::read`] until it has nothing more, before there is more to take.
    pub fn take(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// What the peer did next, as far as it is known.
    ///
    /// # Errors
    /// Where the peer does not keep to the protocol; nothing more can be read then.
    pub fn read(&mut self) -> Result<Option<Event>, WebSocketError> {
        if self.under_way.is_some() {
            return Ok(self.piece());
        }
        let Some(head) = self.head()? else { return Ok(None) };
        let kind = head.flags & 0x0f;
        let last = head.flags & FIN != 0;
        match kind {
            CONTINUATION | TEXT | BINARY => {
                let first = kind != CONTINUATION;
                if first == self.in_message {
                    return Err(WebSocketError::Parts);
                }
                self.input.advance(head.size);
                self.in_message = !last;
                self.under_way = Some(UnderWay { first, last, left: head.length, mask: head.mask, turn: 0 });
                Ok(self.piece())
            }
            CLOSE | PING | PONG => self.control(kind, &head),
            _ => Err(WebSocketError::Kind),
        }
    }

    fn head(&self) -> Result<Option<Head>, WebSocketError> {
        let [flags, short, ..] = self.input[..] else { return Ok(None) };
        if flags & RESERVED != 0 {
            return Err(WebSocketError::Kind);
        }
        if (short & MASKED != 0) != self.masked {
            return Err(WebSocketError::Mask);
        }
        let rest = &self.input[2..];
        let length = match short & !MASKED {
            126 => rest.first_chunk().map(|bytes| (u64::from(u16::from_be_bytes(*bytes)), 2)),
            127 => rest.first_chunk().map(|bytes| (u64::from_be_bytes(*bytes), 8)),
            short => Some((u64::from(short), 0)),
        };
        let Some((length, used)) = length else { return Ok(None) };
        if !self.masked {
            return Ok(Some(Head { flags, length, mask: [0; 4], size: 2 + used }));
        }
        let mask = rest[used..].first_chunk();
        Ok(mask.map(|mask| Head { flags, length, mask: *mask, size: 2 + used + 4 }))
    }

    fn piece(&mut self) -> Option<Event> {
        let under_way = self.under_way.as_mut()?;
        let here = usize::try_from(under_way.left).unwrap_or(usize::MAX).min(self.input.len());
        if here == 0 && under_way.left > 0 {
            return None;
        }
        let mut bytes = self.input.split_to(here);
        unmask(&mut bytes, under_way.mask, under_way.turn);
        under_way.turn = (under_way.turn + here) % 4;
        under_way.left -= here as u64;
        let first = std::mem::take(&mut under_way.first);
        let over = under_way.left == 0;
        let last = under_way.last && over;
        if over {
            self.under_way = None;
        }
        Some(Event::Piece { first, last, bytes: bytes.freeze() })
    }

    fn control(&mut self, kind: u8, head: &Head) -> Result<Option<Event>, WebSocketError> {
        let length = usize::try_from(head.length).unwrap_or(usize::MAX);
        if length > CONTROL_BYTES || head.flags & FIN == 0 {
            return Err(WebSocketError::Parts);
        }
        if self.input.len() < head.size + length {
            return Ok(None);
        }
        self.input.advance(head.size);
        let mut bytes = self.input.split_to(length);
        unmask(&mut bytes, head.mask, 0);
        Ok(Some(match kind {
            PING => Event::Ping(bytes.freeze()),
            PONG => Event::Pong,
            _ => Event::Close(bytes.first_chunk().map_or(NORMAL, |code| u16::from_be_bytes(*code))),
        }))
    }
}

fn unmask(bytes: &mut [u8], mask: [u8; 4], turn: usize) {
    for (byte, mask) in bytes.iter_mut().zip(mask.iter().cycle().skip(turn)) {
        *byte ^= mask;
    }
}

/// Writes frames; a client gives a mask for each, a server none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A whole text message, in parts that are joined.
    Text(&'a [&'a [u8]]),
    /// A whole binary message, in parts that are joined.
    Binary(&'a [&'a [u8]]),
    /// Asks for a sign of life; at most 125 bytes.
    Ping(&'a [u8]),
    /// Gives a sign of life; at most 125 bytes.
    Pong(&'a [u8]),
    /// Closes, for this reason; the words may have 123 bytes.
    Close(u16, &'a str),
}

impl Frame<'_> {
    /// Appends the frame.
    pub fn write(self, mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
        match self {
            Self::Text(parts) => frame(TEXT, parts, mask, out),
            Self::Binary(parts) => frame(BINARY, parts, mask, out),
            Self::Ping(bytes) => frame(PING, &[bytes], mask, out),
            Self::Pong(bytes) => frame(PONG, &[bytes], mask, out),
            Self::Close(code, words) => frame(CLOSE, &[&code.to_be_bytes(), words.as_bytes()], mask, out),
        }
    }
}

fn frame(kind: u8, parts: &[&[u8]], mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let masked = if mask.is_some() { MASKED } else { 0 };
    out.push(FIN | kind);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => out.push(masked | short),
        (_, Ok(length)) => {
            out.push(masked | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(mask.as_ref().map_or(&[], |mask| mask));
    let begin = out.len();
    for part in parts {
        out.extend_from_slice(part);
    }
    if let Some(mask) = mask {
        unmask(&mut out[begin..], mask, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(first: bool, last: bool, bytes: &'static [u8]) -> Event {
        Event::Piece { first, last, bytes: Bytes::from_static(bytes) }
    }

    /// The examples of section 5.7.
    #[test]
    fn exactly_as_the_rfc_has_them() {
        let hello = [0x81, 5, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
        let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let mut out = Vec::new();
        Frame::Text(&[b"Hel", b"lo"]).write(None, &mut out);
        assert_eq!(out, hello);
        out.clear();
        Frame::Text(&[b"Hello"]).write(Some([0x37, 0xfa, 0x21, 0x3d]), &mut out);
        assert_eq!(out, masked);
        let check = |of_client: bool, bytes: &[u8], expected: &[Event]| {
            let mut decoder = Decoder::new(of_client);
            decoder.take(bytes);
            let seen: Vec<Event> = std::iter::from_fn(|| decoder.read().unwrap()).collect();
            assert_eq!(seen, expected);
        };
        check(false, &hello, &[piece(true, true, b"Hello")]);
        check(true, &masked, &[piece(true, true, b"Hello")]);
        let parts = [0x01, 3, 0x48, 0x65, 0x6c, 0x80, 2, 0x6c, 0x6f];
        check(false, &parts, &[piece(true, false, b"Hel"), piece(false, true, b"lo")]);
        check(false, &[0x89, 5, 0x48, 0x65, 0x6c, 0x6c, 0x6f], &[Event::Ping(Bytes::from_static(b"Hello"))]);
        check(true, &[0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58], &[Event::Pong]);
    }

    #[test]
    fn any_length_and_any_pace() {
        for length in [0, 1, 125, 126, 65_535, 65_536, 100_000] {
            let bytes: Vec<u8> = (0..length).map(|index| index as u8).collect();
            for mask in [None, Some([1, 2, 3, 4])] {
                let mut wire = Vec::new();
                Frame::Binary(&[&bytes]).write(mask, &mut wire);
                Frame::Close(NORMAL, "done").write(mask, &mut wire);
                let mut decoder = Decoder::new(mask.is_some());
                let (mut read, mut closed) = (Vec::new(), false);
                for some in wire.chunks(4099) {
                    decoder.take(some);
                    while let Some(event) = decoder.read().unwrap() {
                        match event {
                            Event::Piece { bytes, .. } => read.extend_from_slice(&bytes),
                            event => closed = event == Event::Close(NORMAL),
                        }
                    }
                }
                assert!(read == bytes && closed, "{length} {mask:?}");
            }
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (bytes, expected) in [
            (&[0x81, 0x05][..], WebSocketError::Mask),
            (&[0xc1, 0x80, 0, 0, 0, 0], WebSocketError::Kind),
            (&[0x83, 0x80, 0, 0, 0, 0], WebSocketError::Kind),
            (&[0x80, 0x80, 0, 0, 0, 0], WebSocketError::Parts),
            (&[0x09, 0x80, 0, 0, 0, 0], WebSocketError::Parts),
            (&[0x89, 0xfe, 1, 0, 0, 0, 0, 0], WebSocketError::Parts),
        ] {
            let mut decoder = Decoder::new(true);
            decoder.take(bytes);
            assert_eq!(decoder.read(), Err(expected), "{bytes:?}");
        }
        let mut decoder = Decoder::new(false);
        decoder.take(&[0x01, 0, 0x01, 0]);
        assert_eq!(decoder.read(), Ok(Some(piece(true, false, b""))));
        assert_eq!(decoder.read(), Err(WebSocketError::Parts));
    }

    /// Whatever comes, it is read or refused, and no more is given out than came.
    #[test]
    fn anything_may_come() {
        let mut random = 1u64;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..64)
                .map(|index| {
                    // The constants are Knuth's.
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    // A frame of a kind that there is, so that not all end at the first byte.
                    if index % 16 == 0 { 0x80 | (random >> 60) as u8 } else { (random >> 33) as u8 }
                })
                .collect();
            let mut decoder = Decoder::new(random & 1 << 40 == 0);
            decoder.take(&bytes);
            let mut given = 0;
            while let Ok(Some(event)) = decoder.read() {
                if let Event::Piece { bytes, .. } = event {
                    given += bytes.len();
                }
            }
            assert!(given <= bytes.len());
        }
    }
}
