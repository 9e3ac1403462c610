//! Plain HTTP: hosts and paths, heads, bodies, failures, upgrades, classes and status.

use client::k8s_openapi::api::core::v1::Node;
use client::k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use client::kube::Api;
use client::kube::api::{Patch, PatchParams, PostParams};
use futures::{SinkExt, StreamExt};
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use crate::backend;
use crate::place::{Place, eventually, rule, test};

#[test]
fn a_request_reaches_the_pod_that_its_host_and_path_say() {
    test(async |place: Place| {
        let (_one, _two) = (backend::start("10.42.0.1").await, backend::start("10.42.0.2").await);
        place.service("one", &["10.42.0.1"]).await;
        place.service("two", &["10.42.0.2"]).await;
        place.service("none", &[]).await;
        place.service("dead", &["10.42.0.3"]).await;
        place
            .make::<Ingress>(json!({"metadata": {"name": "all"}, "spec": {"rules": [
                rule("a.com", "/", "one"), rule("a.com", "/two", "two"), rule("*.a.com", "/", "two"),
                rule("a.com", "/none", "none"), rule("a.com", "/missing", "missing"), rule("a.com", "/dead", "dead"),
            ]}}))
            .await;
        place.until("a.com", "/", 200).await;
        let cases = [
            ("a.com", "/", 200, "10.42.0.1"),
            ("a.com", "/twofold", 200, "10.42.0.1"),
            ("A.com:8080", "/two/three?q=1", 200, "10.42.0.2"),
            ("x.a.com", "/", 200, "10.42.0.2"),
            ("x.y.a.com", "/", 404, ""),
            ("b.com", "/", 404, ""),
            ("a.com", "/none", 503, ""),
            ("a.com", "/missing", 503, ""),
            ("a.com", "/dead", 502, ""),
            ("a.com", "/silent", 504, ""),
        ];
        for (host, path, status, pod) in cases {
            let answer = place.get(host, path).await;
            assert_eq!(answer.status, status, "{host}{path}");
            if status == 200 {
                assert_eq!(answer.json()["pod"], pod, "{host}{path}");
                assert_eq!(answer.json()["path"], path);
            }
        }
    });
}

#[test]
fn a_pod_is_told_who_asks() {
    test(async |place: Place| {
        let _pod = backend::start("10.42.0.1").await;
        place.service("one", &["10.42.0.1"]).await;
        place.ingress("one", "a.com", "one").await;
        place.until("a.com", "/", 200).await;
        let request = Request::post("/x").header("host", "a.com:81").header("x-forwarded-for", "6.6.6.6");
        let told = place.send(request, "words").await.json();
        assert_eq!((told["method"].as_str(), told["body"].as_str()), (Some("POST"), Some("words")));
        let expected = [
            ("host", "a.com:81"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-real-ip", "127.0.0.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "a.com:81"),
            ("x-forwarded-port", "81"),
            ("content-length", "5"),
        ];
        for (name, value) in expected {
            assert_eq!(told["headers"][name], value, "{name}");
        }
    });
}

#[test]
fn bodies_pass_as_they_come() {
    test(async |place: Place| {
        let _pod = backend::start("10.42.0.1").await;
        place.service("one", &["10.42.0.1"]).await;
        place.ingress("one", "a.com", "one").await;
        place.until("a.com", "/", 200).await;
        for http2 in [false, true] {
            let (chunks, mut rest) = mpsc::channel(1);
            let body = StreamBody::new(futures::stream::poll_fn(move |cx| rest.poll_recv(cx)));
            let request =
                Request::post(format!("http://a.com{}", "/echo")).header("host", "a.com").body(body);
            let stream = TokioIo::new(TcpStream::connect(place.http).await.unwrap());
            let context = place.cluster.context.clone();
            let sending: futures::future::BoxFuture<'_, _> = if http2 {
                let (mut sender, connection) =
                    hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
                context.spawn_isolated("client", async move { Ok(connection.await?) });
                Box::pin(async move { sender.send_request(request.unwrap()).await })
            } else {
                let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
                context.spawn_isolated("client", async move { Ok(connection.await?) });
                Box::pin(async move { sender.send_request(request.unwrap()).await })
            };
            let first = chunks.send(Ok::<_, hyper::Error>(Frame::data(bytes::Bytes::from_static(b"first"))));
            let (response, sent) = tokio::join!(sending, first);
            sent.unwrap();
            let mut body = response.unwrap().into_body();
            // What was sent comes back while the request goes on.
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first", "http2: {http2}");
            chunks.send(Ok(Frame::data(bytes::Bytes::from(vec![b'x'; 1 << 20])))).await.unwrap();
            drop(chunks);
            assert_eq!(body.collect().await.unwrap().to_bytes().len(), 1 << 20, "http2: {http2}");
        }
    });
}

