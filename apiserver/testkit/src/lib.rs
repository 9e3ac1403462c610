//! The API server in a test, in milliseconds.
