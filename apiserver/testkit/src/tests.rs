//! The server as its clients see it.

use client::k8s_openapi::api::core::v1::ConfigMap;
use client::kube::Api;
use futures::StreamExt;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};

use super::*;

#[tokio::test]
async fn an_object_lives_and_dies() {
    let cluster = start().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client(), "default");
    let map: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "a"}, "data": {"k": "v"}})).unwrap();
    let made = maps.create(&PostParams::default(), &map).await.unwrap();
    assert!(made.metadata.uid.is_some());
    let patch = json!({"data": {"k": "w"}});
    let patched = maps.patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    assert_eq!(patched.data.unwrap()["k"], "w");
    assert_eq!(maps.list(&Default::default()).await.unwrap().items.len(), 1);
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(maps.get_opt("a").await.unwrap().is_none());
}

#[tokio::test]
async fn a_cache_follows() {
    let cluster = start().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client(), "default");
    let map =
        |name: &str| -> ConfigMap { serde_json::from_value(json!({"metadata": {"name": name}})).unwrap() };
    maps.create(&PostParams::default(), &map("a")).await.unwrap();
    let cache: client::Cache<ConfigMap> = client::Cache::default();
    let (seen, mut names) = tokio::sync::mpsc::channel(8);
    cache.subscribe(move |change| {
        drop(seen.try_send(change.object().metadata.name.clone().unwrap_or_default()));
    });
    cluster.context.spawn("cache", cache.clone().follow(maps.clone(), Default::default()));
    assert_eq!(names.recv().await.unwrap(), "a");
    maps.create(&PostParams::default(), &map("b")).await.unwrap();
    assert_eq!(names.recv().await.unwrap(), "b");
    assert_eq!(cache.len(), 2);
}

/// A namespace full of objects of this size.
async fn fill(cluster: &Cluster, count: usize, size: usize) {
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client(), "default");
    for number in 0..count {
        let map = json!({"metadata": {"name": format!("m{number}")}, "data": {"k": "v".repeat(size)}});
        let map = serde_json::from_value(map).unwrap();
        maps.create(&PostParams::default(), &map).await.unwrap();
    }
}

#[tokio::test]
async fn many_watches_share_a_connection_and_none_holds_up_another() {
    let cluster = start().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client(), "default");
    let mut watches = Vec::new();
    // More than a server need take on one connection; most of them see nothing.
    for number in 0..100 {
        let none = WatchParams::default().fields("metadata.name=none");
        let what = if number < 96 { none } else { WatchParams::default() };
        watches.push(maps.watch(&what, "0").await.unwrap().boxed());
    }
    // More than one stream may have under way, and nobody reads any of it yet.
    fill(&cluster, 3, 500_000).await;
    assert_eq!(maps.list(&Default::default()).await.unwrap().items.len(), 3);
    let mut last = watches.pop().unwrap();
    let mut seen = 0;
    while seen < 3 {
        if let WatchEvent::Added(map) = last.next().await.unwrap().unwrap() {
            seen += usize::from(map.metadata.name.unwrap().starts_with('m'));
        }
    }
}

#[tokio::test]
async fn a_server_without_http2_is_spoken_to_all_the_same() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let authority = Authority::new();
    let serving = authority.server();
    let tls = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![serving.certificate], serving.key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(async move {
        loop {
            let stream = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
            let service = hyper::service::service_fn(|request: http::Request<_>| async move {
                let words = json!({"major": "1", "minor": "2", "gitVersion": format!("{:?}", request.version()),
                    "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": ""});
                Ok::<_, std::convert::Infallible>(http::Response::new(words.to_string()))
            });
            let stream = hyper_util::rt::TokioIo::new(stream);
            // A client that finds out that there is no HTTP/2 goes away and comes again.
            drop(hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await);
        }
    });
    let client = connect(&url, &authority, &authority.client("somebody", &[])).await;
    for _ in 0..2 {
        assert_eq!(client.apiserver_version().await.unwrap().git_version, "HTTP/1.1");
    }
}
