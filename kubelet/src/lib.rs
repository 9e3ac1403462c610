//! The node agent daemon.
