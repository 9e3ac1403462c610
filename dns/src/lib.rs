//! The cluster DNS daemon: names of services, endpoints, pods and nodes, and everybody else's by way of other servers.
//!
//! Caches of Services, EndpointSlices, Namespaces and Nodes keep an [`index`] up to date, change by change. A packet
//! becomes a question in [`message`], the question an answer in the pure function [`answer::answer`]; what is not the
//! cluster's goes through [`forward`], which remembers and asks.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use client::cache::Kind;
use client::kube::Api;
use client::kube::runtime::watcher;
use client::{Cache, Change};
use daemon::{Context, Threads};
use parking_lot::RwLock;

use config::{PORT, Settings};
use forward::Forwarder;
use index::Index;
use publish::plan::Site;
use publish::{Publisher, Sources};
use serve::{Server, tcp, udp};
use upstream::Servers;
use zone::Zone;

pub mod answer;
pub mod cache;
pub mod config;
pub mod forward;
pub mod index;
pub mod message;
pub mod metric;
pub mod publish;
pub mod resource;
pub mod serve;
pub mod upstream;
pub mod zone;

/// The daemon's name.
pub const NAME: &str = "dns";

/// Runs the daemon from its command line to its exit code.
pub fn main(args: Vec<String>) -> ExitCode {
    daemon::main(NAME, Threads::One, args, run)
}

/// Runs until drained.
///
/// # Errors
/// Where an address cannot be listened on, the kubeconfig cannot be used, or a task fails.
pub async fn run(settings: Settings, context: Context) -> anyhow::Result<()> {
    let synced = context.gate("services, endpoints, namespaces and nodes");
    let client = client::connect(Path::new(&settings.kubeconfig), "isopod-dns").await?;
    let index = Arc::new(RwLock::new(Index::default()));
    serve(&settings, &context, &index).await?;
    let sources = Sources { services: Cache::default(), slices: Cache::default(), nodes: Cache::default() };
    let namespaces = Cache::default();
    let every = client.clone();
    let synced_all = [
        follow(&context, "services", &sources.services, &every, &index, Index::note_service),
        follow(&context, "endpoint slices", &sources.slices, &every, &index, Index::note_slice),
        follow(&context, "nodes", &sources.nodes, &every, &index, Index::note_node),
        follow(&context, "namespaces", &namespaces, &every, &index, Index::note_namespace),
    ];
    let site = Site {
        node: settings.node,
        endpoints: endpoints(&settings.listen, &settings.advertise),
        cluster_dns: settings.cluster_dns,
    };
    let (publisher, tasks) = (Publisher::new(site, client, sources.nodes.clone()), context.clone());
    context.spawn("readiness", async move {
        for synced in synced_all {
            synced.await;
        }
        index.write().complete = true;
        drop(synced);
        // Only now may others send questions here.
        publisher.start(&tasks, &sources);
        Ok(())
    });
    context.finished().await
}

/// Opens the sockets and answers on them.
async fn serve(settings: &Settings, context: &Context, index: &Arc<RwLock<Index>>) -> anyhow::Result<()> {
    if let Some(address) = settings.metrics {
        context.serve_admin(address).await?;
    }
    let zone = Zone::new(&settings.domain, settings.cluster_dns.clone(), settings.ranges.clone());
    let service = settings.cluster_dns.iter().map(|address| SocketAddr::new(*address, PORT));
    let own = settings.listen.iter().copied().chain(service).collect();
    let forwarder = Forwarder::new(Servers::new(settings.upstream.clone(), own));
    let server = Arc::new(Server::new(zone, Arc::clone(index), forwarder, settings.allowed.clone()));
    for address in &settings.listen {
        let (datagrams, connections) = (udp::bind(*address).await?, tcp::bind(*address).await?);
        context.spawn("dns over udp", udp::serve(datagrams, Arc::clone(&server), context.clone()));
        context.spawn("dns over tcp", tcp::serve(connections, Arc::clone(&server), context.clone()));
    }
    context.metrics(move |out| server.expose(out));
    Ok(())
}

/// Watches one kind for the index; the future ends once all that is there has arrived.
fn follow<K: Kind>(
    context: &Context,
    name: &'static str,
    cache: &Cache<K>,
    client: &client::kube::Client,
    index: &Arc<RwLock<Index>>,
    note: fn(&mut Index, &Change<'_, K>),
) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
    let index = Arc::clone(index);
    cache.subscribe(move |change| {
        let mut index = index.write();
        note(&mut index, &change);
        index.serial = serial(index.serial);
    });
    context.spawn(name, cache.clone().follow(Api::all(client.clone()), watcher::Config::default()));
    let cache = cache.clone();
    Box::pin(async move { cache.synced().await })
}

/// The next version of the zone: the time, so that a restarted server does not go back, and always a later one.
fn serial(last: u32) -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    // Serial numbers are 32 bits that wrap: RFC 1982.
    let now = u32::try_from(now & u64::from(u32::MAX)).unwrap_or_default();
    now.max(last.wrapping_add(1))
}

/// Where others reach the sockets: the address told, with the port of the socket of its family.
fn endpoints(listen: &[SocketAddr], advertise: &[std::net::IpAddr]) -> Vec<SocketAddr> {
    let port = listen.first().map_or(PORT, SocketAddr::port);
    advertise.iter().map(|address| SocketAddr::new(*address, port)).collect()
}
