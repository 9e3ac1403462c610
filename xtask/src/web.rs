//! One HTTP request over a fresh connection: the least that tells whether something answers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// How long a connection or an answer may take on a LAN inside one machine.
const LIMIT: Duration = Duration::from_secs(5);

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

/// Asks for a path of a host at an address.
///
/// # Errors
/// Where nobody listens, or what comes is no HTTP.
pub fn get(address: &str, host: &str, path: &str) -> Result<Answer> {
    let place: SocketAddr =
        address.parse().with_context(|| format!("{address} is no address with a port"))?;
    let stream = TcpStream::connect_timeout(&place, LIMIT)
        .with_context(|| format!("could not connect to {address}"))?;
    stream.set_read_timeout(Some(LIMIT)).context("could not limit the wait")?;
    ask(stream, host, path)
}

/// The same over a connection that is there already, TLS or not.
///
/// # Errors
/// Where the connection breaks, or what comes is no HTTP.
pub fn ask(mut stream: impl Read + Write, host: &str, path: &str) -> Result<Answer> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAccept: */*\r\n\r\n");
    stream.write_all(request.as_bytes()).context("could not send the request")?;
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        // A server may close TLS without saying goodbye; what came counts.
        if bytes.is_empty() {
            return Err(error).context("no answer came");
        }
    }
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Result<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { bail!("{text:?} is no HTTP answer") };
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.with_context(|| format!("{head:?} has no status"))?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { join_chunks(body) } else { body.to_owned() };
    Ok(Answer { status, body })
}

fn join_chunks(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16).unwrap_or(0);
        if size == 0 || after.len() < size {
            break;
        }
        body.push_str(&after[..size]);
        rest = after[size..].trim_start_matches("\r\n");
    }
    body
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn answers() {
        let cases: &[(&str, Option<(u16, &str)>)] = &[
            ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", Some((200, "hi"))),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n",
                Some((200, "hi!")),
            ),
            ("HTTP/1.1 404 Not Found\r\n\r\n", Some((404, ""))),
            ("SSH-2.0-OpenSSH", None),
        ];
        for (text, expected) in cases {
            let found = parse(text.as_bytes()).ok();
            let found = found.as_ref().map(|answer| (answer.status, answer.body.as_str()));
            assert_eq!(found, *expected, "{text:?}");
        }
    }
}
