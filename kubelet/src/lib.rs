//! The node agent: runs the pods that are bound to its node through a CRI runtime and reports on them.
//!
//! Each pod has one task ([`pod::worker`]) that looks at what the runtime has, decides by a pure function
//! ([`pod::plan`]) and acts; [`pod::status`] says what is reported, and [`pod::report`] writes it. All that must
//! survive the kubelet is kept by the runtime, in labels and annotations, so a kubelet that comes back finds its pods.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use client::kube::Api;
use client::kube::runtime::watcher;
use client::{Cache, Queue, controller, event};
use daemon::{Context, Threads};

pub mod agent;
pub mod cgroup;
pub mod config;
pub mod hook;
pub mod hosts;
pub mod image;
pub mod node;
pub mod pleg;
pub mod pod;
pub mod probe;
pub mod quantity;
pub mod reference;
pub mod rotate;
pub mod runtime;
pub mod serve;
pub mod source;
pub mod sys;
pub mod volume;

use agent::{Agent, Bells};
use config::Settings;
use pod::manager::{Manager, Sources, feed};
use pod::report::{Reports, WRITERS};
use source::file;
use source::mirror::Mirrors;

/// The daemon's name.
pub const NAME: &str = "kubelet";

/// Runs the daemon from its command line.
pub fn main(args: Vec<String>) -> ExitCode {
    daemon::main(NAME, Threads::One, args, run)
}

/// Runs until drained. Pods go on without it.
///
/// # Errors
/// Where a flag's file cannot be used or an address cannot be listened on.
pub async fn run(settings: Settings, context: Context) -> anyhow::Result<()> {
    if let Some(address) = settings.serve.healthz {
        context.serve_admin(address).await?;
    }
    let client = match &settings.kubeconfig {
        Some(path) => Some(client::connect(path, "isopod-kubelet").await?),
        None => None,
    };
    std::fs::create_dir_all(&settings.layout.root)
        .with_context(|| format!("could not make {} (--root-dir)", settings.layout.root.display()))?;
    let node = node::Node::new(&settings, client.clone())?;
    let agent = assemble(&settings, &context, client.clone(), &node).await?;
    let queue: Queue<Arc<str>> = Queue::default();
    let sources = Sources { api: Cache::default(), files: file::Manifests::default() };
    feed(&sources, &queue);
    if let Some(folder) = settings.manifests.clone() {
        sources.files.reload(&folder, &settings.node.name, &queue);
        let following =
            file::follow(sources.files.clone(), folder, settings.node.name.clone(), queue.clone());
        context.spawn("manifests", following);
    }
    context.spawn("runtime events", pleg::run(Arc::clone(&agent)));
    context.spawn("log rotation", rotate::run(Arc::clone(&agent)));
    if let Some(client) = client {
        speak(&context, &agent, &sources, &client);
        context.spawn("node", node.run(Arc::clone(&agent)));
    }
    serve::start(&settings.serve, Arc::clone(&agent), sources.clone()).await?;
    let has_api = agent.client.is_some();
    let manager = Manager::new(Arc::clone(&agent), sources.clone(), queue);
    context.spawn("pods", async move {
        if has_api {
            sources.api.synced().await;
        }
        manager.run().await
    });
    context.finished().await
}

/// Gathers what all parts share; waits for the runtime, which may come up beside us.
async fn assemble(
    settings: &Settings,
    context: &Context,
    client: Option<client::kube::Client>,
    node: &node::Node,
) -> anyhow::Result<Arc<Agent>> {
    let gate = context.gate("container runtime");
    let runtime = runtime::Runtime::new(&settings.sockets)?;
    let version = tokio::select! {
        version = node::runtime_version(&runtime, &settings.sockets) => version?,
        () = async { context.drain().signaled().await } => anyhow::bail!("asked to finish before the runtime answered"),
    };
    drop(gate);
    let events = client.clone().map(|client| {
        let (recorder, writing) = event::recorder(client, "kubelet", &settings.node.name);
        context.spawn("events", writing);
        recorder
    });
    let bells = Bells::default();
    Ok(Arc::new(Agent {
        context: context.clone(),
        runtime_name: version.runtime_name,
        images: image::Images::new(settings.serialize_pulls),
        layout: settings.layout.clone(),
        around: node.surroundings(settings),
        node: settings.node.name.clone(),
        host_ips: node.ips().to_vec(),
        allocatable: node.allocatable(),
        references: reference::References::new(context, client.clone(), &bells),
        client,
        events,
        services: Cache::default(),
        reports: Reports::default(),
        sessions: serve::stream::Sessions::new(settings.serve.stream_idle),
        bells,
        runtime,
    }))
}

/// Starts what listens and talks to the API server.
fn speak(context: &Context, agent: &Arc<Agent>, sources: &Sources, client: &client::kube::Client) {
    let mine = watcher::Config::default().fields(&format!("spec.nodeName={}", agent.node));
    context.spawn("pod watch", sources.api.clone().follow(Api::all(client.clone()), mine));
    let all = watcher::Config::default();
    context.spawn("service watch", agent.services.clone().follow(Api::all(client.clone()), all));
    let (reporting, pods, api) = (Arc::clone(agent), sources.api.clone(), client.clone());
    context.spawn("reports", async move {
        let queue = reporting.reports.queue();
        let write = |uid: Arc<str>| {
            let (agent, pods, api) = (&reporting, &pods, &api);
            async move { agent.reports.write(api, pods, &uid).await }
        };
        controller::run("reports", queue, WRITERS, write).await
    });
    let mirrors = Mirrors {
        client: client.clone(),
        pods: sources.api.clone(),
        files: sources.files.clone(),
        node: agent.node.clone(),
    };
    let pictures = mirrors.queue();
    context.spawn("mirrors", async move {
        mirrors.pods.synced().await;
        controller::run("mirrors", pictures, 1, |key| {
            let mirrors = &mirrors;
            async move { mirrors.settle(&key).await }
        })
        .await
    });
}
