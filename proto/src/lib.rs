//! What crosses a wire: the table of API kinds, codecs, patches, etcd and CRI messages.
#![deny(missing_docs)]

pub mod codec;
pub mod cri;
pub mod etcd;
pub mod field;
#[cfg(test)]
mod golden;
pub mod kind;
pub mod name;
pub mod patch;
pub mod quantity;
pub mod selector;
pub mod spdy;
pub mod time;
pub mod websocket;
