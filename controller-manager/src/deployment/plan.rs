//! What a Deployment does next: which ReplicaSets are made, sized and removed, and what its status says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use client::k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use jiff::Timestamp;

use super::revision;
use super::rolling::{Bounds, Sized};
use super::status::{self, Find};
use crate::pod::annotation;

/// A write that the plan asks for.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    /// Make the ReplicaSet of the current template.
    Create(Box<ReplicaSet>),
    /// Change annotations and the ready time of the current ReplicaSet.
    Annotate { set: Arc<ReplicaSet>, annotations: BTreeMap<String, String>, min_ready: i32 },
    /// Give a ReplicaSet another size, and note for which size of the Deployment.
    Scale { set: Arc<ReplicaSet>, to: i32 },
    /// Remove a ReplicaSet that history no longer needs.
    Delete(Arc<ReplicaSet>),
    /// Write the revision on the Deployment itself.
    Revision(String),
}

/// Everything a sync does.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
    pub(super) status: DeploymentStatus,
    pub(super) next: Option<Duration>,
}

struct Rollout<'a> {
    deployment: &'a Deployment,
    bounds: Bounds,
    actions: Vec<Action>,
    find: Find,
    /// The current ReplicaSet as it will be after the actions so far.
    current: Option<Sized>,
    old: Vec<Sized>,
    now: Timestamp,
}

/// Plans one sync. `occupied` are the uids of the ReplicaSets of which a pod still runs.
pub(super) fn plan(
    deployment: &Deployment,
    sets: &[Arc<ReplicaSet>],
    occupied: &BTreeSet<String>,
    now: Timestamp,
) -> Plan {
    let current = revision::current(deployment, sets);
    let is_current =
        |set: &Arc<ReplicaSet>| Some(&set.metadata.uid) == current.as_ref().map(|c| &c.metadata.uid);
    let mut rollout = Rollout {
        deployment,
        bounds: Bounds::of(deployment),
        actions: Vec::new(),
        find: Find::Nothing,
        old: sets.iter().filter(|set| !is_current(set)).cloned().map(Sized::new).collect(),
        current: current.map(Sized::new),
        now,
    };
    let paused = deployment.spec.as_ref().and_then(|spec| spec.paused).unwrap_or(false);
    if deployment.metadata.deletion_timestamp.is_some() {
        return rollout.finish(sets, false);
    }
    if paused || rollout.resized() {
        rollout.number();
        if !rollout.annotates() {
            rollout.rescale();
        }
        if paused {
            rollout.clean();
        }
        return rollout.finish(sets, false);
    }
    if rollout.bounds.rolling {
        rollout.roll();
    } else {
        rollout.recreate(occupied);
    }
    if status::is_complete(deployment, &deployment.status.clone().unwrap_or_default()) {
        rollout.clean();
    }
    rollout.finish(sets, true)
}

