//! A client of the kubelet's streams that speaks WebSocket channels by hand, where `kubectl` cannot be made to.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use proto::websocket::{Decoder, Event, Frame};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use testkit::Authority;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Any mask is as good as another.
const MASK: [u8; 4] = [1, 2, 3, 4];

pub(crate) struct Socket {
    io: TokioIo<Upgraded>,
    decoder: Decoder,
    /// The message under way.
    message: Vec<u8>,
}

/// What was heard.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Message(Vec<u8>),
    Pong,
    Close(u16),
}

impl Socket {
    /// Asks the kubelet at this port; the status and words of its refusal where it does not agree.
    pub(crate) async fn open(
        kubelets: &Authority,
        port: u16,
        path: &str,
        protocols: &str,
    ) -> Result<Self, (StatusCode, String)> {
        let mut roots = RootCertStore::empty();
        roots.add(kubelets.certificate()).unwrap();
        let own = kubelets.client("kube-apiserver", &[]);
        let config = ClientConfig::builder().with_root_certificates(roots);
        let config = config.with_client_auth_cert(vec![own.certificate], own.key).unwrap();
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let request = Request::get(path)
            .header("host", "kubelet")
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-protocol", protocols)
            .body(Empty::<Bytes>::new())
            .unwrap();
        let asking = async move {
            let mut answer = sender.send_request(request).await.unwrap();
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(hyper::upgrade::on(&mut answer).await.unwrap());
            }
            let status = answer.status();
            let words = answer.into_body().collect().await.unwrap().to_bytes();
            Err((status, String::from_utf8_lossy(&words).into_owned()))
        };
        // The connection ends with the refusal, or with the change of protocol.
        let (asked, _) = tokio::join!(asking, connection.with_upgrades());
        Ok(Self { io: TokioIo::new(asked?), decoder: Decoder::new(false), message: Vec::new() })
    }

    pub(crate) async fn send(&mut self, frame: Frame<'_>) {
        let mut out = Vec::new();
        frame.write(Some(MASK), &mut out);
        self.io.write_all(&out).await.unwrap();
        self.io.flush().await.unwrap();
    }

    /// The next thing that is said; none once the connection is closed.
    pub(crate) async fn hear(&mut self) -> Option<Heard> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match self.decoder.read().unwrap() {
                Some(Event::Piece { last, bytes, .. }) => {
                    self.message.extend_from_slice(&bytes);
                    if last {
                        return Some(Heard::Message(std::mem::take(&mut self.message)));
                    }
                }
                Some(Event::Pong) => return Some(Heard::Pong),
                Some(Event::Close(code)) => return Some(Heard::Close(code)),
                Some(Event::Ping(_)) => {}
                None => match self.io.read(&mut buffer).await {
                    Ok(0) | Err(_) => return None,
                    Ok(length) => self.decoder.take(&buffer[..length]),
                },
            }
        }
    }

    /// All that is said up to the end: the bytes of each channel, joined, and the code of the goodbye.
    pub(crate) async fn hear_all(&mut self, base64: bool) -> ([Vec<u8>; 4], u16) {
        let mut channels: [Vec<u8>; 4] = Default::default();
        while let Some(heard) = self.hear().await {
            match heard {
                Heard::Message(message) => {
                    let (channel, bytes) = message.split_first().unwrap();
                    let (channel, bytes) = if base64 {
                        (channel - b'0', STANDARD.decode(bytes).unwrap())
                    } else {
                        (*channel, bytes.to_vec())
                    };
                    channels[usize::from(channel)].extend_from_slice(&bytes);
                }
                Heard::Pong => {}
                Heard::Close(code) => return (channels, code),
            }
        }
        panic!("no goodbye: {channels:?}");
    }
}
