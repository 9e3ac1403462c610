//! The daemon against a real API server and the kernel.

#[cfg(test)]
mod service;
