//! Connections that the server opens itself: to kubelets, and for proxying to pods and services.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

use crate::config::Settings;

pub mod plain;
mod tls;
pub mod upgrade;

/// How long a connection may take to come about, TLS included. A node on the same LAN takes milliseconds; a dead one must
/// not hold a caller for the minutes that TCP would try.
const DIAL: Duration = Duration::from_secs(10);

/// How many upgraded streams (exec, attach, port-forward) may be open at once. Each costs two TLS connections and two
/// copying buffers, together some 100 KiB, so that they take 50 MiB at the very most.
const MOST_STREAMS: usize = 512;

/// How a connection is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Not at all.
    Plain,
    /// TLS with whoever answers.
    Unverified,
    /// TLS with a kubelet, to which we show our certificate.
    Kubelet,
    /// The same with a kubelet whose certificate is not looked at.
    KubeletUnverified,
}

/// Where something listens, and how to speak to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// How the connection is secured.
    pub security: Security,
    /// An address or a name.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Place {
    /// Host and port as URLs have them.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The whole URL of a path (query included) there.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.security == Security::Plain { "http" } else { "https" };
        format!("{scheme}://{}{path}", self.authority())
    }
}

/// Opens connections. One for the whole server.
#[derive(Debug)]
pub struct Backends {
    authority: Option<PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
    streams: Arc<Semaphore>,
}

/// Anything that bytes go through both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Why nobody could be spoken to, in the words that Go's users know.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No connection came about.
    #[error("dial tcp {to}: {why}")]
    Connect {
        /// The address.
        to: String,
        /// What the system says.
        why: String,
    },
    /// The other side's certificate is not to be trusted, or ours is not to theirs.
    #[error("tls: {0}")]
    Tls(String),
    /// The request got no answer.
    #[error("{0}")]
    Exchange(String),
}

impl Backends {
    /// Those that the flags describe. The files are read once now, to find mistakes, and again for each connection, so
    /// that a renewed certificate counts at once.
    ///
    /// # Errors
    /// Where a file cannot be used; the message names it.
    pub fn read(settings: &Settings) -> anyhow::Result<Self> {
        let identity = settings.kubelet_client_certificate.clone().zip(settings.kubelet_client_key.clone());
        let backends = Self {
            authority: settings.kubelet_certificate_authority.clone(),
            identity,
            streams: Arc::new(Semaphore::new(MOST_STREAMS)),
        };
        backends.tls(Security::Kubelet)?;
        Ok(backends)
    }

    fn tls(&self, security: Security) -> anyhow::Result<Arc<rustls::ClientConfig>> {
        let kubelet = matches!(security, Security::Kubelet | Security::KubeletUnverified);
        let identity = self.identity.as_ref().filter(|_| kubelet);
        let authority = self.authority.as_deref().filter(|_| security == Security::Kubelet);
        tls::config(authority, identity.map(|(certificate, key)| (certificate.as_path(), key.as_path())))
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// Where nobody answers in time, or not who should.
    pub async fn dial(&self, place: &Place) -> Result<Box<dyn Stream>, DialError> {
        let connect = |why: String| DialError::Connect { to: place.authority(), why };
        let dialing = async {
            let stream = TcpStream::connect((place.host.as_str(), place.port))
                .await
                .map_err(|error| connect(words(&error)))?;
            stream.set_nodelay(true).map_err(|error| connect(error.to_string()))?;
            if place.security == Security::Plain {
                return Ok(Box::new(stream) as Box<dyn Stream>);
            }
            let config = self.tls(place.security).map_err(|error| DialError::Tls(format!("{error:#}")))?;
            let name = server_name(&place.host).map_err(|error| DialError::Tls(error.to_string()))?;
            let stream = TlsConnector::from(config)
                .connect(name, stream)
                .await
                .map_err(|error| DialError::Tls(format!("{}: {error}", place.authority())))?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        };
        tokio::time::timeout(DIAL, dialing).await.map_err(|_| connect("i/o timeout".to_owned()))?
    }

    /// Sends one request over a connection of its own; gives back the head of the answer, with the body still to come.
    ///
    /// # Errors
    /// Where nobody answers, or not in HTTP/1.1.
    pub async fn send(
        &self,
        context: &daemon::Context,
        place: &Place,
        request: http::Request<Full<Bytes>>,
    ) -> Result<http::Response<Incoming>, DialError> {
        let exchange = |error: hyper::Error| DialError::Exchange(error.to_string());
        let stream = TokioIo::new(self.dial(place).await?);
        let (mut sender, connection) = http1::handshake(stream).await.map_err(exchange)?;
        context.spawn_isolated("backend", async move { Ok(connection.with_upgrades().await?) });
        sender.send_request(request).await.map_err(exchange)
    }
}

/// The name that a certificate must be for.
fn server_name(host: &str) -> Result<ServerName<'static>, rustls_pki_types::InvalidDnsNameError> {
    match host.parse::<IpAddr>() {
        Ok(address) => Ok(ServerName::IpAddress(address.into())),
        Err(_) => ServerName::try_from(host.to_owned()),
    }
}

/// Why a connection failed, as Go says it.
fn words(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_as_urls() {
        let place = |security, host: &str| Place { security, host: host.to_owned(), port: 10250 };
        assert_eq!(place(Security::Kubelet, "10.0.0.1").url("/a?b=c"), "https://10.0.0.1:10250/a?b=c");
        assert_eq!(place(Security::Plain, "fd00::1").url("/"), "http://[fd00::1]:10250/");
    }
}
