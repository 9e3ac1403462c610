//! A network namespace with an API server and the daemon in it, and what tests do there.
//!
//! The API takes no loopback addresses for endpoints, so pods have others, on the namespace's loopback interface.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use client::k8s_openapi::NamespaceResourceScope;
use client::k8s_openapi::api::core::v1::Service;
use client::k8s_openapi::api::discovery::v1::EndpointSlice;
use client::k8s_openapi::api::networking::v1::Ingress;
use client::kube::api::{Patch, PatchParams, PostParams};
use client::kube::{Api, Resource};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use ingress::Listeners;
use ingress::status::Identity;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use testkit::netns::Namespace;
use tokio::net::TcpListener;

/// The namespace objects are in.
const NAMESPACE: &str = "default";

/// How long a condition may take to come true before the test fails; far longer than it takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// How long a pod may be silent in these tests.
const SILENCE: Duration = Duration::from_millis(300);

pub(crate) struct Place {
    pub(crate) cluster: testkit::Cluster,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

/// Runs a test in a namespace in which pods may have the addresses 10.42.0.1 to 10.42.0.9.
pub(crate) fn test<F>(work: impl FnOnce(Place) -> F + Send + 'static)
where
    F: Future<Output = ()>,
{
    let namespace = Namespace::new("ingress");
    for number in 1..10 {
        namespace.run(&format!("ip addr add 10.42.0.{number}/32 dev lo"));
    }
    namespace.inside(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move { work(Place::new().await).await });
    });
}

impl Place {
    async fn new() -> Self {
        // Shown by the test runner where the test fails.
        daemon::log::start(2);
        let cluster = testkit::start().await;
        let bind = || TcpListener::bind("127.0.0.1:0");
        let listeners = Listeners { http: bind().await.unwrap(), https: bind().await.unwrap() };
        let (http, https) = (listeners.http.local_addr().unwrap(), listeners.https.local_addr().unwrap());
        let identity = Identity {
            node: "here".to_owned(),
            address: "192.0.2.9".parse().ok(),
            class: "isopod".to_owned(),
        };
        let who = cluster.client_as("system:isopod-ingress", &[]).await;
        ingress::start(&cluster.context, who, listeners, identity, SILENCE).unwrap();
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build_http();
        Self { cluster, http, https, client }
    }

    pub(crate) fn of<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.cluster.client(), NAMESPACE)
    }

    pub(crate) async fn make<K>(&self, object: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Serialize
            + DeserializeOwned
            + Clone
            + Debug,
    {
        let object: K = serde_json::from_value(object).expect("an object of this kind");
        self.of::<K>().create(&PostParams::default(), &object).await.expect("it can be made")
    }

    /// A Service whose port is called `web`.
    pub(crate) async fn service(&self, name: &str, pods: &[&str]) {
        let ports = json!([{"name": "web", "port": 80, "targetPort": "http"}]);
        self.make::<Service>(json!({"metadata": {"name": name}, "spec": {"ports": ports}})).await;
        self.make::<EndpointSlice>(json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": endpoints(pods),
            "ports": [{"name": "web", "port": 8080}],
        }))
        .await;
    }

    /// Says anew which pods are behind a Service.
    pub(crate) async fn pods(&self, service: &str, pods: &[&str]) {
        let patch = Patch::Merge(json!({"endpoints": endpoints(pods)}));
        let api = self.of::<EndpointSlice>();
        api.patch(service, &PatchParams::default(), &patch).await.expect("it can be changed");
    }

    /// An Ingress with one host, all of whose paths lead to one Service.
    pub(crate) async fn ingress(&self, name: &str, host: &str, service: &str) {
        self.make::<Ingress>(json!({"metadata": {"name": name}, "spec": {"ingressClassName": "isopod",
            "rules": [rule(host, "/", service)]}}))
            .await;
    }

    /// Sends a request over HTTP.
    pub(crate) async fn send(&self, request: http::request::Builder, body: &'static str) -> Answer {
        let request = request.body(Full::from(body)).unwrap();
        let (mut parts, body) = request.into_parts();
        parts.uri = format!("http://{}{}", self.http, parts.uri).parse().unwrap();
        let response = self.client.request(Request::from_parts(parts, body)).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Answer { status: parts.status, body }
    }

    pub(crate) async fn get(&self, host: &str, path: &str) -> Answer {
        self.send(Request::get(path).header("host", host), "").await
    }

    /// Asks until the answer has this status.
    pub(crate) async fn until(&self, host: &str, path: &str, status: u16) -> Answer {
        eventually(async || Some(self.get(host, path).await).filter(|answer| answer.status == status)).await
    }
}

/// Looks until there is something to see.
pub(crate) async fn eventually<T>(look: impl AsyncFn() -> Option<T>) -> T {
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK).await;
        }
    });
    found.await.expect("it comes true")
}

/// A rule of an Ingress: a prefix of one host leads to the port `web` of a Service.
pub(crate) fn rule(host: &str, path: &str, service: &str) -> Value {
    json!({"host": host, "http": {"paths": [{"path": path, "pathType": "Prefix",
        "backend": {"service": {"name": service, "port": {"name": "web"}}}}]}})
}

fn endpoints(pods: &[&str]) -> Value {
    pods.iter().map(|pod| json!({"addresses": [pod], "conditions": {"ready": true}})).collect()
}
