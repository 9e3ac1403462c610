//! The controllers against a real API server on a store in memory. There is no kubelet: the tests play it.

#[cfg(test)]
mod cluster;
#[cfg(test)]
mod collection;
#[cfg(test)]
mod nodes;
#[cfg(test)]
mod services;
#[cfg(test)]
mod workloads;
