//! The scheduler against a real API server on a store in memory. There is no kubelet: the tests play it.

#[cfg(test)]
mod placing;
