//! The kernel's side of things that has no safe face: file descriptors in the event loop.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits on a descriptor that becomes readable.
///
/// # Errors
/// Where the kernel cannot poll it.
#[expect(
    unsafe_code,
    reason = "tokio asks for a promise about the descriptor that the type OwnedFd cannot make"
)]
pub fn readable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor must stay the same open file until it is taken out of the event loop. The AsyncFd owns it
    // from here on, hands out no way to close or replace it, and leaves the event loop before it closes it.
    unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }.map_err(io::Error::from)
}
