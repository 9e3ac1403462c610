//! One HTTP request, or only a connection, to a container.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use client::k8s_openapi::api::core::v1::HTTPGetAction;
use http::header::{ACCEPT, HOST, HeaderName, HeaderValue, USER_AGENT};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Connects within `timeout`.
///
/// # Errors
/// Why not.
pub async fn dial(host: &str, port: u16, timeout: Duration) -> Result<TcpStream, String> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let place = if bare.contains(':') { format!("[{bare}]:{port}") } else { format!("{bare}:{port}") };
    match tokio::time::timeout(timeout, TcpStream::connect((bare, port))).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(format!("dial tcp {place}: connect: {}", plain(&error))),
        Err(_) => Err(format!("dial tcp {place}: i/o timeout")),
    }
}

/// `Connection refused (os error 111)` as Go says it.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// Sends a GET and tells the status.
///
/// # Errors
/// Why there is none.
pub async fn get(action: &HTTPGetAction, host: &str, port: u16, timeout: Duration) -> Result<u16, String> {
    let scheme = action.scheme.as_deref().unwrap_or("HTTP").to_lowercase();
    let path = action.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let url = format!("{scheme}://{host}:{port}{path}");
    let asked = tokio::time::timeout(timeout, async {
        let stream = dial(host, port, timeout).await?;
        let request = request(action, host, port, &path)?;
        if scheme == "https" {
            let config = Arc::new(
                ClientConfig::builder()
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(Anyone))
                    .with_no_client_auth(),
            );
            let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
            let stream = tokio_rustls::TlsConnector::from(config).connect(name, stream).await;
            send(stream.map_err(|error| error.to_string())?, request).await
        } else {
            send(stream, request).await
        }
    });
    match asked.await {
        Ok(Ok(status)) => Ok(status),
        Ok(Err(error)) => Err(format!("Get \"{url}\": {error}")),
        Err(_) => Err(format!(
            "Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )),
    }
}

fn request(
    action: &HTTPGetAction,
    host: &str,
    port: u16,
    path: &str,
) -> Result<http::Request<Empty<Bytes>>, String> {
    let mut request = http::Request::get(path).body(Empty::new()).map_err(|error| error.to_string())?;
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static("kube-probe/1.36"));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers
        .insert(HOST, HeaderValue::from_str(&format!("{host}:{port}")).map_err(|error| error.to_string())?);
    for header in action.http_headers.iter().flatten() {
        let name: HeaderName =
            header.name.parse().map_err(|_| format!("invalid header {:?}", header.name))?;
        let value = HeaderValue::from_str(&header.value).map_err(|error| error.to_string())?;
        // A value replaces ours, as for Host and User-Agent; an empty one of Accept takes it away.
        headers.insert(name, value);
    }
    Ok(request)
}

async fn send<S>(stream: S, request: http::Request<Empty<Bytes>>) -> Result<u16, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let (mut answer, mut connection) = (pin!(sender.send_request(request)), pin!(connection));
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        // A server that closes after its answer: the answer is there as well.
        _ = &mut connection => answer.await,
    };
    answer.map(|answer| answer.status().as_u16()).map_err(|error| error.to_string())
}

/// Probes ask whether a server answers, not who it is: any certificate will do, as upstream has it.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Long enough for a busy machine.
    const PATIENCE: Duration = Duration::from_secs(20);

    async fn asked(reply: &'static str) -> (Result<u16, String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let action = HTTPGetAction { path: Some("ok?a=b".to_owned()), ..HTTPGetAction::default() };
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(reply.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        };
        let (answer, request) = tokio::join!(get(&action, "127.0.0.1", port, PATIENCE), serve);
        (answer.map_err(|error| error.replace(&port.to_string(), "PORT")), request)
    }

    #[tokio::test]
    async fn answers() {
        let (answer, request) =
            asked("HTTP/1.1 503 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(answer, Ok(503));
        assert!(request.starts_with("GET /ok?a=b HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("user-agent: kube-probe/1.36\r\n"), "{request}");
        assert_eq!(asked("HTTP/1.1 204 Yes\r\n\r\n").await.0, Ok(204));
        let (answer, _) = asked("").await;
        assert!(answer.unwrap_err().starts_with("Get \"http://127.0.0.1:PORT/ok?a=b\": "));
    }

    #[tokio::test]
    async fn nobody_there() {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let refused = dial("127.0.0.1", port, PATIENCE).await.unwrap_err();
        assert_eq!(refused, format!("dial tcp 127.0.0.1:{port}: connect: connection refused"));
    }
}
