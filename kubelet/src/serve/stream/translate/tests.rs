//! A runtime of the test's own, which misbehaves as a real one seldom does.

use proto::spdy::Event;
use proto::websocket::{Decoder, Event as Said};
use tokio::io::DuplexStream;

use super::*;

const ASK: Ask = Ask { stdin: true, stdout: true, stderr: false, tty: false };
/// What fits into a pipe of the test.
const PIPE: usize = 1024;

/// The runtime's side of a connection.
struct Runtime {
    pipe: DuplexStream,
    endpoint: Endpoint,
    /// By kind.
    streams: Vec<(String, u32)>,
}

impl Runtime {
    fn new(pipe: DuplexStream) -> Self {
        Self { pipe, endpoint: Endpoint::new(Role::Server), streams: Vec::new() }
    }

    async fn next(&mut self) -> Option<Event> {
        let mut buffer = [0; PIPE];
        loop {
            if let Some(event) = self.endpoint.read().unwrap() {
                return Some(event);
            }
            match self.pipe.read(&mut buffer).await.unwrap() {
                0 => return None,
                length => self.endpoint.take(&buffer[..length]),
            }
        }
    }

    async fn accept_all(&mut self) {
        while self.streams.len() < 3 {
            if let Some(Event::Opened { stream, headers }) = self.next().await {
                self.streams.push((headers[0].1.clone(), stream));
                self.endpoint.accept(stream);
                self.flush().await;
            }
        }
    }

    async fn flush(&mut self) {
        self.pipe.write_all(&self.endpoint.output()).await.unwrap();
    }

    async fn say(&mut self, kind: &str, bytes: &'static [u8]) {
        let (_, stream) = *self.streams.iter().find(|(known, _)| known == kind).unwrap();
        self.endpoint.send(stream, Bytes::from_static(bytes), false).unwrap();
        self.flush().await;
    }
}

/// A line with the test at both of its ends; the first is the client.
async fn line() -> (DuplexStream, Runtime, impl Future<Output = io::Result<()>>) {
    let (near, far) = tokio::io::duplex(PIPE);
    let (client, ours) = tokio::io::duplex(PIPE);
    let mut runtime = Runtime::new(far);
    let (process, ()) = tokio::join!(Process::open(near, ASK), runtime.accept_all());
    let protocol = Protocol::choose(&["v5.channel.k8s.io"]).unwrap();
    (client, runtime, process.unwrap().carry(ours, protocol, Duration::from_hours(4)))
}

async fn hear_all(client: &mut DuplexStream) -> Vec<Said> {
    let (mut bytes, mut decoder) = (Vec::new(), Decoder::new(false));
    client.read_to_end(&mut bytes).await.unwrap();
    decoder.take(&bytes);
    std::iter::from_fn(|| decoder.read().unwrap()).collect()
}

/// Somebody who does not read is waited for, and what waits is bounded.
#[tokio::test(start_paused = true)]
async fn a_slow_client_holds_the_process_back() {
    let (_client, mut runtime, carrying) = line().await;
    let mut said = 0;
    let talking = async {
        loop {
            runtime.say("stdout", &[b'x'; PIPE]).await;
            said += PIPE;
        }
    };
    // The clock only goes on once nothing else can.
    tokio::select! {
        () = talking => {}
        ended = carrying => panic!("{ended:?}"),
        () = tokio::time::sleep(Duration::from_secs(60)) => {}
    }
    assert!(said < 4 * BUFFER, "{said}");
}

/// A client must not take a lost connection for a success.
#[tokio::test]
async fn an_end_without_a_verdict_is_a_failure() {
    let (mut client, mut runtime, carrying) = line().await;
    let talking = async {
        runtime.say("stdout", b"some").await;
        drop(runtime);
    };
    let (carried, (), heard) = tokio::join!(carrying, talking, async {
        let heard = hear_all(&mut client).await;
        drop(client);
        heard
    });
    carried.unwrap();
    assert_eq!(heard.last(), Some(&Said::Close(INTERNAL_ERROR)));
}

#[tokio::test]
async fn a_runtime_that_refuses_streams() {
    let (near, far) = tokio::io::duplex(PIPE);
    let mut runtime = Runtime::new(far);
    let refusing = async {
        if let Some(Event::Opened { stream, .. }) = runtime.next().await {
            runtime.endpoint.reset(stream);
            runtime.flush().await;
        }
    };
    let (opened, ()) = tokio::join!(Process::open(near, ASK), refusing);
    let error = opened.err().unwrap();
    assert_eq!(format!("{error:#}"), "the runtime did not accept the streams: it refused one");
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_says_nothing() {
    let (near, _far) = tokio::io::duplex(PIPE);
    let error = Process::open(near, ASK).await.err().unwrap();
    assert_eq!(
        format!("{error:#}"),
        "the runtime did not accept the streams: timed out: deadline has elapsed"
    );
}
