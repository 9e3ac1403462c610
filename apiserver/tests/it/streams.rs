//! Logs, exec and port-forward, with a kubelet of the test's own at the other end.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use serde_json::json;
use testkit::{Authority, Cluster, Identity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// A kubelet that says what it was asked.
struct Kubelet {
    /// Lets one more piece of a followed log out.
    more: Arc<Semaphore>,
    port: u16,
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

impl Kubelet {
    async fn start(authority: &Authority, context: &daemon::Context) -> Self {
        let own = authority.server();
        let tls = apiserver::tls::config(vec![own.certificate], own.key, vec![authority.certificate()]);
        let mut tls = Arc::unwrap_or_clone(tls.unwrap());
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let more = Arc::new(Semaphore::new(0));
        let (spawner, gate) = (context.clone(), Arc::clone(&more));
        context.spawn("kubelet", async move {
            loop {
                let (stream, _) = listener.accept().await?;
                let (acceptor, context, gate) = (acceptor.clone(), spawner.clone(), Arc::clone(&gate));
                spawner.spawn_isolated("kubelet connection", async move {
                    let stream = acceptor.accept(stream).await?;
                    let known = stream.get_ref().1.peer_certificates().is_some();
                    let service = hyper::service::service_fn(|request| {
                        let answer = answer(request, known, &context, &gate);
                        async move { Ok::<_, Infallible>(answer) }
                    });
                    let serving = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let stream = TokioIo::new(stream);
                    serving
                        .serve_connection_with_upgrades(stream, service)
                        .await
                        .map_err(|e| anyhow::anyhow!(e))
                });
            }
        });
        Self { more, port }
    }
}

/// What the kubelet answers: logs piece by piece, upgrades with an echo, each after what it was asked for.
fn answer(
    mut request: Request<Incoming>,
    known: bool,
    context: &daemon::Context,
    more: &Arc<Semaphore>,
) -> Answer {
    let asked = format!("{} {} known={known}\n", request.method(), request.uri());
    if request.uri().path().ends_with("/gone") {
        let mut answer = Response::new(Full::new(Bytes::from("no such container\n")).boxed_unsync());
        *answer.status_mut() = StatusCode::NOT_FOUND;
        return answer;
    }
    let Some(protocol) = request.headers().get(header::UPGRADE).cloned() else {
        let gate = Arc::clone(more);
        let first = futures::stream::iter([Ok(Frame::data(Bytes::from(asked)))]);
        let second = futures::stream::once(async move {
            gate.acquire().await.unwrap().forget();
            Ok(Frame::data(Bytes::from("more\n")))
        });
        return Response::new(StreamBody::new(first.chain(second)).boxed_unsync());
    };
    assert!(request.headers().get(header::AUTHORIZATION).is_none(), "credentials are not for kubelets");
    let upgrade = hyper::upgrade::on(&mut request);
    context.spawn_isolated("echo", async move {
        let mut stream = TokioIo::new(upgrade.await?);
        stream.write_all(asked.as_bytes()).await?;
        let (mut from, mut to) = tokio::io::split(stream);
        tokio::io::copy(&mut from, &mut to).await?;
        Ok(to.shutdown().await?)
    });
    let mut answer = Response::new(Empty::new().boxed_unsync());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer.headers_mut().insert(header::CONNECTION, "Upgrade".parse().unwrap());
    answer.headers_mut().insert(header::UPGRADE, protocol);
    answer
}

/// A cluster with one node, whose kubelet is the test's, and pods on it and on none.
struct Subject {
    kubelet: Kubelet,
    http: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
    _cluster: Cluster,
    _files: tempfile::TempDir,
}

/// A connection of its own to a cluster's server, over which nothing is tried twice.
pub(crate) async fn connect(
    cluster: &Cluster,
    identity: &Identity,
) -> hyper::client::conn::http1::SendRequest<Full<Bytes>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cluster.authority.certificate()).unwrap();
    let tls = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![identity.certificate.clone()], identity.key.clone_key())
        .unwrap();
    let stream = TcpStream::connect(cluster.address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(tls)).connect(name, stream).await.unwrap();
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    cluster.context.spawn_isolated("client", async move { Ok(connection.with_upgrades().await?) });
    sender
}

