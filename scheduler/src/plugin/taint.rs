//! A tainted node takes only pods that tolerate its taints.

use client::k8s_openapi::api::core::v1::{Taint, Toleration};

use super::{Refusal, Room, Wanted};

pub(super) fn filter(wanted: &Wanted<'_>, room: &Room) -> Result<(), Refusal> {
    let repels = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
    let tolerated = |taint: &Taint| is_tolerated(wanted.spec.tolerations.iter().flatten(), taint);
    if room.taints().iter().filter(repels).all(tolerated) {
        return Ok(());
    }
    Err(Refusal::lasting("node(s) had untolerated taint(s)"))
}

/// How many taints the pod would rather avoid.
pub(super) fn score(wanted: &Wanted<'_>, room: &Room) -> i64 {
    let discouraging = room.taints().iter().filter(|taint| taint.effect == "PreferNoSchedule");
    let is_free = |toleration: &&Toleration| {
        toleration.effect.as_deref().is_none_or(|effect| effect.is_empty() || effect == "PreferNoSchedule")
    };
    let disliked = discouraging
        .filter(|taint| !is_tolerated(wanted.spec.tolerations.iter().flatten().filter(is_free), taint));
    i64::try_from(disliked.count()).unwrap_or(i64::MAX)
}

/// Whether one of the tolerations covers a taint.
pub(super) fn is_tolerated<'a>(tolerations: impl IntoIterator<Item = &'a Toleration>, taint: &Taint) -> bool {
    tolerations.into_iter().any(|toleration| tolerates(toleration, taint))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (key, effect) = (text(&toleration.key), text(&toleration.effect));
    if !(effect.is_empty() || effect == taint.effect) || !(key.is_empty() || key == taint.key) {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or_default() {
        "Exists" => true,
        "" | "Equal" => !key.is_empty() && text(&toleration.value) == text(&taint.value),
        _ => false,
    }
}
