//! From the start of the first process: until the API answers, the node is ready, the demo answers.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use xtask::cluster::Cluster;
use xtask::patience::until;
use xtask::report::Step;
use xtask::up;

use super::{Figure, PATIENCE, demo_answers, told};
use crate::session::Identity;

/// Starts the cluster and the demo, and takes the demo away again.
pub(super) fn measure(cluster: &Cluster) -> Result<Vec<Figure>> {
    told("start", || {
        cluster.prepare()?;
        let begun = SystemTime::now();
        let since = || begun.elapsed().map(|time| time.as_secs_f64()).context("the clock went back");
        cluster.start(&cluster.hosts[0])?;
        // The kubeconfig is written once the API server can be reached with it.
        let step = Step::begin("start");
        let written = cluster.hosts[0].folder.join("admin.yaml");
        until("the kubeconfig is written", PATIENCE, || Ok(written.exists().then_some(())))?;
        cluster.publish()?;
        let identity = Identity::of(&cluster.kubectl)?;
        let ready = || {
            let answer = identity.connect().and_then(|mut session| session.request("GET", "/readyz", ""));
            Ok(answer.ok().filter(|(status, _)| *status == 200).map(drop))
        };
        until("the API server is ready", PATIENCE, ready)?;
        let api = since()?;
        cluster.await_nodes(&step)?;
        let node = since()?;
        cluster.kubectl.feed(&["apply", "-f", "-"], up::DEMO)?;
        until("the demo answers", PATIENCE, || Ok(demo_answers(cluster)))?;
        let demo = since()?;
        cluster.kubectl.run(&["delete", "namespace", "demo", "--timeout=120s"])?;
        Ok(vec![
            Figure::new("exec to /readyz", api, "s").target(0.3),
            Figure::new("exec to node Ready", node, "s").target(2.0),
            Figure::new("exec to demo answering", demo, "s"),
        ])
    })
}

/// Long enough for what follows a start or a deletion to be over.
pub(super) const SETTLE: Duration = Duration::from_secs(15);
