//! What `isopod server` and `isopod agent` do: files first, then processes.

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

use anyhow::Context as _;
use daemon::{Context, Threads};
use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};

use crate::config::{self, Agent, Node, Server, Vocabulary};
use crate::plan::{Scene, plan};
use crate::process::Launcher;
use crate::supervise::Crew;
use crate::{Programs, USAGE, authority, containerd, host, identity, join, mark, supervise};

/// Runs a server until it is asked to finish.
pub(crate) fn server(words: Vec<String>, programs: Programs) -> ExitCode {
    command(config::SERVER_VOCABULARY, words, move |settings, context| serve(settings, programs, context))
}

/// Runs an agent until it is asked to finish.
pub(crate) fn agent(words: Vec<String>, programs: Programs) -> ExitCode {
    command(config::AGENT_VOCABULARY, words, move |settings, context| follow(settings, programs, context))
}

fn command<S, Fut>(
    vocabulary: Vocabulary,
    words: Vec<String>,
    run: impl FnOnce(S, Context) -> Fut,
) -> ExitCode
where
    S: daemon::Settings,
    Fut: Future<Output = anyhow::Result<()>>,
{
    match config::gather(vocabulary, words) {
        Ok(words) => daemon::main(vocabulary.command, Threads::One, words, run),
        Err(mistakes) => {
            for mistake in mistakes {
                daemon::log::complain(&format!("isopod {}: {mistake}", vocabulary.command));
            }
            ExitCode::from(USAGE)
        }
    }
}

async fn follow(mut settings: Agent, programs: Programs, context: Context) -> anyhow::Result<()> {
    let layout = settings.node.layout.clone();
    let _lock = lock(&settings.node)?;
    let Some(address) = settings.node.ips.first().copied().or_else(|| host::towards(&settings.server)) else {
        anyhow::bail!("this host has no route by which to tell its address; give --node-ip");
    };
    let launcher = Launcher::new(layout.clone(), programs)?;
    settings.node.resolve()?;
    let drain = context.drain();
    let addresses = settings.node.addresses(address);
    let cluster = tokio::select! {
        cluster = join::join(&settings, &addresses) => cluster?,
        () = drain.signaled() => return Ok(()),
    };
    drop(drain);
    let url = settings.server.to_string();
    let url = url.trim_end_matches('/').to_owned();
    identity::kubeconfigs(&layout, &url)?;
    let scene = Scene { node: settings.node, cluster, address, url, host: host::look(), server: None };
    start(&scene, launcher, &context).await
}

async fn serve(mut settings: Server, programs: Programs, context: Context) -> anyhow::Result<()> {
    let layout = settings.node.layout.clone();
    let _lock = lock(&settings.node)?;
    let address = address(&settings)?;
    let launcher = Launcher::new(layout.clone(), programs)?;
    let url = authority::url(&settings);
    let now = Timestamp::now();
    let authorities = authority::prepare(&settings, address, now)?;
    if !settings.disable_agent {
        authorities.node(&settings.node, address, now)?;
        identity::kubeconfigs(&layout, &url)?;
        settings.node.resolve()?;
    }
    let scene = Scene {
        node: settings.node.clone(),
        cluster: settings.cluster.clone(),
        address,
        url,
        host: host::look(),
        server: Some(settings),
    };
    if let Some(server) = &scene.server {
        join::serve::start(server, authorities, &context)?;
    }
    start(&scene, launcher, &context).await
}

/// Runs what the scene asks for.
async fn start(scene: &Scene, launcher: Launcher, context: &Context) -> anyhow::Result<()> {
    let units = plan(scene);
    if units.iter().any(|unit| unit.name == "containerd") {
        containerd::prepare(scene, &launcher.cni())?;
    }
    supervise::clear(&units, &launcher).await?;
    host::check(scene, &units, &launcher)?;
    let crew = Crew::start(units, &launcher, context);
    if let Some(readiness) = crew.readiness("apiserver").filter(|_| scene.has_node()) {
        let (kubeconfig, node) = (scene.node.layout.cred("admin.kubeconfig"), scene.node.name.clone());
        context.spawn("mark", async move {
            let mut readiness = readiness;
            // An error means that the API server is not kept any more, and with it the node.
            drop(readiness.wait_for(|ready| *ready).await);
            mark::keep(kubeconfig, node).await
        });
    }
    crew.finished(context).await
}

/// Sees to it that nobody else runs a node on these files; holds for as long as the file is open.
fn lock(node: &Node) -> anyhow::Result<std::fs::File> {
    let data = &node.layout.data;
    std::fs::create_dir_all(data)
        .with_context(|| format!("--data-dir: could not make {}", data.display()))?;
    let path = data.join("lock");
    let file = std::fs::File::create(&path)
        .with_context(|| format!("--data-dir: could not write {}", path.display()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => anyhow::bail!(
            "--data-dir: another isopod runs on {}; stop it, or name another directory",
            data.display()
        ),
        Err(error) => Err(error).with_context(|| format!("could not lock {}", path.display())),
    }
}

/// The address under which the other members of the cluster know this node.
fn address(settings: &Server) -> anyhow::Result<IpAddr> {
    let told = settings.node.ips.first().copied().or(settings.advertise_address);
    match told.or_else(host::outward) {
        Some(address) => Ok(address),
        None if settings.disable_agent => Ok(Ipv4Addr::LOCALHOST.into()),
        None => anyhow::bail!("this host has no default route to tell its address by; give --node-ip"),
    }
}
