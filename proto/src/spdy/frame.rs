//! Frames to bytes and back. Data is given out as it comes, so that no frame is ever held whole.

use bytes::{Buf, Bytes, BytesMut};

use super::SpdyError;
use super::header::{self, Headers};

/// The most that a control frame may have: compressed headers of the size that Go takes fit.
pub(super) const CONTROL_BYTES: usize = 64 << 10;

/// The most that goes into one data frame: what Kubernetes' clients write at once.
const DATA_BYTES: usize = 32 << 10;

const VERSION: u16 = 3;
const HEAD: usize = 8;
const CONTROL: u16 = 0x8000;
const STREAM_BITS: u32 = 0x7fff_ffff;
const FIN: u8 = 1;
const UNIDIRECTIONAL: u8 = 2;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

/// What goes over a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Opens a stream.
    Open {
        /// The new stream.
        stream: u32,
        /// The sender will send nothing more.
        end: bool,
        /// The receiver may send nothing.
        one_way: bool,
        /// What it is for.
        headers: Headers,
    },
    /// Accepts a stream.
    Reply {
        /// The stream.
        stream: u32,
        /// The sender will send nothing more.
        end: bool,
        /// What there is to say.
        headers: Headers,
    },
    /// Breaks a stream off.
    Reset {
        /// The stream.
        stream: u32,
        /// Why.
        status: u32,
    },
    /// Asks for a sign of life, or gives it.
    Ping(u32),
    /// No further streams are taken.
    Away {
        /// The last stream that was.
        last: u32,
        /// Why.
        status: u32,
    },
    /// More headers of a stream.
    Headers {
        /// The stream.
        stream: u32,
        /// The sender will send nothing more.
        end: bool,
        /// What there is to say.
        headers: Headers,
    },
    /// The receiver may be sent more.
    Window {
        /// The stream, or 0 for all together.
        stream: u32,
        /// How much more.
        more: u32,
    },
    /// Bytes of a stream.
    Data {
        /// The stream.
        stream: u32,
        /// The sender will send nothing more.
        end: bool,
        /// The bytes; of a frame read, as many as have come.
        bytes: Bytes,
    },
}

/// Writes the frames of one direction.
#[derive(Debug, Default)]
pub struct Encoder {
    headers: header::Writer,
}

impl Encoder {
    /// Appends a frame; data that is too much for one goes into several.
    pub fn write(&mut self, frame: &Frame, out: &mut Vec<u8>) {
        match frame {
            Frame::Open { stream, end, one_way, headers } => {
                let flags = if *end { FIN } else { 0 } | if *one_way { UNIDIRECTIONAL } else { 0 };
                let begin = begin(SYN_STREAM, flags, &[*stream, 0], out);
                // Priority and slot.
                out.extend_from_slice(&[0, 0]);
                self.headers.write(headers, out);
                finish(begin, out);
            }
            Frame::Reply { stream, end, headers } => {
                self.with_headers(SYN_REPLY, *stream, *end, headers, out)
            }
            Frame::Headers { stream, end, headers } => {
                self.with_headers(HEADERS, *stream, *end, headers, out)
            }
            Frame::Reset { stream, status } => finish(begin(RST_STREAM, 0, &[*stream, *status], out), out),
            Frame::Ping(id) => finish(begin(PING, 0, &[*id], out), out),
            Frame::Away { last, status } => finish(begin(GOAWAY, 0, &[*last, *status], out), out),
            Frame::Window { stream, more } => finish(begin(WINDOW_UPDATE, 0, &[*stream, *more], out), out),
            Frame::Data { stream, end, bytes } => data(*stream, *end, bytes, out),
        }
    }

    fn with_headers(&mut self, kind: u16, stream: u32, end: bool, headers: &Headers, out: &mut Vec<u8>) {
        let begin = begin(kind, u8::from(end), &[stream], out);
        self.headers.write(headers, out);
        finish(begin, out);
    }
}

/// Begins a control frame whose length is not known yet.
fn begin(kind: u16, flags: u8, numbers: &[u32], out: &mut Vec<u8>) -> usize {
    let begin = out.len();
    out.extend_from_slice(&(CONTROL | VERSION).to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&[flags, 0, 0, 0]);
    for number in numbers {
        out.extend_from_slice(&number.to_be_bytes());
    }
    begin
}

fn finish(begin: usize, out: &mut [u8]) {
    let length = (out.len() - begin - HEAD) as u32;
    out[begin + 5..begin + HEAD].copy_from_slice(&length.to_be_bytes()[1..]);
}

