//! What the suite runs against, and how it speaks to it.

use std::sync::Arc;

use apiserver::config::Settings;
use client::kube;
use http_body_util::BodyExt;
use serde_json::Value;
use testkit::Cluster;

/// A server.
pub(crate) struct Subject {
    pub(crate) cluster: Arc<Cluster>,
    client: kube::Client,
}

/// An answer: its status and its body, which is a JSON document or text.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Value,
    pub(crate) warnings: Vec<String>,
}

impl Subject {
    pub(crate) async fn start() -> Self {
        Self::start_with(Settings::for_tests()).await
    }

    pub(crate) async fn start_with(settings: Settings) -> Self {
        Self::start_on(settings, Arc::new(store::memory::Memory::new())).await
    }

    pub(crate) async fn start_on(settings: Settings, store: Arc<dyn store::Store>) -> Self {
        let cluster = testkit::start_with(settings, store).await;
        let client = cluster.client();
        Self { cluster: Arc::new(cluster), client }
    }

    /// The same server, asked with this bearer token and nothing else.
    pub(crate) async fn with_token(&self, token: &str) -> Self {
        let client = self.cluster.client_with_token(token).await;
        Self { cluster: Arc::clone(&self.cluster), client }
    }

    /// The same server, asked by somebody with this name and at most one group.
    pub(crate) async fn with_user(&self, name: &str, groups: &[&str]) -> Self {
        let client = self.cluster.client_as(name, groups).await;
        Self { cluster: Arc::clone(&self.cluster), client }
    }

    /// Sends a request with a JSON body and reads the whole answer.
    pub(crate) async fn send(&self, method: &str, path: &str, body: Value) -> Answer {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        self.send_as(method, path, kind, "application/json", body.to_string()).await
    }

    /// Sends any request and reads the whole answer.
    pub(crate) async fn send_as(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        accept: &str,
        body: String,
    ) -> Answer {
        let body = if body == "null" { String::new() } else { body };
        let headers = [("content-type", content_type), ("accept", accept)];
        self.request(method, path, &headers, body).await
    }

    /// Asks with headers and reads the whole answer.
    pub(crate) async fn ask(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.request("GET", path, headers, String::new()).await
    }

    /// Sends any request with any headers and reads the whole answer.
    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Answer {
        let mut request = http::Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(kube::client::Body::from(body.into_bytes())).unwrap();
        let response = self.client.send(request).await.unwrap();
        let code = response.status().as_u16();
        let headers = response.headers().clone();
        let warnings = headers
            .get_all("warning")
            .iter()
            .map(|value| value.to_str().unwrap_or_default().to_owned())
            .collect();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Answer { code, headers, body, warnings }
    }

    /// The events of a watch that ends by itself.
    pub(crate) async fn events(&self, path: &str) -> Vec<Value> {
        let answer = self.send("GET", path, Value::Null).await;
        assert_eq!(answer.code, 200, "{path}: {:?}", answer.body);
        match answer.body {
            Value::String(lines) => lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
            one => vec![one],
        }
    }
}

/// Runs each case against a server of its own: on a store in memory as a test of its own, on the other stores one
/// after another, each on its own part of one store.
#[macro_export]
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&$crate::subject::Subject::start().await).await;
            })*
        }

        mod datastore {
            #[tokio::test]
            async fn all() {
                let running = $crate::stores::datastore().await;
                $(super::$name(&running.subject(stringify!($name)).await).await;)*
            }
        }

        mod etcd {
            #[tokio::test]
            async fn all() {
                let running = $crate::stores::etcd().await;
                $(super::$name(&running.subject(stringify!($name)).await).await;)*
            }
        }
    };
}
