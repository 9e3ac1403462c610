//! The arithmetic of a rollout: how large each ReplicaSet may be at this moment.

use std::cmp::Reverse;
use std::sync::Arc;

use client::k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use client::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::revision;
use crate::pod::annotation;

/// How far a rollout may go above and below the size that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// How many pods are asked for.
    pub(super) desired: i32,
    /// How many more there may be.
    pub(super) surge: i32,
    /// How many of those asked for may be unavailable.
    pub(super) unavailable: i32,
    /// Whether pods are replaced gradually.
    pub(super) rolling: bool,
}

/// A ReplicaSet and the size the plan gives it.
#[derive(Debug, Clone)]
pub(super) struct Sized {
    pub(super) set: Arc<ReplicaSet>,
    pub(super) replicas: i32,
}

impl Sized {
    pub(super) fn new(set: Arc<ReplicaSet>) -> Self {
        let replicas = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        Self { set, replicas }
    }

    fn available(&self) -> i32 {
        self.set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
    }

    fn age(&self) -> impl Ord + use<> {
        (self.set.metadata.creation_timestamp.as_ref().map(|time| time.0), self.set.metadata.name.clone())
    }
}

/// A number, or a percentage of `total` rounded up or down; what is neither counts as nothing.
pub(crate) fn resolve(value: &IntOrString, total: i32, up: bool) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i64 = text.strip_suffix('%').and_then(|digits| digits.parse().ok()).unwrap_or(0);
            let hundredths = percent * i64::from(total) + if up { 99 } else { 0 };
            i32::try_from(hundredths / 100).unwrap_or(i32::MAX)
        }
    }
}

impl Bounds {
    pub(super) fn of(deployment: &Deployment) -> Self {
        let spec = deployment.spec.as_ref();
        let desired = spec.and_then(|spec| spec.replicas).unwrap_or(1);
        let strategy = spec.and_then(|spec| spec.strategy.as_ref());
        if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate") {
            return Self { desired, surge: 0, unavailable: 0, rolling: false };
        }
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let usual = IntOrString::String("25%".to_owned());
        let part = |value: Option<&IntOrString>, up| resolve(value.unwrap_or(&usual), desired, up);
        let surge = part(rolling.and_then(|rolling| rolling.max_surge.as_ref()), true);
        let mut unavailable = part(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()), false);
        if surge == 0 && unavailable == 0 {
            // Both may round to nothing; then the rollout could never move.
            unavailable = 1;
        }
        Self { desired, surge, unavailable: unavailable.min(desired), rolling: true }
    }

    pub(super) const fn maximum(&self) -> i32 {
        self.desired + self.surge
    }

    /// How large the current ReplicaSet may become, given what all others have.
    pub(super) fn grown(&self, current: i32, all: i32) -> i32 {
        if !self.rolling {
            return self.desired;
        }
        let room = (self.maximum() - all).max(0);
        current + room.min(self.desired - current)
    }

    /// Shrinks the old ReplicaSets as far as enough pods stay available; first those whose pods are unhealthy.
    pub(super) fn shrink(&self, current: &Sized, old: &mut [Sized]) {
        if old.iter().all(|set| set.replicas == 0) {
            return;
        }
        let minimum = self.desired - self.unavailable;
        let all: i32 = old.iter().map(|set| set.replicas).sum::<i32>() + current.replicas;
        let current_unavailable = current.replicas - current.available();
        let mut spare = all - minimum - current_unavailable;
        if spare <= 0 {
            return;
        }
        old.sort_by_key(Sized::age);
        for set in old.iter_mut() {
            let unhealthy = (set.replicas - set.available()).clamp(0, spare.max(0));
            set.replicas -= unhealthy;
            spare -= unhealthy;
        }
        let available: i32 = old.iter().map(Sized::available).sum::<i32>() + current.available();
        let mut spare = available - minimum;
        for set in old.iter_mut() {
            let step = set.replicas.clamp(0, spare.max(0));
            set.replicas -= step;
            spare -= step;
        }
    }

    /// Spreads a change of size over all ReplicaSets in proportion, so that a rollout under way or paused keeps
    /// its mixture.
    pub(super) fn spread(&self, deployment: &Deployment, sets: &mut [Sized]) {
        let all: i32 = sets.iter().map(|set| set.replicas).sum();
        let allowed = if self.desired > 0 { self.maximum() } else { 0 };
        let change = allowed - all;
        // The largest first; of equal ones, the newest is favoured when growing, the oldest when shrinking.
        sets.sort_by_key(Sized::age);
        if change > 0 {
            sets.reverse();
        }
        sets.sort_by_key(|set| Reverse(set.replicas));
        if change == 0 {
            return;
        }
        let mut done = 0;
        for set in sets.iter_mut().filter(|set| set.replicas > 0) {
            let left = change - done;
            let share = self.share(deployment, set);
            let step = if change > 0 { share.min(left) } else { share.max(left) };
            set.replicas += step;
            done += step;
        }
        if let Some(first) = sets.first_mut() {
            first.replicas = (first.replicas + change - done).max(0);
        }
    }

    fn share(&self, deployment: &Deployment, set: &Sized) -> i32 {
        if self.desired == 0 {
            return -set.replicas;
        }
        let before = annotation(&set.set.metadata, revision::MAXIMUM)
            .and_then(|text| text.parse().ok())
            .filter(|before: &i32| *before > 0)
            .or_else(|| deployment.status.as_ref().and_then(|status| status.replicas))
            .filter(|before| *before > 0)
            .unwrap_or_else(|| self.maximum());
        let scaled = f64::from(set.replicas) * f64::from(self.maximum()) / f64::from(before);
        // In range: at most i32::MAX * 1, and saturating beyond.
        scaled.round() as i32 - set.replicas
    }
}