#[test]
fn a_websocket_passes_through() {
    test(async |place: Place| {
        let _pod = backend::start("10.42.0.1").await;
        place.service("one", &["10.42.0.1"]).await;
        place.ingress("one", "a.com", "one").await;
        place.until("a.com", "/", 200).await;
        let stream = TcpStream::connect(place.http).await.unwrap();
        let (mut socket, response) =
            tokio_tungstenite::client_async("ws://a.com/talk", stream).await.unwrap();
        assert_eq!(response.status(), 101);
        for words in ["one", "two"] {
            socket.send(Message::text(words)).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(words));
        }
        socket.close(None).await.unwrap();
        assert!(matches!(socket.next().await, Some(Ok(Message::Close(_))) | None));
    });
}

#[test]
fn classes_and_status() {
    test(async |place: Place| {
        let classes: Api<IngressClass> = Api::all(place.cluster.client());
        let class = eventually(async || classes.get_opt("isopod").await.unwrap()).await;
        assert_eq!(class.spec.unwrap().controller.as_deref(), Some("isopod.dev/ingress"));
        assert_eq!(
            class.metadata.annotations.unwrap()["ingressclass.kubernetes.io/is-default-class"],
            "true"
        );
        let _pod = backend::start("10.42.0.1").await;
        place.service("one", &["10.42.0.1"]).await;
        let spec =
            |class: Option<&str>, host| json!({"ingressClassName": class, "rules": [rule(host, "/", "one")]});
        for (name, class) in [("none", None), ("other", Some("nginx")), ("own", Some("isopod"))] {
            place.make::<Ingress>(json!({"metadata": {"name": name}, "spec": spec(class, name)})).await;
        }
        place.until("own", "/", 200).await;
        place.until("none", "/", 200).await;
        assert_eq!(place.get("other", "/").await.status, 404);
        let told = async |name: &str| {
            let ingress = place.of::<Ingress>().get(name).await.unwrap();
            let entries = ingress.status.and_then(|status| status.load_balancer).and_then(|it| it.ingress);
            entries.unwrap_or_default().into_iter().filter_map(|entry| entry.ip).collect::<Vec<_>>()
        };
        // As long as there are no nodes, the daemon tells its own address.
        eventually(async || (told("own").await == ["192.0.2.9"]).then_some(())).await;
        for (name, address) in [("here", "10.0.0.10"), ("there", "10.0.0.9")] {
            node(&place, name, address).await;
        }
        eventually(async || (told("own").await == ["10.0.0.9", "10.0.0.10"]).then_some(())).await;
        eventually(async || (told("none").await == ["10.0.0.9", "10.0.0.10"]).then_some(())).await;
        assert!(told("other").await.is_empty());
    });
}

async fn node(place: &Place, name: &str, address: &str) {
    let nodes: Api<Node> = Api::all(place.cluster.client());
    let node = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    nodes.create(&PostParams::default(), &node).await.unwrap();
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": address}],
        "conditions": [{"type": "Ready", "status": "True"}]}});
    nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

#[test]
fn a_port_in_use_is_named() {
    test(async |place: Place| {
        let error = ingress::serve::bind(place.http, "--http-port").await.unwrap_err().to_string();
        let expected = format!("could not listen on {} (--bind-address, --http-port); ", place.http);
        assert!(error.starts_with(&expected), "{error}");
    });
}
