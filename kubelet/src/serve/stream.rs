//! Commands, attachments and port forwards: `/exec`, `/attach` and `/portForward`, handed on to the runtime.
//!
//! The runtime names an address for each stream (CRI), at which it speaks the protocols that `kubectl` speaks over
//! SPDY; a client that asks for those is connected to it byte for byte.

use std::sync::Arc;

use anyhow::Context as _;
use http::header::{CONNECTION, HeaderMap, HeaderName, UPGRADE};
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use proto::cri::v1 as cri;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Code;

use super::{Body, Call, text};
use crate::pod::observed::Observed;
use crate::pod::{self, member};
use crate::runtime::Failure;
use crate::runtime::observe::observe;

mod ask;
mod dial;
mod relay;

use ask::{Ask, Place};

/// Streams under way at once: each holds two sockets and up to 128 KiB of buffers, 32 MiB in all.
const SESSIONS: usize = 256;

/// What of a client's request concerns the runtime: how to change over, and to what.
const CARRIED: [HeaderName; 7] = [
    CONNECTION,
    UPGRADE,
    HeaderName::from_static("x-stream-protocol-version"),
    HeaderName::from_static("sec-websocket-extensions"),
    HeaderName::from_static("sec-websocket-key"),
    HeaderName::from_static("sec-websocket-protocol"),
    HeaderName::from_static("sec-websocket-version"),
];

/// Room for streams; shared by all ways in.
#[derive(Debug, Clone)]
pub struct Sessions(Arc<Semaphore>);

impl Default for Sessions {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(SESSIONS)))
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
        let ask = Ask::parse(|key| call.query(key))
            .map_err(|words| Refusal::new(StatusCode::BAD_REQUEST, words))?;
        let container = running(&call, &place).await?;
        let request = cri::ExecRequest {
            container_id: container,
            cmd: call.queries("command").collect(),
            tty: ask.tty,
            stdin: ask.stdin,
            stdout: ask.stdout,
            stderr: ask.stderr,
        };
        let url = call.agent.runtime.exec(request).await?;
        connect(call, &url).await
    };
    answer.await.unwrap_or_else(refused)
}

/// Joins a container's own input and output.
pub async fn attach(call: Call) -> Response<Body> {
    let answer = async {
        let place = Place::of_container(&call.rest).ok_or_else(not_a_path)?;
        let ask = Ask::parse(|key| call.query(key))
            .map_err(|words| Refusal::new(StatusCode::BAD_REQUEST, words))?;
        let container = running(&call, &place).await?;
        // Whether there is a terminal was settled when the container was made.
        let tty = call.sources.named(place.namespace, place.pod).is_some_and(|pod| {
            member(&pod::spec(&pod), place.container).is_some_and(|it| it.container.tty == Some(true))
        });
        let request = cri::AttachRequest {
            container_id: container,
            tty,
            stdin: ask.stdin,
            stdout: ask.stdout,
            stderr: ask.stderr && !tty,
        };
        let url = call.agent.runtime.attach(request).await?;
        connect(call, &url).await
    };
    answer.await.unwrap_or_else(refused)
}

/// Connects to ports of a pod.
pub async fn port_forward(call: Call) -> Response<Body> {
    let answer = async {
        let place = Place::of_pod(&call.rest).ok_or_else(not_a_path)?;
        let ports =
            ask::ports(call.queries("port")).map_err(|words| Refusal::new(StatusCode::BAD_REQUEST, words))?;
        let observed = look(&call, &place).await?;
        let sandbox = observed.sandbox().ok_or_else(|| {
            let words = format!("pod not found (\"{}_{}\")", place.pod, place.namespace);
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, words)
        })?;
        let request = cri::PortForwardRequest { pod_sandbox_id: sandbox.id.clone(), port: ports };
        let url = call.agent.runtime.port_forward(request).await?;
        connect(call, &url).await
    };
    answer.await.unwrap_or_else(refused)
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
    let sessions = Arc::clone(&call.agent.sessions.0);
    sessions.try_acquire_owned().map_err(|_| {
        let words = format!("too many streams: this node carries {SESSIONS} at once; try again later");
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, words)
    })
}

/// Connects the client with the runtime's address and lets them speak.
async fn connect(mut call: Call, url: &str) -> Result<Response<Body>, Refusal> {
    let permit = room(&call)?;
    let mut headers = HeaderMap::new();
    for name in CARRIED {
        for value in call.request.headers().get_all(&name) {
            headers.append(name.clone(), value.clone());
        }
    }
    let method = call.request.method().clone();
    let mut answer = dial::dial(&call.agent.context, url, method, headers).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer.map(|body| body.map_err(std::io::Error::other).boxed()));
    }
    let runtime = hyper::upgrade::on(&mut answer);
    let client = hyper::upgrade::on(&mut call.request);
    call.agent.context.spawn_isolated("stream", async move {
        let (client, runtime) = tokio::try_join!(client, runtime).context("a stream did not come to be")?;
        relay::relay(TokioIo::new(client), TokioIo::new(runtime)).await?;
        drop(permit);
        Ok(())
    });
    let mut response = text(StatusCode::SWITCHING_PROTOCOLS, "");
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    Ok(response)
}