fn data(stream: u32, end: bool, bytes: &[u8], out: &mut Vec<u8>) {
    let mut pieces = bytes.chunks(DATA_BYTES).peekable();
    loop {
        let piece = pieces.next().unwrap_or_default();
        let last = pieces.peek().is_none();
        out.extend_from_slice(&stream.to_be_bytes());
        out.push(u8::from(end && last));
        out.extend_from_slice(&(piece.len() as u32).to_be_bytes()[1..]);
        out.extend_from_slice(piece);
        if last {
            return;
        }
    }
}

/// Reads the frames of one direction.
#[derive(Debug, Default)]
pub struct Decoder {
    input: BytesMut,
    headers: header::Reader,
    /// The data frame whose bytes are coming.
    under_way: Option<UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    stream: u32,
    end: bool,
    left: usize,
}

impl Decoder {
    /// Takes what has come. Call [`Decoder::read`] until it has nothing more, before there is more to take.
    pub fn take(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// The next frame, if it is there.
    ///
    /// # Errors
    /// Where the peer does not speak SPDY/3; nothing more can be read then.
    pub fn read(&mut self) -> Result<Option<Frame>, SpdyError> {
        loop {
            if self.under_way.is_some() {
                return Ok(self.data());
            }
            let Some(head) = self.input.first_chunk::<HEAD>().copied() else { return Ok(None) };
            let [a, b, c, d, flags, length @ ..] = head;
            let length = u32::from_be_bytes([0, length[0], length[1], length[2]]) as usize;
            let first = u16::from_be_bytes([a, b]);
            if first & CONTROL == 0 {
                let stream = u32::from_be_bytes([a, b, c, d]);
                self.input.advance(HEAD);
                self.under_way = Some(UnderWay { stream, end: flags & FIN != 0, left: length });
                continue;
            }
            if first != CONTROL | VERSION {
                return Err(SpdyError::Version(first & !CONTROL));
            }
            if length > CONTROL_BYTES {
                return Err(SpdyError::Length(length));
            }
            if self.input.len() < HEAD + length {
                return Ok(None);
            }
            self.input.advance(HEAD);
            let body = self.input.split_to(length);
            if let Some(frame) = self.control(u16::from_be_bytes([c, d]), flags, &body)? {
                return Ok(Some(frame));
            }
        }
    }

    fn data(&mut self) -> Option<Frame> {
        let under_way = self.under_way.as_mut()?;
        let here = under_way.left.min(self.input.len());
        if here == 0 && under_way.left > 0 {
            return None;
        }
        let bytes = self.input.split_to(here).freeze();
        under_way.left -= here;
        let over = under_way.left == 0;
        let frame = Frame::Data { stream: under_way.stream, end: under_way.end && over, bytes };
        if over {
            self.under_way = None;
        }
        Some(frame)
    }

    /// A control frame; none where its kind is of no concern here, which the protocol says to pass over.
    fn control(&mut self, kind: u16, flags: u8, body: &[u8]) -> Result<Option<Frame>, SpdyError> {
        let end = flags & FIN != 0;
        let number = |at: usize| {
            let bytes = body.get(at..).and_then(<[u8]>::first_chunk);
            bytes.map(|bytes| u32::from_be_bytes(*bytes)).ok_or(SpdyError::Length(body.len()))
        };
        let stream = |at: usize| Ok::<_, SpdyError>(number(at)? & STREAM_BITS);
        let rest = |at: usize| body.get(at..).ok_or(SpdyError::Length(body.len()));
        Ok(Some(match kind {
            SYN_STREAM => Frame::Open {
                stream: stream(0)?,
                end,
                one_way: flags & UNIDIRECTIONAL != 0,
                headers: self.headers.read(rest(10)?)?,
            },
            SYN_REPLY => Frame::Reply { stream: stream(0)?, end, headers: self.headers.read(rest(4)?)? },
            HEADERS => Frame::Headers { stream: stream(0)?, end, headers: self.headers.read(rest(4)?)? },
            RST_STREAM => Frame::Reset { stream: stream(0)?, status: number(4)? },
            PING => Frame::Ping(number(0)?),
            GOAWAY => Frame::Away { last: stream(0)?, status: number(4)? },
            WINDOW_UPDATE => Frame::Window { stream: stream(0)?, more: stream(4)? },
            _ => return Ok(None),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames() -> Vec<Frame> {
        let headers = || vec![("streamtype".to_owned(), "error".to_owned())];
        vec![
            Frame::Open { stream: 1, end: false, one_way: true, headers: headers() },
            Frame::Reply { stream: 1, end: true, headers: Vec::new() },
            Frame::Data { stream: 1, end: false, bytes: Bytes::from_static(b"abc") },
            Frame::Data { stream: 1, end: true, bytes: Bytes::new() },
            Frame::Headers { stream: 3, end: false, headers: headers() },
            Frame::Window { stream: 3, more: 9 },
            Frame::Ping(7),
            Frame::Reset { stream: 3, status: 5 },
            Frame::Away { last: 1, status: 0 },
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for frame in frames() {
            let mut bytes = Vec::new();
            encoder.write(&frame, &mut bytes);
            decoder.take(&bytes);
            assert_eq!(decoder.read(), Ok(Some(frame)));
            assert_eq!(decoder.read(), Ok(None));
        }
    }

    #[test]
    fn bytes_come_as_they_like() {
        let (mut encoder, mut bytes) = (Encoder::default(), Vec::new());
        for frame in frames() {
            encoder.write(&frame, &mut bytes);
        }
        let mut decoder = Decoder::default();
        let mut read = Vec::new();
        for byte in bytes {
            decoder.take(&[byte]);
            while let Some(frame) = decoder.read().unwrap() {
                read.push(frame);
            }
        }
        // Three bytes of data came one at a time.
        let data = |frame: &Frame| matches!(frame, Frame::Data { bytes, .. } if bytes.len() == 1);
        assert_eq!(read.iter().filter(|frame| data(frame)).count(), 3);
        assert_eq!(read.len(), frames().len() + 2);
    }

    #[test]
    fn much_data_goes_into_several_frames() {
        let mut bytes = Vec::new();
        let much = Bytes::from(vec![1; DATA_BYTES + 1]);
        Encoder::default().write(&Frame::Data { stream: 1, end: true, bytes: much }, &mut bytes);
        let mut decoder = Decoder::default();
        decoder.take(&bytes);
        let mut seen = Vec::new();
        while let Some(Frame::Data { end, bytes, .. }) = decoder.read().unwrap() {
            seen.push((end, bytes.len()));
        }
        assert_eq!(seen, [(false, DATA_BYTES), (true, 1)]);
    }

    #[test]
    fn exactly_as_the_draft_draws_them() {
        let check = |frame: Frame, expected: &[u8]| {
            let mut bytes = Vec::new();
            Encoder::default().write(&frame, &mut bytes);
            assert_eq!(bytes, expected, "{frame:?}");
        };
        check(Frame::Ping(1), &[0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1]);
        check(Frame::Reset { stream: 2, status: 5 }, &[0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, 2, 0, 0, 0, 5]);
        let data = Frame::Data { stream: 0x0102_0304, end: true, bytes: Bytes::from_static(b"hi") };
        check(data, &[1, 2, 3, 4, 1, 0, 0, 2, b'h', b'i']);
    }

    #[test]
    fn nonsense_is_refused() {
        let check = |bytes: &[u8], expected| {
            let mut decoder = Decoder::default();
            decoder.take(bytes);
            assert_eq!(decoder.read(), expected, "{bytes:?}");
        };
        check(&[0x80, 2, 0, 6, 0, 0, 0, 4], Err(SpdyError::Version(2)));
        check(&[0x80, 3, 0, 1, 0, 1, 0, 1], Err(SpdyError::Length(CONTROL_BYTES + 1)));
        check(&[0x80, 3, 0, 6, 0, 0, 0, 2, 0, 0], Err(SpdyError::Length(2)));
        check(&[0x80, 3, 0, 1, 0, 0, 0, 4, 0, 0, 0, 1], Err(SpdyError::Length(4)));
        // Settings, and what nobody knows, are passed over.
        check(&[0x80, 3, 0, 4, 0, 0, 0, 4, 0, 0, 0, 0, 0x80, 3, 9, 9, 0, 0, 0, 0], Ok(None));
    }

    /// Whatever comes, it is read or refused, and no more is given out than came.
    #[test]
    fn anything_may_come() {
        let (mut encoder, mut good) = (Encoder::default(), Vec::new());
        for frame in frames() {
            encoder.write(&frame, &mut good);
        }
        let mut random = 1u64;
        for _ in 0..20_000 {
            let mut bytes = good.clone();
            for _ in 0..3 {
                // The constants are Knuth's.
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (random >> 33) as usize % bytes.len();
                bytes[at] = (random >> 24) as u8;
            }
            let mut decoder = Decoder::default();
            decoder.take(&bytes);
            let mut given = 0;
            while let Ok(Some(frame)) = decoder.read() {
                if let Frame::Data { bytes, .. } = frame {
                    given += bytes.len();
                }
            }
            assert!(given <= bytes.len());
        }
    }
}
