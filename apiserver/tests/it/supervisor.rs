//! Paths of the supervisor, passed through to its socket.

use std::convert::Infallible;

use apiserver::config::Settings;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixListener;

use crate::subject::Subject;

/// Answers with what was asked and by whom.
async fn echo(
    request: http::Request<hyper::body::Incoming>,
) -> Result<http::Response<Full<Bytes>>, Infallible> {
    let bearer = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let text = format!("{} {} {}", request.method(), request.uri(), bearer.unwrap_or_default());
    Ok(http::Response::builder().status(201).body(Full::new(text.into())).unwrap())
}

#[tokio::test]
async fn the_supervisor_is_asked_without_authentication() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = Settings::for_tests();
    settings.supervisor_socket = Some(directory.path().join("supervisor.sock"));
    settings.authorization_mode = vec!["RBAC".to_owned()];
    settings.anonymous_auth = false;
    let socket = settings.supervisor_socket.clone().unwrap();
    let subject = Subject::start_with(settings).await;
    let stranger = subject.with_token("join").await;

    let away = stranger.send("GET", "/cacerts", Value::Null).await;
    assert_eq!((away.code, away.body["reason"].as_str()), (503, Some("ServiceUnavailable")));

    let listener = UnixListener::bind(socket).unwrap();
    subject.cluster.context.spawn("supervisor", async move {
        loop {
            let (stream, _) = listener.accept().await?;
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(echo))
                .await?;
        }
    });
    let answer = stranger.send("POST", "/v1-k3s/config?x=1", Value::Null).await;
    assert_eq!((answer.code, answer.body.as_str()), (201, Some("POST /v1-k3s/config?x=1 Bearer join")));
    assert_eq!(stranger.send("GET", "/version", Value::Null).await.code, 401);
}