impl Subject {
    async fn start() -> Self {
        let files = tempfile::tempdir().unwrap();
        let nodes = Authority::new();
        let own = nodes.client("kube-apiserver", &["system:masters"]);
        let write = |name: &str, text: &str| {
            let path = files.path().join(name);
            std::fs::write(&path, text).unwrap();
            Some(path)
        };
        let mut settings = apiserver::Settings::for_tests();
        settings.kubelet_certificate_authority = write("ca.crt", &nodes.pem());
        settings.kubelet_client_certificate = write("client.crt", &own.certificate_pem);
        settings.kubelet_client_key = write("client.key", &own.key_pem);
        let cluster = testkit::start_with(settings, Arc::new(store::memory::Memory::new())).await;
        let kubelet = Kubelet::start(&nodes, &cluster.context).await;
        let admin = cluster.authority.client("admin", &["system:masters"]);
        let http = connect(&cluster, &admin).await;
        let mut subject = Self { kubelet, http, _cluster: cluster, _files: files };
        subject.furnish().await;
        subject
    }

    async fn send(&mut self, request: http::request::Builder, body: serde_json::Value) -> Response<Incoming> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = request.header(header::HOST, "api").body(Full::new(Bytes::from(body))).unwrap();
        self.http.ready().await.unwrap();
        self.http.send_request(request).await.unwrap()
    }

    async fn text(&mut self, path: &str) -> (u16, String) {
        let response = self.send(Request::get(path), serde_json::Value::Null).await;
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn furnish(&mut self) {
        let status = json!({"status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.kubelet.port}},
        }});
        let containers = json!([{"name": "a", "image": "i"}, {"name": "gone", "image": "i"}]);
        let one = json!([{"name": "c", "image": "i"}]);
        let pod = |name: &str, node: Option<&str>, containers: &serde_json::Value| json!({"metadata": {"name": name}, "spec": {"nodeName": node, "containers": containers}});
        let pods = "/api/v1/namespaces/default/pods";
        for (path, object) in [
            ("/api/v1/nodes", json!({"metadata": {"name": "n"}})),
            (pods, pod("one", Some("n"), &one)),
            (pods, pod("two", Some("n"), &containers)),
            (pods, pod("lost", Some("missing"), &one)),
            (pods, pod("waiting", None, &one)),
        ] {
            let made = self.send(Request::post(path), object).await;
            assert_eq!(made.status(), 201, "{path}");
            made.into_body().collect().await.unwrap();
        }
        let patch = Request::patch("/api/v1/nodes/n/status")
            .header(header::CONTENT_TYPE, "application/merge-patch+json");
        let patched = self.send(patch, status).await;
        assert_eq!(patched.status(), 200);
        patched.into_body().collect().await.unwrap();
    }
}

#[tokio::test]
async fn logs_come_as_they_are_written() {
    let mut subject = Subject::start().await;
    let path = "/api/v1/namespaces/default/pods/one/log?follow=true&tailLines=3";
    let mut response = subject.send(Request::get(path), serde_json::Value::Null).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/plain");
    let first = response.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "GET /containerLogs/default/one/c?follow=true&tailLines=3 known=true\n");
    // Only now does the kubelet write the rest.
    subject.kubelet.more.add_permits(1);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "more\n");
}

/// The path of what is below pods, or beside them.
fn path_of(path: &str) -> String {
    let ups = path.matches("../").count();
    let base: Vec<&str> = "api/v1/namespaces/default/pods".split('/').collect();
    format!("/{}/{}", base[..base.len() - ups].join("/"), path.replace("../", ""))
}

