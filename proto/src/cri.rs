//! The container runtime interface of Kubernetes 1.36: messages, gRPC clients and servers.
//!
//! A server's methods answer `UNIMPLEMENTED` until they are written.

use std::fmt;

/// The package `runtime.v1`.
#[rustfmt::skip]
#[allow(missing_docs, missing_debug_implementations, unreachable_pub, unused_qualifications, clippy::all, clippy::too_many_lines, clippy::allow_attributes_without_reason, reason = "generated")]
pub mod v1;

impl fmt::Debug for v1::AuthConfig {
    /// Names whom it is for, and none of the secrets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AuthConfig")
            .field("username", &self.username)
            .field("server_address", &self.server_address)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::v1::AuthConfig;

    #[test]
    fn a_password_is_not_printed() {
        let auth = AuthConfig { username: "who".into(), password: "hush".into(), ..AuthConfig::default() };
        let shown = format!("{auth:?}");
        assert!(shown.contains("who") && !shown.contains("hush"), "{shown}");
    }
}
