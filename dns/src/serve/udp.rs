//! Questions in datagrams.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use daemon::Context;
use tokio::net::UdpSocket;

use crate::message::Transport;
use crate::serve::{Begun, Server};

/// The largest datagram read, in bytes; questions are far smaller, and longer ones are malformed.
const LARGEST: usize = 4096;

/// Opens a socket for questions.
///
/// # Errors
/// Where the address cannot be had; the message names it.
pub async fn bind(address: SocketAddr) -> anyhow::Result<UdpSocket> {
    UdpSocket::bind(address).await.with_context(|| {
        format!("could not listen on {address}/udp for DNS; is the address this node's, and its port free?")
    })
}

/// Answers for ever.
///
/// # Errors
/// Where the socket breaks.
pub async fn serve(socket: UdpSocket, server: Arc<Server>, context: Context) -> anyhow::Result<()> {
    let socket = Arc::new(socket);
    let mut buffer = vec![0; LARGEST];
    loop {
        let (length, from) =
            socket.recv_from(&mut buffer).await.context("could not read from the DNS socket")?;
        match server.begin(&buffer[..length], Transport::Udp, from.ip()) {
            Begun::Nothing => {}
            Begun::Reply(bytes) => send(&socket, &bytes, from),
            Begun::Wait(pending) => {
                let (socket, server) = (Arc::clone(&socket), Arc::clone(&server));
                context.spawn_isolated("forwarded question", async move {
                    if let Some(bytes) = server.finish(pending).await {
                        send(&socket, &bytes, from);
                    }
                    Ok(())
                });
            }
        }
    }
}

/// Sends a reply at once or, where the system has no room for it, not at all: the client asks again.
fn send(socket: &UdpSocket, bytes: &[u8], to: SocketAddr) {
    if let Err(error) = socket.try_send_to(bytes, to) {
        tracing::debug!("could not answer {to}: {error}");
    }
}