#[tokio::test]
async fn what_cannot_be_reached_is_said() {
    let mut subject = Subject::start().await;
    let cases = [
        ("waiting/log", 204, ""),
        ("nope/log", 404, "pods \\\"nope\\\" not found"),
        ("lost/log", 404, "nodes \\\"missing\\\" not found"),
        ("two/log", 400, "a container name must be specified for pod two, choose one of: [a gone]"),
        ("two/log?container=gone", 404, "the server could not find the requested resource ( pods/log two)"),
        ("waiting/exec?command=x", 400, "pod waiting does not have a host assigned"),
        ("waiting/portforward", 400, "pod waiting does not have a host assigned"),
        ("one/attach?container=z", 400, "container z is not valid for pod one"),
        ("one/exec?command=x", 400, "Upgrade request required"),
        ("one/proxy", 400, "address not allowed"),
        ("a:b:c:d/proxy/", 400, "invalid pod request \\\"a:b:c:d\\\""),
        ("nope/proxy/", 404, "pods \\\"nope\\\" not found"),
        ("../services/nope/proxy/", 404, "services \\\"nope\\\" not found"),
        ("../../../nodes/nope/proxy/", 404, "nodes \\\"nope\\\" not found"),
        ("../../../nodes/n/proxy/", 400, "address not allowed"),
    ];
    for (path, code, text) in cases {
        let (found, body) = subject.text(&path_of(path)).await;
        assert_eq!(found, code, "{path}: {body}");
        assert!(body.contains(text), "{path}: {body}");
    }
}

#[tokio::test]
async fn streams_are_passed_through() {
    let cases = [
        (
            "GET",
            "websocket",
            "one/exec?command=ls&command=-l&stdin=true&stdout=true&tty=true",
            "GET /exec/default/one/c?command=ls&command=-l&input=1&output=1&tty=1",
        ),
        ("POST", "SPDY/3.1", "two/attach?container=a&stdout=true", "POST /attach/default/two/a?output=1"),
        ("POST", "SPDY/3.1", "one/portforward", "POST /portForward/default/one"),
    ];
    for (method, protocol, path, asked) in cases {
        let mut subject = Subject::start().await;
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1/namespaces/default/pods/{path}"))
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, protocol);
        let mut response = subject.send(request, serde_json::Value::Null).await;
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS, "{path}");
        assert_eq!(response.headers()[header::UPGRADE], protocol);
        let mut stream = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
        stream.write_all(b"hello").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, format!("{asked} known=true\nhello"), "{path}");
    }
}

/// WebSockets begin with a GET, but who may only read must not run commands.
#[tokio::test]
async fn streams_need_the_right_to_create() {
    let mut settings = apiserver::Settings::for_tests();
    settings.authorization_mode = vec!["RBAC".to_owned()];
    let cluster = testkit::start_with(settings, Arc::new(store::memory::Memory::new())).await;
    let admin = cluster.authority.client("admin", &["system:masters"]);
    let alice = cluster.authority.client("alice", &[]);
    let (mut admin, mut alice) = (connect(&cluster, &admin).await, connect(&cluster, &alice).await);
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let rule = json!({"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get"]});
    let role = json!({"metadata": {"name": "r"}, "rules": [rule]});
    let binding = json!({"metadata": {"name": "b"}, "subjects": [{"kind": "User", "name": "alice"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}});
    for (path, object) in [(format!("{rbac}/roles"), role), (format!("{rbac}/rolebindings"), binding)] {
        let request = Request::post(path).header(header::HOST, "api");
        let request = request.body(Full::new(Bytes::from(object.to_string()))).unwrap();
        let made = admin.send_request(request).await.unwrap();
        assert_eq!(made.status(), 201);
        made.into_body().collect().await.unwrap();
        admin.ready().await.unwrap();
    }
    cluster.server.fresh().await.unwrap();
    let request =
        Request::get("/api/v1/namespaces/default/pods/p/exec?command=sh").header(header::HOST, "api");
    let refused = alice.send_request(request.body(Full::default()).unwrap()).await.unwrap();
    assert_eq!(refused.status(), 403);
    let body = refused.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(text.contains("cannot create resource \\\"pods/exec\\\""), "{text}");
}