impl Rollout<'_> {
    /// Whether an active ReplicaSet was sized for another size of the Deployment.
    fn resized(&self) -> bool {
        self.current.iter().chain(&self.old).filter(|set| set.replicas > 0).any(|set| {
            annotation(&set.set.metadata, revision::DESIRED)
                .and_then(|text| text.parse::<i32>().ok())
                .is_some_and(|desired| desired != self.bounds.desired)
        })
    }

    /// Gives the current ReplicaSet, if there is one, its number and annotations.
    fn number(&mut self) {
        let old: Vec<_> = self.old.iter().map(|set| Arc::clone(&set.set)).collect();
        let next = revision::next(&old);
        let Some(current) = &self.current else { return };
        self.find = Find::Found;
        let (annotations, number) = revision::missing(self.deployment, &current.set, next);
        let min_ready = self.deployment.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
        let had = current.set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
        if !annotations.is_empty() || min_ready != had {
            let set = Arc::clone(&current.set);
            self.actions.push(Action::Annotate { set, annotations, min_ready });
        }
        self.publish(number);
    }

    fn publish(&mut self, number: i64) {
        let number = number.to_string();
        if annotation(&self.deployment.metadata, revision::REVISION) != Some(&number) {
            self.actions.push(Action::Revision(number));
        }
    }

    /// Finds or makes the current ReplicaSet.
    fn ensure(&mut self) {
        if self.current.is_some() {
            return self.number();
        }
        let old: Vec<_> = self.old.iter().map(|set| Arc::clone(&set.set)).collect();
        let number = revision::next(&old);
        let all = self.old.iter().map(|set| set.replicas).sum();
        let replicas = self.bounds.grown(0, all);
        let set = revision::fresh(self.deployment, number, replicas, self.bounds.maximum());
        self.find = Find::Created;
        self.current = Some(Sized::new(Arc::new(set.clone())));
        self.actions.push(Action::Create(Box::new(set)));
        self.publish(number);
    }

    fn resize_current(&mut self, to: i32) -> bool {
        let Some(current) = &mut self.current else { return false };
        if current.replicas == to {
            return false;
        }
        current.replicas = to;
        self.actions.push(Action::Scale { set: Arc::clone(&current.set), to });
        true
    }

    fn resize_old(&mut self, before: &[Sized]) {
        for set in &self.old {
            let had = before.iter().find(|had| had.set.metadata.uid == set.set.metadata.uid);
            if had.is_some_and(|had| had.replicas != set.replicas) {
                self.actions.push(Action::Scale { set: Arc::clone(&set.set), to: set.replicas });
            }
        }
    }

    /// Whether the current ReplicaSet is annotated in this sync; its size then waits for the next one, which
    /// sees the annotated version.
    fn annotates(&self) -> bool {
        self.actions.iter().any(|action| matches!(action, Action::Annotate { .. }))
    }

    fn roll(&mut self) {
        self.ensure();
        if self.annotates() {
            return;
        }
        let Some(current) = self.current.clone() else { return };
        let desired = self.bounds.desired;
        let to = match current.replicas.cmp(&desired) {
            std::cmp::Ordering::Equal | std::cmp::Ordering::Greater => desired,
            std::cmp::Ordering::Less => {
                let all = self.old.iter().map(|set| set.replicas).sum::<i32>() + current.replicas;
                self.bounds.grown(current.replicas, all)
            }
        };
        if self.resize_current(to) {
            return;
        }
        let before = self.old.clone();
        self.bounds.shrink(&current, &mut self.old);
        self.resize_old(&before);
    }

    fn recreate(&mut self, occupied: &BTreeSet<String>) {
        if self.current.is_some() {
            self.number();
        }
        let before = self.old.clone();
        for set in &mut self.old {
            set.replicas = 0;
        }
        if before.iter().any(|set| set.replicas > 0) {
            return self.resize_old(&before);
        }
        let runs = |set: &Sized| {
            set.set.status.as_ref().is_some_and(|status| status.replicas > 0)
                || set.set.metadata.uid.as_ref().is_some_and(|uid| occupied.contains(uid))
        };
        if self.old.iter().any(runs) {
            return;
        }
        if self.current.is_none() {
            self.ensure();
        }
        if !self.annotates() {
            self.resize_current(self.bounds.desired);
        }
    }

    /// Follows a change of the Deployment's size, also while it is paused or a rollout is under way.
    fn rescale(&mut self) {
        if let Some((is_current, at)) = self.only() {
            let desired = self.bounds.desired;
            if is_current {
                self.resize_or_note();
            } else {
                let before = self.old.clone();
                self.old[at].replicas = desired;
                self.resize_old(&before);
            }
            return;
        }
        let before = self.old.clone();
        if self.is_saturated() {
            for set in &mut self.old {
                set.replicas = 0;
            }
            return self.resize_old(&before);
        }
        if self.bounds.rolling {
            self.rescale_in_proportion();
        }
    }

    /// The one ReplicaSet that matters: the only active one, or where none is active the current or latest.
    fn only(&self) -> Option<(bool, usize)> {
        let active: Vec<usize> = (0..self.old.len()).filter(|at| self.old[*at].replicas > 0).collect();
        let current_active = self.current.as_ref().is_some_and(|set| set.replicas > 0);
        match (current_active, active.as_slice()) {
            (true, []) => Some((true, 0)),
            (false, [one]) => Some((false, *one)),
            (false, []) if self.current.is_some() => Some((true, 0)),
            (false, []) => {
                let latest = (0..self.old.len())
                    .max_by_key(|at| self.old[*at].set.metadata.creation_timestamp.as_ref().map(|t| t.0));
                latest.map(|at| (false, at))
            }
            _ => None,
        }
    }

    /// Sizes the current ReplicaSet as asked, or where the size fits notes for which size that is.
    fn resize_or_note(&mut self) {
        let desired = self.bounds.desired;
        if self.resize_current(desired) {
            return;
        }
        self.note_sizes();
    }

    /// Scales ReplicaSets whose size stays but whose notes are out of date.
    fn note_sizes(&mut self) {
        let sizes = revision::sizes(self.bounds.desired, self.bounds.maximum());
        for set in self.current.iter().chain(&self.old).filter(|set| set.replicas > 0) {
            let stale = sizes.iter().any(|(name, value)| annotation(&set.set.metadata, name) != Some(value));
            let scaled = self.actions.iter().any(
                |action| matches!(action, Action::Scale { set: done, .. } if Arc::ptr_eq(done, &set.set)),
            );
            if stale && !scaled {
                self.actions.push(Action::Scale { set: Arc::clone(&set.set), to: set.replicas });
            }
        }
    }

    fn is_saturated(&self) -> bool {
        let Some(current) = &self.current else { return false };
        let noted = annotation(&current.set.metadata, revision::DESIRED).and_then(|text| text.parse().ok());
        let available = current.set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0);
        current.replicas == self.bounds.desired
            && noted == Some(self.bounds.desired)
            && available == self.bounds.desired
    }

    fn rescale_in_proportion(&mut self) {
        let mut sets: Vec<Sized> =
            self.current.iter().chain(&self.old).filter(|set| set.replicas > 0).cloned().collect();
        self.bounds.spread(self.deployment, &mut sets);
        let before = self.old.clone();
        let mut to = None;
        for set in sets {
            match self.old.iter_mut().find(|old| old.set.metadata.uid == set.set.metadata.uid) {
                Some(old) => old.replicas = set.replicas,
                None => to = Some(set.replicas),
            }
        }
        self.resize_old(&before);
        if let Some(to) = to {
            self.resize_current(to);
        }
        self.note_sizes();
    }

    /// Removes the oldest ReplicaSets beyond the history that is kept.
    fn clean(&mut self) {
        let limit = self.deployment.spec.as_ref().and_then(|spec| spec.revision_history_limit);
        let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { return };
        let mut alive: Vec<_> =
            self.old.iter().filter(|set| set.set.metadata.deletion_timestamp.is_none()).collect();
        let surplus = alive.len().saturating_sub(limit);
        alive.sort_by_key(|set| revision::number(&set.set.metadata));
        for set in alive.into_iter().take(surplus) {
            let status = set.set.status.clone().unwrap_or_default();
            let idle = status.replicas == 0
                && set.replicas == 0
                && status.observed_generation >= set.set.metadata.generation;
            if idle {
                self.actions.push(Action::Delete(Arc::clone(&set.set)));
            }
        }
    }

    fn finish(self, sets: &[Arc<ReplicaSet>], judge: bool) -> Plan {
        let current = self.current.as_ref().map(|current| &*current.set);
        let conditions = status::before(self.deployment, self.find, current, self.now);
        let mut all = sets.to_vec();
        if self.find == Find::Created {
            all.extend(self.current.iter().map(|current| Arc::clone(&current.set)));
        }
        let status = status::counted(self.deployment, &all, current, conditions, self.now);
        let (status, next) = if judge {
            status::judged(self.deployment, &all, current, status, self.now)
        } else {
            (status, None)
        };
        Plan { actions: self.actions, status, next }
    }
}
