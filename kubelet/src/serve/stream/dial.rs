//! A connection to the address that the runtime has named for a stream.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Until the runtime, which is on this very machine, has answered.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks the runtime to change over to what the headers name.
///
/// # Errors
/// Where nobody answers there.
pub(super) async fn dial(
    context: &daemon::Context,
    url: &str,
    method: Method,
    headers: HeaderMap,
) -> anyhow::Result<Response<Incoming>> {
    let asked = tokio::time::timeout(PATIENCE, ask(context, url, method, headers)).await;
    asked.context("timed out").flatten().context("could not reach the runtime's streaming server")
}

async fn ask(
    context: &daemon::Context,
    url: &str,
    method: Method,
    headers: HeaderMap,
) -> anyhow::Result<Response<Incoming>> {
    let url: Uri = url.parse().with_context(|| format!("the runtime named {url:?}"))?;
    if url.scheme_str() != Some("http") {
        bail!(
            "{url} is not plain HTTP; turn TLS for streams off in the runtime, which serves them on this machine only"
        );
    }
    let host = url.host().context("the runtime named no host")?;
    let port = url.port_u16().unwrap_or(80);
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    context.spawn_isolated("runtime stream", async move {
        connection.with_upgrades().await.context("the runtime's streaming server went away")
    });
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = method;
    *request.headers_mut() = headers;
    if let Some(authority) = url.authority() {
        request.headers_mut().insert(HOST, HeaderValue::from_str(authority.as_str())?);
    }
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse()?;
    Ok(sender.send_request(request).await?)
}
