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
