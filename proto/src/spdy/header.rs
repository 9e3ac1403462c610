//! Header blocks: names and values, compressed with the dictionary that both sides know.

use flate2::{Decompress, FlushDecompress, Status};

use super::SpdyError;

/// Names and values; a name with several values has them with NUL between.
pub type Headers = Vec<(String, String)>;

/// The most that a block may be when decompressed: Go's own limit for the headers of a request is of this order.
pub(super) const BLOCK_BYTES: usize = 64 << 10;

/// The most that one stored block of deflate can hold.
const STORED_BYTES: usize = u16::MAX as usize;

/// How a zlib stream begins that uses the dictionary, whose checksum are the last four bytes.
const PREAMBLE: [u8; 6] = [0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2];

/// The words of the dictionary (section 2.6.10.1 of the draft), each preceded by its length.
const WORDS: &[&str] = &[
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
];

/// What follows the words in the dictionary.
const TAIL: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
    203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized\
    403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable\
    Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT\
    chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,\
    text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

fn dictionary() -> Vec<u8> {
    let mut out = Vec::with_capacity(1423);
    for word in WORDS {
        put_text(&mut out, word);
    }
    out.extend_from_slice(TAIL.as_bytes());
    out
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u32).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Writes the blocks of one direction of a connection.
///
/// They are stored and not squeezed: Kubernetes sends a few dozen bytes once a stream, which are not worth the quarter of
/// a megabyte that a compressor holds.
#[derive(Debug, Default)]
pub(super) struct Writer {
    begun: bool,
}

impl Writer {
    pub(super) fn write(&mut self, headers: &Headers, out: &mut Vec<u8>) {
        let mut block = Vec::new();
        block.extend_from_slice(&(headers.len() as u32).to_be_bytes());
        for (name, value) in headers {
            put_text(&mut block, name);
            put_text(&mut block, value);
        }
        if !self.begun {
            out.extend_from_slice(&PREAMBLE);
            self.begun = true;
        }
        // An empty block at the end makes readers give out what they hold.
        for piece in block.chunks(STORED_BYTES).chain([&[][..]]) {
            let length = piece.len() as u16;
            out.push(0);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(&(!length).to_le_bytes());
            out.extend_from_slice(piece);
        }
    }
}

/// Reads the blocks of one direction of a connection.
#[derive(Debug)]
pub(super) struct Reader {
    inflate: Decompress,
}

impl Default for Reader {
    fn default() -> Self {
        Self { inflate: Decompress::new(true) }
    }
}

impl Reader {
    pub(super) fn read(&mut self, block: &[u8]) -> Result<Headers, SpdyError> {
        parse(&self.decompress(block)?).ok_or(SpdyError::Headers("a length leads beyond the end"))
    }

    fn decompress(&mut self, mut block: &[u8]) -> Result<Vec<u8>, SpdyError> {
        const PIECE: usize = 4 << 10;
        let mut out = Vec::new();
        let mut piece = [0; PIECE];
        loop {
            let (taken, given) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(block, &mut piece, FlushDecompress::Sync);
            let taken = (self.inflate.total_in() - taken) as usize;
            let given = (self.inflate.total_out() - given) as usize;
            block = &block[taken..];
            out.extend_from_slice(&piece[..given]);
            if out.len() > BLOCK_BYTES {
                return Err(SpdyError::Headers("they are too large"));
            }
            match status {
                Err(error) if error.needs_dictionary().is_some() => {
                    let known = self.inflate.set_dictionary(&dictionary());
                    known.map_err(|_| SpdyError::Headers("they use another dictionary"))?;
                }
                Err(_) => return Err(SpdyError::Headers("they are not compressed as they should be")),
                Ok(Status::StreamEnd) => return Err(SpdyError::Headers("their compression has ended")),
                Ok(_) if block.is_empty() && given < PIECE => return Ok(out),
                Ok(_) if taken == 0 && given == 0 => {
                    return Err(SpdyError::Headers("their compression leads nowhere"));
                }
                Ok(_) => {}
            }
        }
    }
}

fn parse(mut block: &[u8]) -> Option<Headers> {
    let count = take_number(&mut block)?;
    let mut headers = Headers::new();
    for _ in 0..count {
        headers.push((take_text(&mut block)?, take_text(&mut block)?));
    }
    Some(headers)
}

fn take_number(block: &mut &[u8]) -> Option<u32> {
    let (number, rest) = block.split_first_chunk()?;
    *block = rest;
    Some(u32::from_be_bytes(*number))
}

fn take_text(block: &mut &[u8]) -> Option<String> {
    let length = take_number(block)? as usize;
    let text = block.get(..length)?;
    *block = &block[length..];
    Some(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with Python's zlib, the dictionary and synchronizing flushes.
    const BLOCKS: [&[u8]; 2] = [
        &[
            0x78, 0xf9, 0xe3, 0xc6, 0xa7, 0xc2, 0x02, 0xe5, 0x0e, 0x70, 0x3a, 0x2b, 0x29, 0x4a, 0x4d, 0xcc,
            0x85, 0x16, 0x25, 0xc0, 0x14, 0x9b, 0x92, 0x0f, 0x2e, 0x88, 0xd1, 0x0b, 0x19, 0x2e, 0x84, 0xeb,
            0x00, 0x00, 0x00, 0x00, 0xff, 0xff,
        ],
        &[
            0x22, 0xa0, 0x93, 0xb3, 0x08, 0x12, 0xe3, 0x99, 0xa0, 0x9c, 0xc0, 0x68, 0x00, 0x00, 0x00, 0x00,
            0xff, 0xff,
        ],
    ];

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let (mut writer, mut reader) = (Writer::default(), Reader::default());
        let long = "x".repeat(BLOCK_BYTES - 100);
        for pairs in [
            &[("streamtype", "stdin")][..],
            &[],
            &[("streamtype", "error"), ("port", "80")],
            &[("long", &long)],
        ] {
            let mut block = Vec::new();
            writer.write(&headers(pairs), &mut block);
            assert_eq!(reader.read(&block), Ok(headers(pairs)));
        }
    }

    /// Two blocks of one connection, squeezed with the dictionary by zlib itself.
    #[test]
    fn what_others_squeeze_is_read() {
        let mut reader = Reader::default();
        for (block, pairs) in [
            (BLOCKS[0], &[("streamtype", "stdout"), ("content-type", "text/plain")][..]),
            (BLOCKS[1], &[("streamtype", "stdout"), ("requestid", "0")]),
        ] {
            assert_eq!(reader.read(block), Ok(headers(pairs)));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for block in [&b"not zlib"[..], &[0x78, 0xbb, 1, 2, 3, 4, 0, 0, 0, 0xff, 0xff], &[]] {
            assert!(Reader::default().read(block).is_err(), "{block:?}");
        }
        let mut block = Vec::new();
        Writer::default().write(&headers(&[("long", &"x".repeat(BLOCK_BYTES))]), &mut block);
        assert_eq!(Reader::default().read(&block), Err(SpdyError::Headers("they are too large")));
    }
}
