//! What only unsafe code can say about processes and descriptors.

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Command;

/// Has the kernel ask the process to finish when the thread that starts it is gone, however it went.
#[expect(unsafe_code, reason = "what runs between fork and exec must be told by unsafe code")]
pub(crate) fn die_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec only what is safe in a signal handler may be called. The closure makes one
    // system call, allocates nothing and touches nothing that another thread could hold.
    unsafe {
        command.pre_exec(|| set_parent_process_death_signal(Some(Signal::TERM)).map_err(Into::into));
    }
}

/// A descriptor that can be waited for until it is readable.
#[expect(unsafe_code, reason = "tokio cannot see that a descriptor stays what it is")]
pub(crate) fn readable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor must stay the same open file for as long as it is registered. An `OwnedFd` is nobody
    // else's, is not changed here, and is closed by the `AsyncFd` that owns it only after it is taken out.
    unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }.map_err(io::Error::from)
}
