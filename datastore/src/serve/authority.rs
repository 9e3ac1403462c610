//! Lets clients in that name an address where HTTP/2 wants an authority.
//!
//! gRPC in Go sends the address it dialled as `:authority`: `/run/datastore.sock` or `http://127.0.0.1:2379`, from
//! etcdctl 3.4 and its contemporaries. That is no authority, and our HTTP/2 library ends the request unheard. The name
//! means nothing to us, so its offending characters are replaced on the way in: each by one whose Huffman code is as
//! long, because both ends must go on agreeing about the size of what header compression remembers.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// What a client sends before its first frame, in bytes.
const PREFACE: usize = 24;

/// The bytes of a frame's head: length, type, flags, stream.
const HEAD: usize = 9;

/// The type of the frames that open a request.
const HEADERS: u8 = 1;

/// The largest such frame looked into, in bytes: what a peer may send unless told otherwise.
const LARGEST: usize = 16 * 1024;

/// Bytes read at once.
const CHUNK: usize = 16 * 1024;

/// The entry of HTTP/2's static table that is named `:authority`.
const AUTHORITY: usize = 1;

/// The characters that HTTP/2 codes in 5, 6, 7 and 8 bits, in the order of their codes, and the first code of each
/// length (RFC 7541, appendix B). Addresses have no others.
const CODES: [(u32, u32, &[u8]); 4] = [
    (5, 0, b"012aceiost"),
    (6, 20, b" %-./3456789=A_bdfghlmnpru"),
    (7, 92, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, 248, b"&*,;XZ"),
];

/// What stands for a character in an authority; as long in bytes and in bits.
fn substitute(character: u8) -> u8 {
    match character {
        b'/' | b'%' => b'-',
        b':' => b'B',
        other => other,
    }
}

/// Follows what a client sends, frame by frame.
#[derive(Debug)]
struct Mender {
    /// Bytes that pass unseen before the next frame begins.
    passing: usize,
    /// The beginning of a frame that is not complete yet.
    held: Vec<u8>,
}

impl Mender {
    fn new() -> Self {
        Self { passing: PREFACE, held: Vec::new() }
    }

    /// Takes what has come and adds to `out` what may go on.
    fn feed(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        while !input.is_empty() {
            if self.passing > 0 {
                let (now, later) = input.split_at(self.passing.min(input.len()));
                out.extend_from_slice(now);
                self.passing -= now.len();
                input = later;
                continue;
            }
            let wanted = HEAD + self.length().unwrap_or(0);
            let (now, later) = input.split_at((wanted - self.held.len()).min(input.len()));
            self.held.extend_from_slice(now);
            input = later;
            let Some(length) = self.length() else { continue };
            if self.held[3] != HEADERS || length > LARGEST {
                self.passing = length - (self.held.len() - HEAD);
            } else if self.held.len() < HEAD + length {
                continue;
            } else {
                let flags = self.held[4];
                mend(flags, &mut self.held[HEAD..]);
            }
            out.append(&mut self.held);
        }
    }

    /// The length of the frame that has begun, once its head is there.
    fn length(&self) -> Option<usize> {
        let head = self.held.get(..HEAD)?;
        Some(usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]))
    }
}

/// Replaces what is no authority in the payload of a HEADERS frame.
fn mend(flags: u8, payload: &mut [u8]) {
    const PADDED: u8 = 0x8;
    const PRIORITY: u8 = 0x20;
    let skipped = usize::from(flags & PADDED != 0) + if flags & PRIORITY != 0 { 5 } else { 0 };
    let Some(block) = payload.get_mut(skipped..) else { return };
    let Some((huffman, start, end)) = find(block) else { return };
    let Some(text) = block.get_mut(start..end) else { return };
    if huffman {
        mend_coded(text);
    } else if text.contains(&b'/') || text.contains(&b'%') {
        text.iter_mut().for_each(|character| *character = substitute(*character));
    }
}

/// Where in a block of headers the authority is spelt out: whether in Huffman code, and from where to where.
fn find(block: &[u8]) -> Option<(bool, usize, usize)> {
    let mut at = 0;
    while let Some(first) = block.get(at).copied() {
        // How many bits of the first byte begin the number, and whether a name and a value may follow.
        let (bits, literal) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => (5, false),
            _ => (4, true),
        };
        let (index, next) = number(block, at, bits)?;
        at = next;
        if !literal {
            continue;
        }
        if index == 0 {
            let (_, _, end) = string(block, at)?;
            at = end;
        }
        let value = string(block, at)?;
        if index == AUTHORITY {
            return Some(value);
        }
        at = value.2;
    }
    None
}

/// A number whose first `bits` bits end the byte at `at`, and what follows it.
fn number(block: &[u8], at: usize, bits: u32) -> Option<(usize, usize)> {
    let most = (1 << bits) - 1;
    let mut value = usize::from(*block.get(at)?) & most;
    let mut at = at + 1;
    if value < most {
        return Some((value, at));
    }
    for shift in [0, 7, 14] {
        let byte = usize::from(*block.get(at)?);
        at += 1;
        value += (byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((value, at));
        }
    }
    None
}

/// A string: whether it is in Huffman code, and from where to where.
fn string(block: &[u8], at: usize) -> Option<(bool, usize, usize)> {
    let huffman = block.get(at)? & 0x80 != 0;
    let (length, start) = number(block, at, 7)?;
    Some((huffman, start, start.checked_add(length)?))
}

