//! What `isopod server` does: files first, then processes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::ExitCode;

use anyhow::Context as _;
use daemon::{Context, Threads};
use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};

use crate::config::{self, Node, Server};
use crate::plan::{Scene, plan};
use crate::process::Launcher;
use crate::{Programs, USAGE, authority, supervise};

/// Runs a server until it is asked to finish.
pub(crate) fn server(words: Vec<String>, programs: Programs) -> ExitCode {
    match config::gather(config::SERVER_VOCABULARY, words) {
        Ok(words) => daemon::main("server", Threads::One, words, move |settings, context| {
            serve(settings, programs, context)
        }),
        Err(mistakes) => {
            for mistake in mistakes {
                daemon::log::complain(&format!("isopod server: {mistake}"));
            }
            ExitCode::from(USAGE)
        }
    }
}

async fn serve(settings: Server, programs: Programs, context: Context) -> anyhow::Result<()> {
    let layout = settings.node.layout.clone();
    let _lock = lock(&settings.node)?;
    let address = address(&settings)?;
    let launcher = Launcher::new(layout, programs)?;
    authority::prepare(&settings, address, Timestamp::now())?;
    let scene = Scene {
        node: settings.node.clone(),
        cluster: settings.cluster.clone(),
        address,
        server: Some(settings),
    };
    let units = plan(&scene);
    supervise::clear(&units, &launcher).await?;
    check(&scene)?;
    supervise::run(units, launcher, &context).await
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
    match told.or_else(outward) {
        Some(address) => Ok(address),
        None if settings.disable_agent => Ok(Ipv4Addr::LOCALHOST.into()),
        None => anyhow::bail!("this host has no default route to tell its address by; give --node-ip"),
    }
}

/// The address that packets to far away leave under. Nothing is sent: the kernel only looks up the route.
fn outward() -> Option<IpAddr> {
    /// An address of the documentation (RFC 5737), behind whatever default route there is.
    const FAR: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(FAR).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// Sees to it that what the node needs of its host is there.
fn check(scene: &Scene) -> anyhow::Result<()> {
    if let Some(server) = &scene.server {
        let address = server.bind_address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let address = SocketAddr::new(address, scene.cluster.port);
        std::net::TcpListener::bind(address).map(drop).with_context(|| {
            format!("the API cannot listen on {address}; stop what does, or give --https-listen-port")
        })?;
    }
    Ok(())
}
