//! The gRPC health checking protocol: `grpc.health.v1.Health/Check`.

use std::net::IpAddr;
use std::time::Duration;

use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// The status that is good.
const SERVING: i32 = 1;

/// Asks a server whether a service is serving.
///
/// # Errors
/// Why not, in upstream's words.
pub async fn check(ip: IpAddr, port: u16, service: &str, timeout: Duration) -> Result<(), String> {
    let place = std::net::SocketAddr::new(ip, port);
    let late = || format!("timeout: failed to connect service \"{place}\" within {}s", timeout.as_secs());
    let asked = tokio::time::timeout(timeout, async {
        let endpoint = Endpoint::from_shared(format!("http://{place}"))
            .and_then(|endpoint| endpoint.user_agent("kube-probe/1.36"))
            .map_err(|error| error.to_string())?;
        let channel = endpoint.connect().await.map_err(|_| late())?;
        let mut grpc = Grpc::new(channel);
        grpc.ready().await.map_err(|_| late())?;
        let request = Request::new(HealthCheckRequest { service: service.to_owned() });
        let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
        let codec = ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
        match grpc.unary(request, path, codec).await {
            Ok(answer) => Ok(answer.into_inner().status),
            Err(status) if status.code() == Code::Unimplemented => {
                Err("error: this server does not implement the grpc health protocol (grpc.health.v1.Health)"
                    .to_owned())
            }
            Err(status) => Err(format!("error: health rpc probe failed: {}", status.message())),
        }
    });
    match asked.await.unwrap_or_else(|_| Err(late()))? {
        SERVING => Ok(()),
        0 => Err("service unhealthy (responded with \"UNKNOWN\")".to_owned()),
        2 => Err("service unhealthy (responded with \"NOT_SERVING\")".to_owned()),
        _ => Err("service unhealthy (responded with \"SERVICE_UNKNOWN\")".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use futures::stream;
    use http::{HeaderMap, HeaderValue, Response};
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::net::TcpListener;

    use super::*;

    /// Long enough for a busy machine.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Answers one call with a health status, or with a gRPC error.
    async fn asked(status: u8, code: &'static str) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = async {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static(code));
                // A message of two bytes: field 1, the status.
                let message = Frame::data(Bytes::from(vec![0, 0, 0, 0, 2, 8, status]));
                let frames = [Ok::<_, Infallible>(message), Ok(Frame::trailers(trailers))];
                let response = Response::builder().header("content-type", "application/grpc");
                Ok::<_, Infallible>(response.body(StreamBody::new(stream::iter(frames))).unwrap())
            });
            drop(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), answer)
                    .await,
            );
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answer = check(address.ip(), address.port(), "web", PATIENCE) => answer,
            () = serve => unreachable!("the server serves for ever"),
        }
    }

    #[tokio::test]
    async fn answers() {
        assert_eq!(asked(1, "0").await, Ok(()));
        assert_eq!(asked(2, "0").await, Err("service unhealthy (responded with \"NOT_SERVING\")".to_owned()));
        let absent = asked(1, "12").await.unwrap_err();
        assert!(absent.contains("does not implement the grpc health protocol"), "{absent}");
    }
}