/// Replaces characters of a text in Huffman code, if it is one of ours to mend and all of it can be read.
fn mend_coded(text: &mut [u8]) {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some((character, bits)) = coded(text, at) {
        found.push((at, character));
        at += bits as usize;
    }
    // What is left must be the padding: fewer than eight ones.
    let whole = text.len() * 8 - at < 8;
    if !whole || !found.iter().any(|(_, character)| matches!(character, b'/' | b'%')) {
        return;
    }
    for (at, character) in found {
        let Some((bits, code)) = code(substitute(character)) else { continue };
        for bit in 0..bits {
            let (byte, mask) = ((at + bit as usize) / 8, 0x80 >> ((at + bit as usize) % 8));
            if code >> (bits - 1 - bit) & 1 == 1 { text[byte] |= mask } else { text[byte] &= !mask }
        }
    }
}

/// The character whose code begins at a bit, and how long that is.
fn coded(text: &[u8], at: usize) -> Option<(u8, u32)> {
    CODES.iter().find_map(|(bits, first, characters)| {
        let code = (at..at + *bits as usize).try_fold(0, |code, at| {
            let byte = u32::from(*text.get(at / 8)?);
            Some(code << 1 | byte >> (7 - at % 8) & 1)
        })?;
        let character = characters.get(code.checked_sub(*first)? as usize)?;
        Some((*character, *bits))
    })
}

/// The code of a character: how many bits, and which.
fn code(character: u8) -> Option<(u32, u32)> {
    CODES.iter().find_map(|(bits, first, characters)| {
        let place = characters.iter().position(|other| *other == character)?;
        Some((*bits, first + place as u32))
    })
}

/// A connection whose requests are mended on their way in.
#[derive(Debug)]
pub(super) struct Lenient<C> {
    connection: C,
    mender: Mender,
    /// What has come in and has not been read yet.
    ready: Vec<u8>,
    read: usize,
    chunk: Box<[u8]>,
}

impl<C> Lenient<C> {
    pub(super) fn new(connection: C) -> Self {
        let chunk = vec![0; CHUNK].into();
        Self { connection, mender: Mender::new(), ready: Vec::new(), read: 0, chunk }
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Lenient<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.read == this.ready.len() {
            this.ready.clear();
            this.read = 0;
            let mut chunk = ReadBuf::new(&mut this.chunk);
            ready!(Pin::new(&mut this.connection).poll_read(cx, &mut chunk))?;
            if chunk.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.mender.feed(chunk.filled(), &mut this.ready);
        }
        let rest = &this.ready[this.read..];
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..count]);
        this.read += count;
        Poll::Ready(Ok(()))
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Lenient<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}

impl<C: Connected> Connected for Lenient<C> {
    type ConnectInfo = C::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.connection.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(text: &str) -> Vec<u8> {
        let mut bits: Vec<bool> = Vec::new();
        for character in text.bytes() {
            let (length, code) = code(character).unwrap();
            bits.extend((0..length).rev().map(|bit| code >> bit & 1 == 1));
        }
        bits.resize(bits.len().next_multiple_of(8), true);
        bits.chunks(8).map(|byte| byte.iter().fold(0, |all, bit| all << 1 | u8::from(*bit))).collect()
    }

    /// A HEADERS frame: an indexed method, the authority, and a header with a name of its own.
    fn frame(authority: &[u8], huffman: bool) -> Vec<u8> {
        let mut block = vec![0x83, 0x41, authority.len() as u8 | if huffman { 0x80 } else { 0 }];
        block.extend_from_slice(authority);
        block.extend_from_slice(b"\x40\x01a\x01/");
        let mut frame = vec![0, 0, block.len() as u8, HEADERS, 4, 0, 0, 0, 1];
        frame.extend(block);
        frame
    }

    #[test]
    fn the_code_is_that_of_the_standard() {
        // RFC 7541, C.4.1.
        let expected = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(encode("www.example.com"), expected);
    }

    #[test]
    fn authorities_are_mended_however_they_arrive() {
        let cases = [
            ("127.0.0.1:2379", "127.0.0.1:2379"),
            ("localhost", "localhost"),
            ("/run/datastore.sock", "-run-datastore.sock"),
            ("http://127.0.0.1:2379", "httpB--127.0.0.1B2379"),
            ("%2Frun%2Fx", "-2Frun-2Fx"),
        ];
        let data = [0, 0, 2, 0, 0, 0, 0, 0, 1, b'/', b'/'];
        for (sent, expected) in cases {
            for huffman in [false, true] {
                let text = |text: &str| if huffman { encode(text) } else { text.as_bytes().to_vec() };
                let whole = |authority: &str| {
                    [&[b'P'; PREFACE][..], &data, &frame(&text(authority), huffman), &data].concat()
                };
                for step in [1, 7, 1000] {
                    let (mut mender, mut out) = (Mender::new(), Vec::new());
                    whole(sent).chunks(step).for_each(|chunk| mender.feed(chunk, &mut out));
                    assert_eq!(out, whole(expected), "{sent}, Huffman: {huffman}, in steps of {step}");
                }
            }
        }
    }

    #[test]
    fn whatever_else_comes_passes_as_it_is() {
        // Truncated numbers and strings, lengths beyond the block, lone flags.
        for block in [&b"\x41"[..], b"\x41\xff\xff\xff\xff", b"\x41\x0a/x", b"\x7f\xff", b"\x00", b""] {
            let mut frame = vec![0, 0, block.len() as u8, HEADERS, 0xff, 0, 0, 0, 1];
            frame.extend_from_slice(block);
            let (mut mender, mut out) = (Mender { passing: 0, held: Vec::new() }, Vec::new());
            mender.feed(&frame, &mut out);
            assert_eq!(out, frame);
        }
    }
}
