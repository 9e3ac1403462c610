//! Removes Jobs some time after they are over.

use std::time::Duration;

use anyhow::Context as _;
use client::k8s_openapi::api::batch::v1::Job;
use client::kube::api::{DeleteParams, Preconditions};
use client::kube::{Api, Client};
use client::object::found;
use client::{Cache, Key, Next, Queue};
use jiff::{SignedDuration, Timestamp};

use crate::job::plan::finished_at;
use crate::scene::{Scene, now, wake_self};
use crate::table::Reconciler;

struct State {
    client: Client,
    jobs: Cache<Job>,
}

pub(crate) fn build(scene: &Scene) -> anyhow::Result<Option<Reconciler>> {
    let jobs = scene.caches.of::<Job>();
    let queue = Queue::default();
    wake_self(&jobs, &queue);
    let state = State { client: scene.client.clone(), jobs };
    Ok(Some(Reconciler::new(queue, state, |state, key| async move { state.reconcile(&key).await })))
}

/// How long a Job may still stay; `None` where it may stay for ever or is going.
fn left(job: &Job, now: Timestamp) -> Option<Duration> {
    let seconds = job.spec.as_ref()?.ttl_seconds_after_finished?;
    let end = finished_at(job)?.saturating_add(SignedDuration::from_secs(seconds.into())).ok()?;
    job.metadata
        .deletion_timestamp
        .is_none()
        .then(|| Duration::try_from(end.duration_since(now)).unwrap_or_default())
}

impl State {
    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(left_in_cache) = self.jobs.get(key).and_then(|job| left(&job, now())) else {
            return Ok(Next::Wait);
        };
        if !left_in_cache.is_zero() {
            return Ok(Next::After(left_in_cache));
        }
        // The time may have been extended while the cache was behind.
        let api: Api<Job> = Api::namespaced(self.client.clone(), &key.namespace);
        let live = found(api.get(&key.name).await).context("could not read the Job")?;
        match live.as_ref().and_then(|job| left(job, now())) {
            None => return Ok(Next::Wait),
            Some(left) if !left.is_zero() => return Ok(Next::After(left)),
            Some(_) => {}
        }
        let only_this = Preconditions { uid: live.and_then(|job| job.metadata.uid), resource_version: None };
        let params = DeleteParams { preconditions: Some(only_this), ..DeleteParams::foreground() };
        found(api.delete(&key.name, &params).await)
            .map(|_| Next::Wait)
            .context("could not remove the finished Job")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn how_long_a_job_stays() {
        let job = |ttl: Option<i32>, status: &str| -> Job {
            serde_json::from_value(json!({"spec": {"ttlSecondsAfterFinished": ttl, "template": {}},
                "status": {"conditions": [{"type": "Complete", "status": status,
                    "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}))
            .unwrap()
        };
        let now = "2026-01-01T00:00:10Z".parse().unwrap();
        let cases = [
            (None, "True", None),
            (Some(5), "True", Some(0)),
            (Some(30), "True", Some(20)),
            (Some(5), "False", None),
        ];
        for (ttl, status, expected) in cases {
            assert_eq!(left(&job(ttl, status), now), expected.map(Duration::from_secs), "{ttl:?} {status}");
        }
    }
}
