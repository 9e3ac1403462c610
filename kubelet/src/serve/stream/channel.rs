//! The streams of a process as numbered channels of a WebSocket: values in, values out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use proto::websocket::Frame;
use serde_json::Value;

pub(super) const STDIN: u8 = 0;
pub(super) const STDOUT: u8 = 1;
pub(super) const STDERR: u8 = 2;
/// How it ended.
pub(super) const ERROR: u8 = 3;
/// The size of the terminal.
pub(super) const RESIZE: u8 = 4;
/// Where a client says, in one byte, which channel it closes.
const CLOSE: u8 = 255;

/// One way to speak of channels.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Protocol {
    pub name: &'static str,
    /// Text messages, whose channel is a digit and whose bytes are in base64.
    base64: bool,
    /// How the process ended is told by a `Status` in JSON; otherwise in plain words, and only where it failed.
    pub tells_status: bool,
    /// The client may close its input and go on listening.
    half_closes: bool,
}

/// What is spoken; the first one also by clients that name none.
static PROTOCOLS: [Protocol; 6] = [
    Protocol { name: "", base64: false, tells_status: false, half_closes: false },
    Protocol { name: "channel.k8s.io", base64: false, tells_status: false, half_closes: false },
    Protocol { name: "base64.channel.k8s.io", base64: true, tells_status: false, half_closes: false },
    Protocol { name: "v4.channel.k8s.io", base64: false, tells_status: true, half_closes: false },
    Protocol { name: "v4.base64.channel.k8s.io", base64: true, tells_status: true, half_closes: false },
    Protocol { name: "v5.channel.k8s.io", base64: false, tells_status: true, half_closes: true },
];

impl Protocol {
    /// The first of those that the client offers.
    pub(super) fn choose(offered: &[&str]) -> Option<&'static Self> {
        let known = |name: &&str| PROTOCOLS.iter().find(|protocol| protocol.name == *name);
        if offered.is_empty() { PROTOCOLS.first() } else { offered.iter().find_map(known) }
    }

    /// Appends the message that brings a channel's bytes to the client.
    pub(super) fn message(&self, channel: u8, bytes: &[u8], out: &mut Vec<u8>) {
        if self.base64 {
            Frame::Text(&[&[b'0' + channel], STANDARD.encode(bytes).as_bytes()]).write(None, out);
        } else {
            Frame::Binary(&[&[channel], bytes]).write(None, out);
        }
    }
}

/// What a client's message means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Word {
    Bytes(u8, Bytes),
    /// Nothing more comes on this channel.
    End(u8),
}

/// Makes words of the pieces of a client's messages.
#[derive(Debug)]
pub(super) struct Listener {
    protocol: &'static Protocol,
    /// That of the message under way, once its first byte is there.
    channel: Option<u8>,
    /// Up to three characters of base64 that wait for their fourth.
    waiting: BytesMut,
}

impl Listener {
    pub(super) fn new(protocol: &'static Protocol) -> Self {
        Self { protocol, channel: None, waiting: BytesMut::new() }
    }

    /// What a piece of a message means, if it means something.
    ///
    /// # Errors
    /// Where it is not in base64 and should be.
    pub(super) fn hear(
        &mut self,
        first: bool,
        mut bytes: Bytes,
    ) -> Result<Option<Word>, base64::DecodeError> {
        if first {
            self.channel = None;
            self.waiting.clear();
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        let channel = match self.channel {
            Some(channel) => channel,
            None => {
                let named = bytes.split_to(1)[0];
                let channel = if self.protocol.base64 { named.wrapping_sub(b'0') } else { named };
                self.channel = Some(channel);
                channel
            }
        };
        if self.protocol.base64 {
            self.waiting.extend_from_slice(&bytes);
            let whole = self.waiting.len() / 4 * 4;
            bytes = STANDARD.decode(self.waiting.split_to(whole))?.into();
        }
        Ok(match bytes.first() {
            Some(closed) if self.protocol.half_closes && channel == CLOSE => Some(Word::End(*closed)),
            Some(_) => Some(Word::Bytes(channel, bytes)),
            None => None,
        })
    }
}

/// A `Status` in plain words: none for a success.
pub(super) fn in_words(status: &[u8]) -> Option<String> {
    let Ok(status) = serde_json::from_slice::<Value>(status) else {
        return Some(String::from_utf8_lossy(status).into_owned());
    };
    let failed = status["status"] != "Success";
    failed.then(|| status["message"].as_str().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protocol(name: &str) -> &'static Protocol {
        Protocol::choose(&[name]).unwrap()
    }

    #[test]
    fn the_clients_choice() {
        let check = |offered: &[&str], expected: Option<&str>| {
            assert_eq!(Protocol::choose(offered).map(|protocol| protocol.name), expected, "{offered:?}");
        };
        check(&[], Some(""));
        check(&["v5.channel.k8s.io", "v4.channel.k8s.io"], Some("v5.channel.k8s.io"));
        check(&["v9.channel.k8s.io", "base64.channel.k8s.io"], Some("base64.channel.k8s.io"));
        check(&["chat"], None);
    }

    #[test]
    fn what_is_heard() {
        let bytes = |channel, bytes: &'static [u8]| Some(Word::Bytes(channel, Bytes::from_static(bytes)));
        let check = |name: &str, pieces: &[(bool, &'static [u8])], expected: &[Option<Word>]| {
            let mut listener = Listener::new(protocol(name));
            for ((first, piece), expected) in pieces.iter().zip(expected) {
                let heard = listener.hear(*first, Bytes::from_static(piece)).unwrap();
                assert_eq!(heard, *expected, "{name} {piece:?}");
            }
        };
        check("v4.channel.k8s.io", &[(true, b"\0ab"), (false, b"c")], &[bytes(0, b"ab"), bytes(0, b"c")]);
        check(
            "v4.channel.k8s.io",
            &[(true, b""), (false, b"\x04"), (false, b"{")],
            &[None, None, bytes(4, b"{")],
        );
        check("v4.channel.k8s.io", &[(true, b"\xff\0")], &[bytes(255, b"\0")]);
        check(
            "v5.channel.k8s.io",
            &[(true, b"\xff\0"), (true, b"\0x")],
            &[Some(Word::End(0)), bytes(0, b"x")],
        );
        check(
            "base64.channel.k8s.io",
            &[(true, b"0aGVs"), (false, b"b"), (false, b"G8="), (true, b"4"), (false, b"eA==")],
            &[bytes(0, b"hel"), None, bytes(0, b"lo"), None, bytes(4, b"x")],
        );
        assert!(
            Listener::new(protocol("base64.channel.k8s.io"))
                .hear(true, Bytes::from_static(b"0...."))
                .is_err()
        );
    }

    #[test]
    fn what_is_said() {
        let check = |name: &str, expected: &[u8]| {
            let mut out = Vec::new();
            protocol(name).message(STDOUT, b"hi", &mut out);
            assert_eq!(out, expected, "{name}");
        };
        check("v5.channel.k8s.io", &[0x82, 3, 1, b'h', b'i']);
        check("v4.base64.channel.k8s.io", &[0x81, 5, b'1', b'a', b'G', b'k', b'=']);
    }

    #[test]
    fn verdicts_in_words() {
        let check = |status: &str, expected: Option<&str>| {
            assert_eq!(in_words(status.as_bytes()).as_deref(), expected);
        };
        check(r#"{"metadata":{},"status":"Success"}"#, None);
        check(r#"{"status":"Failure","message":"no","reason":"NonZeroExitCode"}"#, Some("no"));
        check("plain", Some("plain"));
    }
}
