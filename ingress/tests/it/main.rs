//! The daemon between clients, a real API server and real backends, all on loopback.

#[cfg(test)]
mod backend;
#[cfg(test)]
mod http;
#[cfg(test)]
mod place;
#[cfg(test)]
mod rollout;
#[cfg(test)]
mod secure;
