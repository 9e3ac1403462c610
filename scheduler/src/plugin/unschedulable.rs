//! A cordoned node takes only pods that tolerate that.

use client::k8s_openapi::api::core::v1::Taint;

use super::taint::is_tolerated;
use super::{Refusal, Room, Wanted};

/// The taint that stands for being cordoned.
const KEY: &str = "node.kubernetes.io/unschedulable";

pub(super) fn filter(wanted: &Wanted<'_>, room: &Room) -> Result<(), Refusal> {
    if room.node.spec.as_ref().and_then(|spec| spec.unschedulable) != Some(true) {
        return Ok(());
    }
    let taint = Taint { key: KEY.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
    if is_tolerated(wanted.spec.tolerations.iter().flatten(), &taint) {
        return Ok(());
    }
    Err(Refusal::lasting("node(s) were unschedulable"))
}
