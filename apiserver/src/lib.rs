//! The API server daemon.
