//! The port on which a process says how it is: `/livez`, `/readyz`, `/healthz`, `/metrics`.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::Context;

pub(crate) async fn serve(context: &Context, address: SocketAddr) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("could not listen on {address} for health and metrics; is the port in use?")
    })?;
    let bound = listener.local_addr().context("could not read back the bound address")?;
    let accepting = context.clone();
    context.spawn("admin", async move {
        loop {
            let (stream, _) = listener.accept().await.context("could not accept a connection")?;
            let context = accepting.clone();
            accepting.spawn_isolated("admin connection", async move {
                let answer = service_fn(|request| {
                    let response = answer(&context, &request);
                    async move { Ok::<_, Infallible>(response) }
                });
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer)
                    .await
                    .context("a health client went away")
            });
        }
    });
    Ok(bound)
}

fn answer<B>(context: &Context, request: &Request<B>) -> Response<Full<Bytes>> {
    let (status, body) = match request.uri().path() {
        "/livez" => (StatusCode::OK, "ok".to_owned()),
        "/readyz" | "/healthz" => match context.gates().pending() {
            pending if pending.is_empty() => (StatusCode::OK, "ok".to_owned()),
            pending => (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for {}\n", pending.join(", "))),
        },
        "/metrics" => (StatusCode::OK, context.exposition()),
        path => (StatusCode::NOT_FOUND, format!("{path} is not served here\n")),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}
