//! Commands, attachments and port forwards: `/exec`, `/attach` and `/portForward`, handed on to the runtime.
//!
//! The runtime names an address for each stream (CRI), at which it speaks the protocols that `kubectl` speaks over
//! SPDY; a client that asks for those is connected to it byte for byte. What clients speak over WebSocket is translated.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::BoxFuture;
use http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use proto::cri::v1 as cri;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Code;

use super::{Body, Call, text};
use crate::pod::observed::Observed;
use crate::pod::{self, member};
use crate::runtime::Failure;
use crate::runtime::observe::observe;

mod ask;
mod channel;
mod dial;
mod relay;
mod socket;
mod translate;
mod tunnel;

use ask::{Ask, Place, Way};
use channel::Protocol;
use translate::Process;

/// Streams under way at once: each holds two sockets and up to 128 KiB of buffers, 32 MiB in all.
const SESSIONS: usize = 256;

/// What the runtime is asked to speak, and of what.
const SPDY: &str = "SPDY/3.1";
const OF_PROCESSES: &str = "v4.channel.k8s.io";
const OF_PORTS: &str = "portforward.k8s.io";

const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// What of a client's request concerns a runtime that is spoken to as the client does: how to change over, and to what.
const CARRIED: [HeaderName; 7] = [
    CONNECTION,
    UPGRADE,
    STREAM_PROTOCOL,
    HeaderName::from_static("sec-websocket-extensions"),
    SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION,
];

/// Room for streams; shared by all ways in.
#[derive(Debug, Clone)]
pub struct Sessions {
    room: Arc<Semaphore>,
    /// A stream on which nothing moves for this long is given up.
    idle: Duration,
}

impl Sessions {
    pub fn new(idle: Duration) -> Self {
        Self { room: Arc::new(Semaphore::new(SESSIONS)), idle }
    }
}

/// Why there is no stream: what is answered.
struct Refusal {
    status: StatusCode,
    words: String,
}

impl Refusal {
    fn new(status: StatusCode, words: impl Into<String>) -> Self {
        Self { status, words: words.into() }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let status = match failure.code {
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, failure.message)
    }
}

impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}"))
    }
}

/// Runs a command in a container.
pub async fn exec(call: Call) -> Response<Body> {
    let answer = async {
        let place = Place::of_container(&call.rest).ok_or_else(not_a_path)?;
        let ask = Ask::parse(|key| call.query(key)).map_err(bad)?;
        let container = running(&call, &place).await?;
        let request = cri::ExecRequest {
            container_id: container,
            cmd: call.queries("command").collect(),
            tty: ask.tty,
            stdin: ask.stdin,
            stdout: ask.stdout,
            stderr: ask.stderr,
        };
        let way = Way::to_process(call.request.headers()).map_err(bad)?;
        let url = call.agent.runtime.exec(request).await?;
        connect(call, &url, way, ask).await
    };
    answer.await.unwrap_or_else(refused)
}

/// Joins a container's own input and output.
pub async fn attach(call: Call) -> Response<Body> {
    let answer = async {
        let place = Place::of_container(&call.rest).ok_or_else(not_a_path)?;
        let ask = Ask::parse(|key| call.query(key)).map_err(bad)?;
        let container = running(&call, &place).await?;
        // Whether there is a terminal was settled when the container was made.
        let ask = ask.with_terminal(has_terminal(&call, &place));
        let request = cri::AttachRequest {
            container_id: container,
            tty: ask.tty,
            stdin: ask.stdin,
            stdout: ask.stdout,
            stderr: ask.stderr,
        };
        let way = Way::to_process(call.request.headers()).map_err(bad)?;
        let url = call.agent.runtime.attach(request).await?;
        connect(call, &url, way, ask).await
    };
    answer.await.unwrap_or_else(refused)
}

/// Connects to ports of a pod.
pub async fn port_forward(call: Call) -> Response<Body> {
    let answer = async {
        let place = Place::of_pod(&call.rest).ok_or_else(not_a_path)?;
        let ports = ask::ports(call.queries("port")).map_err(bad)?;
        let observed = look(&call, &place).await?;
        let sandbox = observed.sandbox().ok_or_else(|| {
            let words = format!("pod not found (\"{}_{}\")", place.pod, place.namespace);
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, words)
        })?;
        let request = cri::PortForwardRequest { pod_sandbox_id: sandbox.id.clone(), port: ports };
        let way = Way::to_ports(call.request.headers());
        let url = call.agent.runtime.port_forward(request).await?;
        connect(call, &url, way, Ask::default()).await
    };
    answer.await.unwrap_or_else(refused)
}

fn has_terminal(call: &Call, place: &Place<'_>) -> bool {
    let pod = call.sources.named(place.namespace, place.pod);
    pod.is_some_and(|pod| {
        let spec = pod::spec(&pod);
        member(&spec, place.container).is_some_and(|member| member.container.tty == Some(true))
    })
}

fn bad(words: String) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, words)
}

