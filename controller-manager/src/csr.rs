//! Certificate signing requests: approval of kubelets', signing of approved ones, removal of old ones.

pub(crate) mod approval;
pub(crate) mod cleaner;
mod plan;
pub(crate) mod signer;
#[cfg(test)]
mod tests;
