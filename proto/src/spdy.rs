//! SPDY/3.1, over which Kubernetes streams commands and ports: bytes in, events out, and no I/O.
//!
//! [`Endpoint`] is one side of a connection. Windows are read and not obeyed: the peers that speak this protocol (Go's
//! `spdystream`) neither keep nor announce any, and hold a fast sender back by not reading.

mod endpoint;
mod frame;
mod header;

pub use endpoint::{Endpoint, Event, Role, STREAMS};
pub use frame::{Decoder, Encoder, Frame};
pub use header::Headers;

/// What the peer did that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpdyError {
    /// A frame of another version of the protocol.
    #[error("a frame of version {0}, which is not 3")]
    Version(u16),
    /// A control frame that is larger than [`frame::CONTROL_BYTES`], or shorter than its kind must be.
    #[error("a frame of {0} bytes, which its kind cannot have")]
    Length(usize),
    /// Headers that cannot be read, or are larger than [`header::BLOCK_BYTES`].
    #[error("headers that cannot be read: {0}")]
    Headers(&'static str),
    /// No more streams can be opened on this connection.
    #[error("the connection takes no more streams")]
    Exhausted,
    /// The stream is not open for what should be sent.
    #[error("stream {0} is not open")]
    Closed(u32),
}
