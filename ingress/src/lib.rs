//! The ingress daemon.
