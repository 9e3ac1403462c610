//! The plugins as a container runtime calls them, and the daemon against a real API server and the kernel.

#[cfg(test)]
mod network;
#[cfg(test)]
mod plugin;
#[cfg(test)]
mod runtime;
