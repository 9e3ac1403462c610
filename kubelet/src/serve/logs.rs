//! The logs of containers: `/containerLogs/{namespace}/{pod}/{container}`.

use std::sync::Arc;

use bytes::Bytes;
use client::k8s_openapi::api::core::v1::Pod;
use futures::StreamExt;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Body, Call, text};
use crate::agent::Agent;
use crate::pod::observed::{Observed, Seen, State};
use crate::pod::{self, member};
use crate::runtime::observe::observe;

mod format;
mod read;

use format::Options;

/// Chunks of a log under way to a slow reader: 16 of at most 32 KiB.
const CHUNKS: usize = 16;

/// Answers with a container's log.
pub async fn serve(call: Call) -> Response<Body> {
    let [namespace, name, container] = &call.rest[..] else {
        return text(StatusCode::NOT_FOUND, "the path is /containerLogs/{namespace}/{pod}/{container}\n");
    };
    let options = match Options::parse(|key| call.query(key)) {
        Ok(options) => options,
        Err(message) => return text(StatusCode::UNPROCESSABLE_ENTITY, message),
    };
    let Some(pod) = call.sources.named(namespace, name) else {
        return text(StatusCode::NOT_FOUND, format!("pod \"{name}\" not found\n"));
    };
    if member(&pod::spec(&pod), container).is_none() {
        return text(
            StatusCode::NOT_FOUND,
            format!("container \"{container}\" not found in pod \"{name}\"\n"),
        );
    }
    let uid = pod::runtime_uid(&pod);
    let observed = match observe(&call.agent.runtime, &uid, &Observed::default()).await {
        Ok(observed) => observed,
        Err(failure) => return text(StatusCode::INTERNAL_SERVER_ERROR, failure.to_string()),
    };
    match choose(&call.agent, &pod, &uid, &observed, container, options.previous) {
        Ok(run) => stream(&call.agent, run.clone(), options),
        Err(message) => text(StatusCode::BAD_REQUEST, message),
    }
}

/// The run whose log is meant.
fn choose<'a>(
    agent: &Agent,
    pod: &Pod,
    uid: &str,
    observed: &'a Observed,
    container: &str,
    previous: bool,
) -> Result<&'a Seen, String> {
    let place = format!("container \"{container}\" in pod \"{}\"", pod::name(pod));
    let latest = observed.latest(container).filter(|seen| seen.state != State::Created);
    if previous {
        let before = observed.previous(container).map(|(seen, _)| seen);
        return before.ok_or_else(|| format!("previous terminated {place} not found"));
    }
    if let Some(latest) = latest {
        return Ok(latest);
    }
    let status = agent.reports.status(uid);
    let statuses = status.iter().flat_map(|status| {
        let lists = [
            &status.container_statuses,
            &status.init_container_statuses,
            &status.ephemeral_container_statuses,
        ];
        lists.into_iter().flatten().flatten()
    });
    let mut own = statuses.filter(|status| status.name == container);
    let waiting = own.next().and_then(|status| status.state.as_ref()?.waiting.as_ref()?.reason.clone());
    Err(match waiting.as_deref() {
        Some("ErrImagePull") => format!("{place} is waiting to start: image can't be pulled"),
        Some("ImagePullBackOff") => format!("{place} is waiting to start: trying and failing to pull image"),
        Some(reason) => format!("{place} is waiting to start: {reason}"),
        None => format!("{place} is not available"),
    })
}

fn stream(agent: &Arc<Agent>, run: Seen, options: Options) -> Response<Body> {
    let (chunks, received) = mpsc::channel::<Result<Bytes, std::io::Error>>(CHUNKS);
    let runtime = agent.runtime.clone();
    agent.context.spawn_isolated("log", async move {
        match read::send(&runtime, &run, options, &chunks).await {
            // The reader went away, which is its right.
            Ok(()) => {}
            Err(error) => drop(chunks.send(Err(error)).await),
        }
        Ok(())
    });
    let frames = ReceiverStream::new(received).map(|chunk| chunk.map(Frame::data));
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    let plain = http::HeaderValue::from_static("text/plain");
    response.headers_mut().insert(http::header::CONTENT_TYPE, plain);
    response
}
