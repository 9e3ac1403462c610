//! HTTP/1.1 over TLS to the API server as the administrator: one connection, kept, for requests and for one watch.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use xtask::kubectl::Kubectl;

/// No answer for so long is none.
const LIMIT: Duration = Duration::from_secs(30);

/// Where the API server is and who is asking.
#[derive(Debug, Clone)]
pub struct Identity {
    address: SocketAddr,
    config: Arc<ClientConfig>,
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
    host: String,
}

impl Identity {
    /// Reads them out of kubectl's configuration.
    ///
    /// # Errors
    /// Where it lacks something.
    pub fn of(kubectl: &Kubectl) -> Result<Self> {
        let view = kubectl.run(&["config", "view", "--raw", "--minify", "-o", "json"])?;
        let view: Value = serde_json::from_str(&view).context("kubectl shows its configuration as JSON")?;
        let (cluster, user) = (&view["clusters"][0]["cluster"], &view["users"][0]["user"]);
        let pem = |value: &Value, key: &str| {
            let text = value[key].as_str().with_context(|| format!("the kubeconfig has no {key}"))?;
            STANDARD.decode(text).with_context(|| format!("{key} is not base64"))
        };
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(&pem(cluster, "certificate-authority-data")?) {
            roots.add(root?).context("the cluster's authority is unusable")?;
        }
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(&pem(user, "client-certificate-data")?).collect();
        let key = PrivateKeyDer::from_pem_slice(&pem(user, "client-key-data")?)?;
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain?, key)
            .context("the administrator's certificate is unusable")?;
        let server = cluster["server"].as_str().context("the kubeconfig names no server")?;
        let address = server.strip_prefix("https://").unwrap_or(server).parse();
        Ok(Self {
            address: address.with_context(|| format!("{server} has no address"))?,
            config: Arc::new(config),
        })
    }

    /// Connects.
    ///
    /// # Errors
    /// Where nobody listens.
    pub fn connect(&self) -> Result<Session> {
        let host = self.address.ip().to_string();
        let name = ServerName::try_from(host.clone()).context("an address is a name")?;
        let tls = ClientConnection::new(Arc::clone(&self.config), name).context("could not begin TLS")?;
        let stream = TcpStream::connect_timeout(&self.address, LIMIT).context("could not connect")?;
        stream.set_nodelay(true).context("could not set the connection up")?;
        stream.set_read_timeout(Some(LIMIT)).context("could not set the connection up")?;
        Ok(Session { stream: BufReader::new(StreamOwned::new(tls, stream)), host })
    }
}

impl Session {
    /// Asks and returns status and body.
    ///
    /// # Errors
    /// Where the connection breaks.
    pub fn request(&mut self, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
        self.send(method, path, body)?;
        let (status, length) = self.head()?;
        let mut bytes = Vec::new();
        match length {
            Some(length) => {
                bytes.resize(length, 0);
                self.stream.read_exact(&mut bytes).context("the answer broke off")?;
            }
            None => while self.chunk(&mut bytes)? {},
        }
        Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Watches and hands each event to a judge until that has what it wants.
    ///
    /// # Errors
    /// Where the connection breaks, or the watch ends.
    pub fn watch<T>(mut self, path: &str, mut judge: impl FnMut(&Value) -> Result<Option<T>>) -> Result<T> {
        self.send("GET", path, "")?;
        let (status, _) = self.head()?;
        ensure!(status == 200, "the watch of {path} was refused with {status}");
        let mut bytes = Vec::new();
        while self.chunk(&mut bytes)? {
            while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = bytes.drain(..=end).collect();
                if let Some(found) = judge(&serde_json::from_slice(&line).context("an event is JSON")?)? {
                    return Ok(found);
                }
            }
        }
        bail!("the watch of {path} ended")
    }

    fn send(&mut self, method: &str, path: &str, body: &str) -> Result<()> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAccept: application/json\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.host,
            body.len(),
        );
        self.stream.get_mut().write_all(request.as_bytes()).context("could not send the request")
    }

    /// The status, and the body's length where it is said.
    fn head(&mut self) -> Result<(u16, Option<usize>)> {
        let first = self.line()?;
        let status = first.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.with_context(|| format!("{first:?} is no HTTP answer"))?;
        let mut length = None;
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                return Ok((status, length));
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = Some(value.trim().parse().with_context(|| format!("{line:?} has no number"))?);
            }
        }
    }

    /// Reads one chunk more; `false` says that it was the last one.
    fn chunk(&mut self, into: &mut Vec<u8>) -> Result<bool> {
        let line = self.line()?;
        let size = usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16);
        let size = size.with_context(|| format!("{line:?} is no size of a chunk"))?;
        let from = into.len();
        into.resize(from + size, 0);
        self.stream.read_exact(&mut into[from..]).context("the answer broke off")?;
        self.line()?;
        Ok(size > 0)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(
            self.stream.read_line(&mut line).context("the answer broke off")? > 0,
            "the connection was closed"
        );
        Ok(line.trim_end().to_owned())
    }
}
