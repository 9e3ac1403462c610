//! The cluster DNS daemon.
