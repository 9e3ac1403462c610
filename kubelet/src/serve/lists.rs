//! What runs here, as a list.

use client::k8s_openapi::List;
use client::k8s_openapi::api::core::v1::Pod;
use http::Response;

use super::{Body, Call, json};
use crate::pod;

/// The pods of this node with their latest status, as a `PodList`.
pub async fn pods(call: Call) -> Response<Body> {
    let items: Vec<Pod> = call
        .sources
        .all()
        .into_iter()
        .map(|found| {
            let status = call.agent.reports.status(&pod::uid(&found));
            let mut found = Pod::clone(&found);
            found.status = status.or(found.status);
            found
        })
        .collect();
    json(&List::<Pod> { items, ..List::default() })
}
