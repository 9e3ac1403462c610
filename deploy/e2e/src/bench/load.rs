//! Durable creates per second through the API: sixteen connections, on our datastore and on etcd, side by side.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::json;
use xtask::cluster::{Cluster, clear};
use xtask::report::Step;

use super::{Figure, told};
use crate::session::Identity;

/// How many connections ask at once.
const CONNECTIONS: usize = 16;

/// How long they ask.
const SPAN: Duration = Duration::from_secs(10);

/// The stores, and how a server is told to use them.
const STORES: &[(&str, &[&str])] =
    &[("our datastore", &[]), ("etcd", &["--datastore-endpoint", "http://127.0.0.1:2379"])];

/// A control plane alone, and etcd beside it where that is asked for.
const SERVICE: &str = r#"data=$1; shift
case "$*" in *2379*) etcd --data-dir "$data" --log-level error & ;; esac
exec "$@" --disable-agent"#;

pub(super) fn measure(cluster: &Cluster) -> Result<Vec<Figure>> {
    let mut figures: Vec<Figure> = Vec::new();
    for (store, flags) in STORES {
        figures.extend(told(&format!("creates on {store}"), || {
            let rate = one(cluster, flags);
            clear(&cluster.site)?;
            std::fs::remove_dir_all(&cluster.hosts[0].folder).context("could not remove the host's files")?;
            Ok(vec![Figure::new(format!("ConfigMap creates on {store}"), rate?, "a second").more_is_better()])
        })?);
    }
    Ok(figures)
}

fn one(cluster: &Cluster, flags: &[&str]) -> Result<f64> {
    let host = &cluster.hosts[0];
    drop(std::fs::remove_dir_all(&host.folder));
    cluster.prepare()?;
    let data = host.folder.join("etcd").display().to_string();
    let mut words: Vec<String> = ["sh", "-c", SERVICE, "service", &data].map(str::to_owned).into();
    words.extend(cluster.service(host));
    words.extend(flags.iter().map(|flag| (*flag).to_owned()));
    host.start(&cluster.site, &words)?;
    cluster.await_api(&Step::begin("control plane"))?;
    let identity = Identity::of(&cluster.kubectl)?;
    let done = Arc::new(AtomicUsize::new(0));
    let begun = SystemTime::now();
    let threads: Vec<_> = (0..CONNECTIONS)
        .map(|thread| {
            let (identity, done) = (identity.clone(), Arc::clone(&done));
            std::thread::spawn(move || create(&identity, thread, begun, &done))
        })
        .collect();
    for thread in threads {
        thread.join().map_err(|_| anyhow!("a connection's thread panicked"))??;
    }
    let took = begun.elapsed().context("the clock went back")?.as_secs_f64();
    Ok(f64::from(u32::try_from(done.load(Ordering::Relaxed))?) / took)
}

/// Creates ConfigMaps with 512 bytes of data until the time is over.
fn create(identity: &Identity, thread: usize, begun: SystemTime, done: &AtomicUsize) -> Result<()> {
    let mut session = identity.connect()?;
    let mut number = 0;
    while begun.elapsed().unwrap_or(SPAN) < SPAN {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": format!("load-{thread}-{number}")},
            "data": {"value": "x".repeat(512)},
        });
        let (status, body) =
            session.request("POST", "/api/v1/namespaces/default/configmaps", &object.to_string())?;
        ensure!(status == 201, "a ConfigMap was refused with {status}: {body}");
        done.fetch_add(1, Ordering::Relaxed);
        number += 1;
    }
    Ok(())
}
