//! Pods that come and go, and a daemon that ends, under requests of which none may be lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::Request;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::backend;
use crate::place::{Place, eventually, test};

#[test]
fn no_request_is_lost_while_pods_are_replaced() {
    test(async |place: Place| {
        let mut pods = vec![backend::start("10.42.0.1").await, backend::start("10.42.0.2").await];
        place.service("one", &["10.42.0.1", "10.42.0.2"]).await;
        place.ingress("one", "a.com", "one").await;
        place.until("a.com", "/", 200).await;
        let (done, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let asking = async {
            while !done.load(Ordering::Relaxed) {
                let answers = (0..4).map(|_| place.get("a.com", "/x"));
                for answer in futures::future::join_all(answers).await {
                    assert_eq!(answer.status, 200, "{answer:?} after {}", count.load(Ordering::Relaxed));
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        let some_more = async || {
            let from = count.load(Ordering::Relaxed);
            eventually(async || (count.load(Ordering::Relaxed) > from + 40).then_some(())).await;
        };
        let replacing = async {
            for number in 3..6 {
                let (old, new) = (format!("10.42.0.{}", number - 1), format!("10.42.0.{number}"));
                some_more().await;
                // Killed while it is still listed, with requests on it.
                pods.remove(0);
                some_more().await;
                pods.push(backend::start(&new).await);
                place.pods("one", &[&old, &new]).await;
            }
            some_more().await;
            done.store(true, Ordering::Relaxed);
        };
        tokio::join!(asking, replacing);
        assert_eq!(place.get("a.com", "/x").await.status, 200);
    });
}

#[test]
fn a_body_that_was_not_sent_goes_to_another_pod() {
    test(async |place: Place| {
        let _pod = backend::start("10.42.0.2").await;
        place.service("one", &["10.42.0.1", "10.42.0.2"]).await;
        place.ingress("one", "a.com", "one").await;
        place.until("a.com", "/", 200).await;
        for _ in 0..4 {
            let answer = place.send(Request::post("/x").header("host", "a.com"), "words").await;
            assert_eq!((answer.status.as_u16(), answer.json()["body"].as_str()), (200, Some("words")));
        }
    });
}

#[test]
fn what_runs_may_finish_when_the_daemon_ends() {
    test(async |place: Place| {
        let _pod = backend::start("10.42.0.1").await;
        place.service("one", &["10.42.0.1"]).await;
        place.ingress("one", "a.com", "one").await;
        place.until("a.com", "/", 200).await;
        let stream = TcpStream::connect(place.http).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let (chunks, mut rest) = tokio::sync::mpsc::channel(1);
        let body = http_body_util::StreamBody::new(futures::stream::poll_fn(move |cx| rest.poll_recv(cx)));
        let request = Request::post("/echo").header("host", "a.com").body(body).unwrap();
        let chunk = |text: &'static str| {
            Ok::<_, hyper::Error>(hyper::body::Frame::data(bytes::Bytes::from_static(text.as_bytes())))
        };
        let talking = async {
            chunks.send(chunk("first")).await.unwrap();
            let mut body = sender.send_request(request).await.unwrap().into_body();
            let mut next = async || {
                http_body_util::BodyExt::frame(&mut body)
                    .await
                    .map(|frame| frame.unwrap().into_data().unwrap())
            };
            assert_eq!(next().await.unwrap(), "first");
            place.cluster.trigger.start();
            // The listener is closed, this request goes on.
            eventually(async || TcpStream::connect(place.http).await.err()).await;
            chunks.send(chunk("second")).await.unwrap();
            assert_eq!(next().await.unwrap(), "second");
            drop(chunks);
            assert_eq!(next().await, None);
        };
        let (ended, ()) = tokio::join!(connection, talking);
        ended.unwrap();
    });
}
