//! Questions in connections, each with its length before it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use daemon::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::message::Transport;
use crate::serve::{Begun, Server};

/// Connections at a time; further ones wait in the listener's queue.
const MOST_CONNECTIONS: usize = 256;

/// How long a client may be silent, and how long it may take to read its answer: CoreDNS' figure.
const SILENCE: Duration = Duration::from_secs(10);

/// How long no connection is taken after one could not be: the system is short of something.
const REST: Duration = Duration::from_millis(100);

/// Opens a listener for questions.
///
/// # Errors
/// Where the address cannot be had; the message names it.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("could not listen on {address}/tcp for DNS; is the address this node's, and its port free?")
    })
}

/// Answers for ever.
///
/// # Errors
/// None: what goes wrong with one connection is that connection's own.
pub async fn serve(listener: TcpListener, server: Arc<Server>, context: Context) -> anyhow::Result<()> {
    let connections = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let permit = Arc::clone(&connections).acquire_owned().await?;
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!("could not take a connection: {error}");
                sleep(REST).await;
                continue;
            }
        };
        let server = Arc::clone(&server);
        context.spawn_isolated("dns connection", async move {
            let outcome = converse(stream, &server, from.ip()).await;
            drop(permit);
            outcome
        });
    }
}

/// Answers one client until it leaves or falls silent.
async fn converse(mut stream: TcpStream, server: &Server, from: IpAddr) -> anyhow::Result<()> {
    let mut packet = Vec::new();
    while let Ok(Ok(length)) = timeout(SILENCE, stream.read_u16()).await {
        packet.resize(length.into(), 0);
        timeout(SILENCE, stream.read_exact(&mut packet))
            .await
            .context("a client stopped in mid-question")??;
        let bytes = match server.begin(&packet, Transport::Tcp, from) {
            Begun::Nothing => None,
            Begun::Reply(bytes) => Some(bytes),
            Begun::Wait(pending) => server.finish(pending).await,
        };
        let Some(bytes) = bytes else { continue };
        let framed = [&u16::try_from(bytes.len())?.to_be_bytes()[..], &bytes].concat();
        timeout(SILENCE, stream.write_all(&framed)).await.context("a client did not read its answer")??;
    }
    Ok(())
}