fn not_a_path() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "404 page not found\n")
}

fn refused(refusal: Refusal) -> Response<Body> {
    text(refusal.status, refusal.words)
}

/// What the runtime has of the pod that is meant.
async fn look(call: &Call, place: &Place<'_>) -> Result<Observed, Refusal> {
    let found = call.sources.named(place.namespace, place.pod);
    let known = found.filter(|pod| place.uid.is_none_or(|uid| *pod::runtime_uid(pod) == *uid));
    let pod = known.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "pod does not exist"))?;
    Ok(observe(&call.agent.runtime, &pod::runtime_uid(&pod), &Observed::default()).await?)
}

/// The id of the running container that is meant.
async fn running(call: &Call, place: &Place<'_>) -> Result<String, Refusal> {
    let observed = look(call, place).await?;
    let found = observed.latest(place.container).filter(|seen| seen.is_running());
    found.map(|seen| seen.id.clone()).ok_or_else(|| {
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("container not found (\"{}\")", place.container),
        )
    })
}

fn room(call: &Call) -> Result<OwnedSemaphorePermit, Refusal> {
    let sessions = Arc::clone(&call.agent.sessions.room);
    sessions.try_acquire_owned().map_err(|_| {
        let words = format!("too many streams: this node carries {SESSIONS} at once; try again later");
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, words)
    })
}

/// Connects the client with the runtime's address and lets them speak.
async fn connect(mut call: Call, url: &str, way: Way, ask: Ask) -> Result<Response<Body>, Refusal> {
    let permit = room(&call)?;
    let headers = match &way {
        Way::Plain => carried(call.request.headers()),
        Way::Channels(_) => spdy(OF_PROCESSES),
        Way::Tunnel(_) => spdy(OF_PORTS),
    };
    let agreed = match &way {
        Way::Plain => None,
        Way::Channels(Protocol { name, .. }) | Way::Tunnel(name) => {
            Some(agreed(call.request.headers(), name)?)
        }
    };
    let method = if way == Way::Plain { call.request.method().clone() } else { Method::POST };
    let mut answer = dial::dial(&call.agent.context, url, method, headers).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer.map(|body| body.map_err(std::io::Error::other).boxed()));
    }
    let agreed = agreed.unwrap_or_else(|| std::mem::take(answer.headers_mut()));
    let runtime =
        hyper::upgrade::on(&mut answer).await.context("the runtime's streaming server went away")?;
    let runtime = TokioIo::new(runtime);
    let client = hyper::upgrade::on(&mut call.request);
    let (context, idle) = (call.agent.context.clone(), call.agent.sessions.idle);
    let speaking: Speaking = match way {
        Way::Plain => Box::new(move |client| Box::pin(relay::relay(client, runtime, idle))),
        Way::Tunnel(_) => Box::new(move |client| Box::pin(tunnel::tunnel(client, runtime, idle))),
        Way::Channels(protocol) => {
            let process = Process::open(runtime, ask).await?;
            Box::new(move |client| Box::pin(process.carry(client, protocol, idle)))
        }
    };
    context.spawn_isolated("stream", async move {
        let client = client.await.context("the client went away")?;
        speaking(TokioIo::new(client)).await?;
        drop(permit);
        Ok(())
    });
    let mut response = text(StatusCode::SWITCHING_PROTOCOLS, "");
    *response.headers_mut() = agreed;
    Ok(response)
}

/// What happens once the client has changed over.
type Speaking = Box<dyn FnOnce(TokioIo<Upgraded>) -> BoxFuture<'static, std::io::Result<()>> + Send>;

fn carried(asked: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for name in CARRIED {
        for value in asked.get_all(&name) {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}

fn spdy(of: &'static str) -> HeaderMap {
    let pairs = [(CONNECTION, "Upgrade"), (UPGRADE, SPDY), (STREAM_PROTOCOL, of)];
    pairs.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect()
}

/// How a client is told that it may speak WebSocket.
fn agreed(asked: &HeaderMap, protocol: &'static str) -> Result<HeaderMap, Refusal> {
    if asked.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(bad("only version 13 of WebSocket is spoken here".to_owned()));
    }
    let key = asked.get(SEC_WEBSOCKET_KEY).ok_or_else(|| bad("there is no Sec-WebSocket-Key".to_owned()))?;
    let key = [key.as_bytes(), proto::websocket::KEY_SUFFIX.as_bytes()].concat();
    let accepted = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &key));
    let accepted = HeaderValue::from_str(&accepted).map_err(anyhow::Error::from)?;
    let mut headers = HeaderMap::new();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accepted);
    if !protocol.is_empty() {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455, section 1.3.
    #[test]
    fn the_handshake() {
        let mut asked = HeaderMap::new();
        asked.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        asked.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        let agreed = agreed(&asked, "chat").map_err(|refusal| refusal.words).unwrap();
        assert_eq!(agreed[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(agreed[SEC_WEBSOCKET_PROTOCOL], "chat");
    }
}
