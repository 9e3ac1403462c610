//! The controller manager daemon.
